package relay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"pecgate/mailbox"
	"pecgate/mailbox/mime"
	"pecgate/mailbox/pec"
	"pecgate/relay/dsn"
	"pecgate/relay/forward"
)

// Ordinary mail of groupware servers that only passes through, to the smarthost and
// nowhere else (relays: unmarked: smarthost). It is stored before the server hears
// 250, in no folder, and goes with its bytes when the smarthost has it; what fails is
// told to its sender by a delivery status notification.

// Errors of Pass.
var (
	ErrPassingFull = forward.ErrFull
	ErrNoSmarthost = errors.New("relay: there is no smarthost")
)

// Passage is the envelope of a message that passes through.
type Passage = forward.Envelope

// Addressee is one recipient of it.
type Addressee = forward.Addressee

// kindBounce is what the sender of such a message is told.
const kindBounce = "bounce"

// CanPass tells whether one more message could pass through: nil, ErrPassingFull or
// ErrNoSmarthost.
func (s *Service) CanPass(ctx context.Context) error {
	if s.opt.Smarthost == nil {
		return ErrNoSmarthost
	}
	full := false
	err := s.opt.Store.View(ctx, func(tx *mailbox.Tx) (err error) { full, err = forward.PassingFull(tx); return err })
	if err == nil && full {
		return errors.Join(ErrPassingFull, s.passingFull(ctx))
	}
	return err
}

// Pass queues a message for the smarthost; it is durable when Pass returns nil. The
// intake is at an end in any case.
func (s *Service) Pass(ctx context.Context, in *mailbox.Intake, p Passage) error {
	defer in.Abort() // no effect after Store
	if err := s.CanPass(ctx); err != nil {
		return err
	}
	if p.From != "" && s.isPEC(p.From) {
		return fmt.Errorf("%s is a PEC mailbox: nothing of it passes as ordinary mail", p.From)
	}
	to := make([]string, len(p.To))
	for i, a := range p.To {
		to[i] = a.Address
	}
	st, err := in.Store(ctx, mailbox.Origin{Direction: mailbox.Own, From: p.From, To: to})
	if err != nil {
		return err
	}
	defer st.Close() // read-only handle: nothing to lose
	_, err = s.opt.Store.Record(ctx, st, func(tx *mailbox.Tx, m *mailbox.Message) error {
		m.Transit = true
		it, err := forward.AddPassing(tx, m, p, s.isPEC)
		if err != nil {
			return err
		}
		return tx.Audit(mailbox.AuditLine{
			Actor: "relay " + p.Relay, Event: "ordinary mail accepted", Subject: it.ID, Result: p.From, From: p.Remote,
			More: map[string]string{"recipients": fmt.Sprint(len(to)), "to": someOf(to), "sha256": m.SHA256()},
		})
	})
	return err
}

// someOf names the first of some addresses.
func someOf(all []string) string {
	const most = 3
	out := strings.Join(all[:min(len(all), most)], ", ")
	if len(all) > most {
		out += fmt.Sprintf(" (+%d)", len(all)-most)
	}
	return out
}

// passingFull tells, once a day at most, that the servers are put off.
func (s *Service) passingFull(ctx context.Context) error {
	return s.onceADay(ctx, alarm{
		kind: "passing-full", to: s.admins(), quiet: 24 * time.Hour,
		subjectIT: "Troppa posta ordinaria attende lo smarthost", subjectEN: "Too much ordinary mail waits for the smarthost",
		it:     fmt.Sprintf("Attendono lo smarthost %d messaggi ordinari o %d GiB: i server di posta vengono rimandati (452) e riprovano da soli. Le PEC non ne dipendono. Controllare lo smarthost (pecgate status, pecgate queue forwards).", forward.MaxPassing, forward.MaxPassingBytes>>30),
		en:     fmt.Sprintf("%d ordinary messages or %d GiB wait for the smarthost: the mail servers are put off (452) and try again by themselves. PEC does not depend on it. Look at the smarthost (pecgate status, pecgate queue forwards).", forward.MaxPassing, forward.MaxPassingBytes>>30),
		detail: "unmarked: smarthost",
	})
}

// bouncePart bounds the recipients of one notification, by what an item may hold.
const bouncePart = 20

// undelivered is forward.Options.Undelivered: the audit log and, where they asked for
// it or did not say, the sender hear of what failed.
func (s *Service) undelivered(tx *mailbox.Tx, u forward.Undelivered) error {
	e := u.Item.Envelope
	var tell []forward.End
	for _, end := range u.Ends {
		if end.Asks() {
			tell = append(tell, end)
		}
		if end.Relayed {
			continue
		}
		event := "ordinary mail failed"
		if end.Delayed {
			event = "ordinary mail delayed"
		}
		err := tx.Audit(mailbox.AuditLine{
			Actor: "relay " + e.Relay, Event: event, Subject: u.Item.ID, Result: end.Address, Reason: plain(endWords(end), maxWords),
			More: map[string]string{"sender": e.From},
		})
		if err != nil {
			return err
		}
	}
	if e.From == "" || s.isPEC(e.From) {
		return nil // nobody to tell (RFC 5321 section 4.5.5)
	}
	part := 0
	for some := range slices.Chunk(tell, bouncePart) {
		part++
		raw, err := s.bounce(tx.Now(), u, some, part).Bytes()
		if err != nil {
			return err
		}
		it := forward.Item{ID: fmt.Sprintf("%s-dsn-%d-%d", u.Item.ID, e.Reports, part), To: e.From, Kind: kindBounce}
		if err := forward.AddText(tx, it, raw, s.isPEC); err != nil {
			return err
		}
	}
	return nil
}

func endWords(e forward.End) string {
	if e.Code == 0 {
		return e.Text
	}
	return strings.TrimSpace(fmt.Sprintf("%d %s %s", e.Code, e.Enhanced, e.Text))
}

// bounce is the notification about some recipients.
func (s *Service) bounce(now time.Time, u forward.Undelivered, ends []forward.End, part int) *dsn.Report {
	e := u.Item.Envelope
	r := &dsn.Report{
		From: s.opt.Address, FromName: "pecgate", To: e.From, Date: now.In(s.opt.Location), English: s.opt.Language == "en", Ordinary: true,
		MessageID: fmt.Sprintf("dsn.%s.%d.%d@%s", u.Item.ID, e.Reports, part, domainOf(s.opt.Address)),
		Loop:      s.opt.Address, Reporter: s.opt.Hello, EnvID: e.EnvID, Arrived: u.Item.Queued.In(s.opt.Location), Headers: u.Header,
	}
	if r.Reporter == "" {
		r.Reporter = domainOf(s.opt.Address)
	}
	for _, f := range mime.Fields(u.Header) {
		switch strings.ToLower(f.Name) {
		case "subject":
			r.Title = plain(mime.DecodeWords(f.Body()), maxSubject)
		case "message-id":
			r.Refers = []string{pec.NormalizeID(f.Body())}
		}
	}
	for _, end := range ends {
		to := dsn.Recipient{Final: dsn.Address{Addr: end.Address}, Action: dsn.Failed, Status: "5.0.0", At: now.In(s.opt.Location)}
		if kind, addr, ok := strings.Cut(end.Original, ";"); ok {
			to.Original = dsn.Address{Type: strings.ToLower(kind), Addr: addr}
		}
		switch {
		case end.Relayed:
			to.Action, to.Status = dsn.Relayed, "2.0.0"
		case end.Late:
			to.Status = "4.4.7" // RFC 3463: delivery time expired
		case end.Delayed:
			to.Action, to.Status, to.Until = dsn.Delayed, "4.0.0", u.Item.Queued.Add(forward.GiveUp).In(s.opt.Location)
		}
		if class := dsn.Class(end.Enhanced); !end.Late && class != 0 && (class == 2) == end.Relayed {
			to.Status = end.Enhanced
		}
		if end.Code != 0 {
			to.DiagType = "smtp"
		} else {
			to.DiagType = "x-pec"
		}
		to.Diagnostic = plain(endWords(end), maxWords)
		to.Said = to.Diagnostic
		if s.opt.Smarthost != nil && end.Code != 0 {
			to.Remote = s.opt.Smarthost.Host
		}
		r.Recipients = append(r.Recipients, to)
	}
	return r
}
