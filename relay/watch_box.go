package relay

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"pecgate/mailbox"
)

// fetchKept is after how long without fetching it is kept since when, so that
// starts that follow each other quickly begin nothing anew.
const fetchKept = 5 * time.Minute

// fetchQuiet is for a provider that comes and goes.
const fetchQuiet = time.Hour

// fetchWatch is what the watch knows of a mailbox's fetching.
type fetchWatch struct {
	good  uint64        // worker.good at the last look
	since time.Duration // of runClock.Ran: it was fetched then at the latest
	kept  bool          // since is on record
}

// watchBoxes tells of mailboxes that could not be read at the provider for long.
func (s *Service) watchBoxes(ctx context.Context, clock runClock) error {
	var failed []error
	known := map[string]bool{}
	for _, a := range s.opt.Accounts() {
		box := strings.ToLower(a.Box)
		s.mu.Lock()
		w := s.workers[box]
		s.mu.Unlock()
		if !a.Active || w == nil || a.Watch.Fetch <= 0 {
			failed = append(failed, s.ended(ctx, box, "not-fetched", ""))
			if !a.Active {
				failed = append(failed, s.forgetFetch(ctx, box))
			}
			continue
		}
		known[box] = true
		failed = append(failed, s.watchFetch(ctx, box, w, max(a.Watch.Fetch, 2*a.Every), clock))
	}
	for box := range s.fetched {
		if !known[box] {
			delete(s.fetched, box)
		}
	}
	return errors.Join(failed...)
}

// forgetFetch drops since when a mailbox was not fetched: nobody fetches it now, and
// when it is active again it begins anew.
func (s *Service) forgetFetch(ctx context.Context, box string) error {
	k := "wf/" + box
	var since time.Duration
	err := s.opt.Store.View(ctx, func(tx *mailbox.Tx) error { return tx.Space(room).Get(k, &since) })
	if errors.Is(err, mailbox.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error { return tx.Space(room).Delete(k) })
}

func (s *Service) watchFetch(ctx context.Context, box string, w *worker, term time.Duration, clock runClock) error {
	k := "wf/" + box
	f := s.fetched[box]
	if f == nil {
		f = &fetchWatch{since: clock.Ran}
		err := s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
			var since time.Duration
			err := tx.Space(room).Get(k, &since)
			if err == nil && since <= clock.Ran {
				f.since, f.kept = since, true
			}
			if errors.Is(err, mailbox.ErrNotFound) {
				return nil
			}
			return err
		})
		if err != nil {
			return err
		}
		s.fetched[box] = f
	}
	good, why, suspended := w.fetchState()
	if w.otherFetches() { // and watches it
		f.good, f.since = good, clock.Ran
		return nil
	}
	if w.isShut() { // it is not to be read now: the time begins anew with its hours
		f.since = clock.Ran
		if f.kept {
			if err := s.forgetFetch(ctx, box); err != nil {
				return err
			}
			f.kept = false
		}
	}
	if good != f.good {
		f.good, f.since = good, clock.Ran
		if f.kept {
			if err := s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error { return tx.Space(room).Delete(k) }); err != nil {
				return err
			}
			f.kept = false
		}
		return s.ended(ctx, box, "not-fetched", "")
	}
	if !f.kept && clock.Ran-f.since >= fetchKept {
		if err := s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error { return tx.Space(room).Put(k, f.since) }); err != nil {
			return err
		}
		f.kept = true
	}
	if clock.Ran-f.since < term || suspended {
		return nil // a suspended mailbox is told of by itself
	}
	return s.raise(ctx, alarm{
		box: box, kind: "not-fetched", to: s.adminOf(box), quiet: fetchQuiet,
		subjectIT: "Casella PEC non letta presso il gestore da " + duration(term) + ": " + box,
		subjectEN: "PEC mailbox not read at the provider for " + duration(term) + ": " + box,
		it:        "Il gateway non riesce a leggere la casella presso il gestore: PEC e ricevute arrivate nel frattempo non si vedono. Riprova da solo. Se il gestore funziona con la webmail, controllare rete e impostazioni (pecgate check --online).",
		en:        "The gateway cannot read the mailbox at the provider: PEC and receipts that arrived meanwhile are not seen. It goes on trying. If the provider works by webmail, check the network and the settings (pecgate check --online).",
		detail:    plain(why, maxWords),
	})
}

// fetchState is how often the mailbox was fetched without an error, and what came
// of it last.
func (w *worker) fetchState() (good uint64, why string, suspended bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.good, w.facts.fetchError, w.facts.Suspended != ""
}

// certificateDays are when the end of a certificate is told, in days before.
func certificateDays() []int { return []int{30, 7, 1} }

// watchCertificates tells of certificates that end soon: those of the providers,
// and the gateway's own.
func (s *Service) watchCertificates(ctx context.Context, clock runClock) error {
	if !clock.believed() {
		return nil
	}
	hosts := map[string]*hostCertificate{} // many mailboxes are at one provider
	servers := map[string]seenCertificate{}
	for _, a := range s.opt.Accounts() {
		s.mu.Lock()
		w := s.workers[strings.ToLower(a.Box)]
		s.mu.Unlock()
		if w == nil {
			continue
		}
		w.mu.Lock()
		for at, c := range w.facts.certificates {
			if h := servers[at]; h.at.IsZero() || c.at.After(h.at) {
				servers[at] = c // the one that was seen last
			}
			host, _, _ := net.SplitHostPort(at)
			if hosts[host] == nil {
				hosts[host] = &hostCertificate{host: host}
			}
			hosts[host].to = append(hosts[host].to, s.adminOf(a.Box)...)
		}
		w.mu.Unlock()
	}
	for at, c := range servers {
		host, _, _ := net.SplitHostPort(at)
		h := hosts[host]
		if h.expires.IsZero() {
			h.expires = c.expires
		}
		h.expires = earlier(h.expires, c.expires)
	}
	var failed []error
	for _, host := range slices.Sorted(maps.Keys(hosts)) {
		failed = append(failed, s.watchCertificate(ctx, *hosts[host]))
	}
	if s.opt.Certificate != nil {
		failed = append(failed, s.watchCertificate(ctx, hostCertificate{own: true, expires: s.opt.Certificate(), to: s.admins()}))
	}
	return errors.Join(failed...)
}

// hostCertificate is when a certificate ends.
type hostCertificate struct {
	own     bool   // the gateway's
	host    string // of a provider
	expires time.Time
	to      []addressee
}

// watchCertificate tells of a certificate that ends soon. Each number of days is
// told once for each certificate.
func (s *Service) watchCertificate(ctx context.Context, c hostCertificate) error {
	if c.expires.IsZero() {
		return nil
	}
	kind := "certificate"
	if c.own {
		kind = "own-certificate"
	}
	left := c.expires.Sub(s.opt.Store.Now())
	tell := 0
	var failed []error
	for _, days := range certificateDays() {
		if left <= time.Duration(days)*24*time.Hour {
			tell = days // the fewest
		} else {
			failed = append(failed, s.ended(ctx, "", kind, fmt.Sprintf("%s %d", c.host, days)))
		}
	}
	if tell == 0 {
		return errors.Join(failed...)
	}
	day := c.expires.In(s.opt.Location).Format("02/01/2006 15:04")
	a := alarm{
		kind: kind, about: fmt.Sprintf("%s %d", c.host, tell), to: onceEach(c.to),
		subjectIT: "Il certificato del gestore scade il " + day + ": " + c.host,
		subjectEN: "The provider's certificate ends on " + day + ": " + c.host,
		it:        "Se il gestore non lo rinnova prima, da allora il gateway non si collega più: le PEC da inviare restano in coda e quelle in arrivo restano presso il gestore. Di solito il gestore rinnova da solo; se manca poco, chiamarlo.",
		en:        "Unless the provider renews it before, the gateway connects no more from then on: PEC stays queued, and what arrives stays at the provider. Providers mostly renew by themselves; if little time is left, call them.",
	}
	if c.own {
		a.subjectIT, a.subjectEN = "Il certificato del gateway scade il "+day, "The gateway's own certificate ends on "+day
		a.it = "Da allora i programmi di posta rifiutano il collegamento. Rinnovarlo e mettere i file al loro posto (pecgate.yaml, tls:): vengono letti di nuovo da soli, senza riavvio."
		a.en = "From then on mail programs refuse to connect. Renew it and put the files in their place (pecgate.yaml, tls:): they are read again by themselves, without a restart."
	}
	return errors.Join(append(failed, s.raise(ctx, a))...)
}
