package relay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"pecgate/mailbox"
	"pecgate/mailbox/pec"
	"pecgate/relay/fetch"
)

// Reconcile compares a mailbox at its provider with the store, both ways, and on
// request takes in what is missing. It lists every folder of the provider,
// configured or not, in pages, and fetches nothing to compare: what stands there
// under the UID or unique-id that we noted is known, any other is looked up by its
// Message-ID and size. What is taken in is known by its content, as always.
//
// It runs in the place of the mailbox's fetcher, between two rounds, so that one
// connection at a time is open; memory does not grow with the mailbox, but for one
// bit a message.

// Reconciled is what it found. Numbers are of messages. JSON keys are stable.
type Reconciled struct {
	Mailbox  string             `json:"mailbox"`
	Protocol string             `json:"protocol"` // imap or pop3
	At       time.Time          `json:"at"`
	Folders  []ReconciledFolder `json:"folders"` // by POP3 one, without name

	Store         int `json:"store"`           // arrived messages of the mailbox in the store
	Both          int `json:"both"`            // in the store and at the provider, where we noted it
	NeverTaken    int `json:"never_taken"`     // at the provider, not in the store; those of folders of sent mail aside
	SetAside      int `json:"set_aside"`       // among those: tried, and they cannot be taken in
	SentElsewhere int `json:"sent_elsewhere"`  // in a folder of sent mail, and not sent through the gateway
	Unmatched     int `json:"unmatched"`       // receipts in the store that are tied to no submission
	Waiting       int `json:"waiting"`         // new at the provider: the next round takes them in
	GoneByRule    int `json:"gone_by_rule"`    // we asked for the deletion, and it is gone
	GoneByAnother int `json:"gone_by_another"` // somebody else deleted or moved it there
	LetGo         int `json:"let_go"`          // in the store, and nothing known of the provider's copy any more: deleted by the rule, or from before its UIDs or ids began anew
	// Rules is what provider_copy has deleted there so far, oldest first; those of the
	// last rules only. Some of that may have left the store since.
	Rules []GoneByRule `json:"rules"`

	BroughtIn int `json:"brought_in"` // taken in now
	Originals int `json:"originals"`  // recovered now
	Failed    int `json:"failed"`     // could not be taken in

	Items []ReconciledItem `json:"items"` // at most 1,000 of what differs
	More  int              `json:"more"`  // how many are not among them
}

// ReconciledFolder is one folder of the provider.
type ReconciledFolder struct {
	Name       string `json:"name"`
	Configured bool   `json:"configured"` // it is fetched
	Sent       bool   `json:"sent"`       // holds sent mail
	Messages   int    `json:"messages"`
	Elsewhere  int    `json:"elsewhere"` // in the store, by Message-ID and size, from another folder or time
	Unknown    int    `json:"unknown"`
	Aside      string `json:"aside,omitempty"` // drafts, junk or view: passed over unless named; its unknown messages count here alone
	Error      string `json:"error,omitempty"` // it could not be listed
}

// ReconciledItem is one message that differs.
type ReconciledItem struct {
	What    string            `json:"what"` // never-taken, set-aside, sent-elsewhere, unmatched, gone-by-rule, gone-by-another
	Folder  string            `json:"folder,omitempty"`
	UID     uint32            `json:"uid,omitempty"`
	UIDL    string            `json:"uidl,omitempty"`
	MsgID   string            `json:"msgid,omitempty"`
	Size    int64             `json:"size,omitempty"`
	Message mailbox.MessageID `json:"message,omitempty"` // in the store
	Trouble string            `json:"trouble,omitempty"` // it could not be taken in
}

const (
	maxReconciledItems = 1000
	reconcilePage      = 1000 // messages listed at a time
)

// ReconcileOptions is how to reconcile.
type ReconcileOptions struct {
	BringIn  bool                    // take in what is missing, as history
	Also     []string                // folders that hold no mail by their mark or name, and are taken for some all the same
	Progress func(done, total int64) // messages; may be nil. It must not wait.
	By       Hand
}

// reconciling is one run.
type reconciling struct {
	s    *Service
	w    *worker
	o    ReconcileOptions
	out  *Reconciled
	seen bits // messages of the store of which the provider's copy is noted

	done, total int64
}

// bits is a set of message numbers.
type bits []uint64

func (b *bits) add(id mailbox.MessageID) {
	for int(id/64) >= len(*b) {
		*b = append(*b, make([]uint64, max(64, len(*b)))...)
	}
	(*b)[id/64] |= 1 << (id % 64)
}

func (b bits) has(id mailbox.MessageID) bool {
	return int(id/64) < len(b) && b[id/64]&(1<<(id%64)) != 0
}

// job is work that a mailbox's fetcher does between two rounds.
type job struct {
	ctx  context.Context
	do   func(context.Context) error
	done chan error // of one
}

// Reconcile compares and, where asked, brings in. box is the mailbox's address. Errors: *Refusal, and
// those of the provider and the store.
func (s *Service) Reconcile(ctx context.Context, box string, o ReconcileOptions) (*Reconciled, error) {
	acc := s.account(box)
	if acc.IMAP.Host == "" && acc.POP3.Host == "" {
		return nil, refuse("%s is no PEC mailbox of the policy", box)
	}
	if !acc.Active {
		return nil, refuse("%s is inactive: nothing of it is fetched", acc.Box)
	}
	s.mu.Lock()
	w := s.workers[acc.Box]
	s.mu.Unlock()
	r := &reconciling{s: s, w: w, o: o, out: &Reconciled{
		Mailbox: acc.Box, Protocol: "imap", At: s.opt.Store.Now().UTC(), Folders: []ReconciledFolder{}, Items: []ReconciledItem{},
	}}
	if acc.POP3.Host != "" {
		r.out.Protocol = "pop3"
	}
	var err error
	if w == nil { // nothing runs
		_, stop := context.WithCancel(ctx)
		defer stop()
		r.w = newWorker(acc, stop)
		err = r.run(ctx)
	} else {
		err = w.between(ctx, r.run)
	}
	if err != nil {
		return nil, err
	}
	return r.out, s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
		return tx.Audit(mailbox.AuditLine{
			Actor: o.By.Actor, From: o.By.From, Event: "reconcile", Box: acc.Box, Result: "compared", More: map[string]string{
				"never taken": fmt.Sprint(r.out.NeverTaken), "sent elsewhere": fmt.Sprint(r.out.SentElsewhere), "brought in": fmt.Sprint(r.out.BroughtIn),
				"gone by another": fmt.Sprint(r.out.GoneByAnother), "originals": fmt.Sprint(r.out.Originals),
			},
		})
	})
}

// between has the fetcher do something between two rounds, and waits for its end.
func (w *worker) between(ctx context.Context, do func(context.Context) error) error {
	j := &job{ctx: ctx, do: do, done: make(chan error, 1)}
	select {
	case w.jobs <- j:
	case <-w.over:
		return refuse("%s is not fetched any more: try again in a moment", w.acc.Box)
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-j.done:
		return err
	case <-w.over:
		return refuse("%s is not fetched any more: try again in a moment", w.acc.Box)
	}
}

// work does a job; it ends with the fetcher or with who asked for it.
func (s *Service) work(ctx context.Context, w *worker, j *job) {
	both, cancel := context.WithCancel(j.ctx)
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	err := s.takeBox(both, w)
	if err == nil {
		err = s.guarded("reconcile", w.acc.Box, func() error { return j.do(both) })
		err = errors.Join(err, s.endRound(ctx, w, false))
	}
	j.done <- err
}

func (r *reconciling) run(ctx context.Context) error {
	if r.s.suspended(ctx, r.w, r.w.acc.fetchService()) {
		return refuse("%s is suspended, since the provider refused the login: set the right password first", r.w.acc.Box)
	}
	do := r.folders
	if r.out.Protocol == "pop3" {
		do = r.maildrop
	}
	if err := do(ctx); err != nil {
		return err
	}
	return r.tell()
}

// tell reports the end of the progress.
func (r *reconciling) tell() error {
	if r.o.Progress != nil {
		r.o.Progress(r.done, max(r.total, r.done))
	}
	return nil
}

func (r *reconciling) item(it ReconciledItem) {
	if len(r.out.Items) == maxReconciledItems {
		r.out.More++
		return
	}
	r.out.Items = append(r.out.Items, it)
}

// step counts messages that were looked at, and keeps the mailbox ours.
func (r *reconciling) step(ctx context.Context, n int) error {
	r.done += int64(n)
	if err := r.tell(); err != nil {
		return err
	}
	return r.s.takeBox(ctx, r.w)
}

// gone counts a message of ours that the provider does not list any more.
func (r *reconciling) gone(c copyOf) {
	it := ReconciledItem{What: "gone-by-another", Folder: c.at.folder, UID: c.at.uid, UIDL: c.at.id, Message: c.st.Message, Size: c.st.Size}
	if c.st.Asked > 0 {
		it.What = "gone-by-rule"
		r.out.GoneByRule++
	} else {
		r.out.GoneByAnother++
	}
	r.item(it)
}

// store counts what the store has of the mailbox, looks for receipts that are tied
// to nothing, and keeps in mind that their originals are looked for.
func (r *reconciling) store(ctx context.Context) error {
	err := r.s.opt.Store.View(ctx, func(tx *mailbox.Tx) (err error) {
		r.out.Rules, err = goneByRule(tx, r.w.acc.Box)
		return err
	})
	if err != nil {
		return err
	}
	for after := mailbox.MessageID(0); ; {
		n := 0
		var loose []mailbox.MessageID
		last, store, letGo := after, 0, 0
		var items []ReconciledItem
		err := r.s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
			n, loose, last, store, letGo, items = 0, nil, after, 0, 0, nil
			return tx.ScanMessages(after, func(m *mailbox.Message) (bool, error) {
				n++
				last = m.ID
				if m.Direction != mailbox.In || !strings.EqualFold(m.Box, r.w.acc.Box) {
					return n < reconcilePage, nil
				}
				store++
				if !r.seen.has(m.ID) {
					letGo++
				}
				good := m.Verdict == pec.Valid || m.Verdict == pec.ValidHistoric
				if m.Submission == "" && aboutSending(m.Kind) && good {
					loose = append(loose, m.ID)
					items = append(items, ReconciledItem{What: "unmatched", MsgID: m.MessageID, Size: m.Ref.Size, Message: m.ID})
				}
				return n < reconcilePage, nil
			})
		})
		if err != nil {
			return err
		}
		r.out.Store += store
		r.out.LetGo += letGo
		r.out.Unmatched += len(loose)
		for _, it := range items {
			r.item(it)
		}
		if r.o.BringIn {
			for _, id := range loose {
				if err := r.seekOne(ctx, id); err != nil {
					return err
				}
			}
		}
		if err := r.s.takeBox(ctx, r.w); err != nil {
			return err
		}
		if after = last; n < reconcilePage {
			return nil
		}
	}
}

// seekOne keeps in mind that the original of a receipt is looked for.
func (r *reconciling) seekOne(ctx context.Context, id mailbox.MessageID) error {
	report, _, err := r.s.readAgain(ctx, r.w.acc.Box, id)
	if errors.Is(err, mailbox.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if !report.Believed() || !pec.SameAddress(report.Sender, r.w.acc.Box) {
		return nil
	}
	return r.s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
		m, err := tx.Message(id)
		if err != nil {
			return err
		}
		return seek(tx, r.w.acc.Box, report, m)
	})
}

// originals recovers what can be now, so many at a time as a round does.
func (r *reconciling) originals(ctx context.Context, session *fetch.Session) error {
	tried := map[string]bool{}
	f := &sentFolders{session: session}
	for {
		all, _, err := r.s.listSought(ctx, r.w.acc.Box, func(o missing) bool { return !tried[o.key] })
		if err != nil || len(all) == 0 {
			return err
		}
		for _, o := range all {
			tried[o.key] = true
			found, err := r.s.recoverOne(ctx, r.w.acc, o, f)
			if ctx.Err() != nil || f.broken != nil {
				return errors.Join(err, f.broken)
			}
			if err != nil {
				r.s.opt.Events.Fault("original", r.w.acc.Box, err)
				r.out.Failed++
			} else if found {
				r.out.Originals++
			}
		}
		if err := r.s.takeBox(ctx, r.w); err != nil {
			return err
		}
		if len(tried) > 100_000 {
			return nil // the fetcher's rounds do the rest
		}
	}
}

// known tells whether a message of the mailbox with this Message-ID and size is in
// the store; sent also whether a submission has it.
func (r *reconciling) known(tx *mailbox.Tx, m fetch.Standing, sent bool) (bool, error) {
	if m.MessageID == "" {
		return false, nil
	}
	if sent {
		if _, err := byMsgID(tx, r.w.acc.Box, m.MessageID); !errors.Is(err, ErrNotFound) {
			return err == nil, err
		}
	}
	ids, err := tx.ByMessageID(r.w.acc.Box, pec.NormalizeID(m.MessageID))
	if err != nil {
		return false, err
	}
	for _, id := range ids[:min(len(ids), 100)] {
		old, err := tx.Message(id)
		if errors.Is(err, mailbox.ErrNotFound) {
			continue
		}
		if err != nil {
			return false, err
		}
		if m.Size < 0 || old.Ref.Size == m.Size {
			return true, nil
		}
	}
	return false, nil
}

// configured tells whether a folder is fetched.
func (a Account) configured(folder string) bool {
	if len(a.Folders) == 0 {
		return strings.EqualFold(folder, "INBOX")
	}
	return slices.Contains(a.Folders, folder)
}
