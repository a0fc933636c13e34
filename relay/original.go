package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"pecgate/mailbox"
	"pecgate/mailbox/mime"
	"pecgate/mailbox/pec"
	"pecgate/relay/fetch"
)

// What was sent from a mailbox on another way, by webmail or another client, shows
// itself by receipts that are tied to no submission. Its original is recovered:
// out of a complete delivery receipt, byte for byte as postacert.eml stands there,
// or from the provider's folder of sent mail, found by its Message-ID, or somebody had
// kept it (import.go). It becomes a
// submission of nobody (Submission.Recovered), so that receipts are tied to it and
// its keywords show the outcome as for any other:
//
//   - It stands in `Posta inviata` of the mailbox with the keyword $PecRecovered,
//     for those who see what everybody sent. No person is called its sender.
//   - It is history: no register number, no report in `Esiti`, no notice. The
//     receipts that led to it stay with those who receive.
//   - There is one for each Message-ID, however many receipts come, and none where
//     a submission has that Message-ID.
//
// Receipts that are history lead to nothing by themselves; see reconcile.go. A
// receipt is kept in mind in the transaction of its arrival
//
//	ou/<mailbox>/<msgid>NUL<message>  receipt whose original is looked for
//
// and the fetcher looks at the end of its round, while it is logged in. What was not
// found within waitFor is looked for no more.

// The words for where an original was recovered from.
const (
	fromReceipt  = "receipt"
	fromProvider = "provider" // its folder of sent mail
)

// recoveredMark is the keyword of a recovered original.
const recoveredMark = "$PecRecovered"

const (
	originalsPerRound = 50        // looked for in one round
	perOriginal       = 200       // receipts of one that a round looks at
	soughtAgain       = time.Hour // after a search that found nothing, doubled up to soughtMost
	soughtMost        = 24 * time.Hour
)

func soughtPrefix(box, key string) string { return "ou/" + strings.ToLower(box) + "/" + key + "\x00" }

// seek keeps in mind that the original of a receipt is to be looked for.
func seek(tx *mailbox.Tx, box string, r *pec.Report, m *mailbox.Message) error {
	ids := r.MsgIDs()
	if len(ids) == 0 || idKey(ids[0]) == "" {
		return nil
	}
	k := fmt.Sprintf("%s%016x", soughtPrefix(box, idKey(ids[0])), uint64(m.ID))
	return tx.Space(room).Put(k, waiting{Box: strings.ToLower(box), Message: m.ID, At: tx.Now().UTC()})
}

// missing is an original that is looked for.
type missing struct {
	key    string // of its Message-ID
	lines  []waitingLine
	newest mailbox.MessageID // receipt that came last
}

// again is when an original is looked for the next time, unless another receipt
// comes before: a complete one follows the acceptance that was looked at in vain.
type again struct {
	at     time.Time
	wait   time.Duration
	newest mailbox.MessageID // receipt that came last before the search
}

// due tells whether an original is looked for now.
func (a again) due(o missing, now time.Time) bool {
	return a.newest != o.newest || !a.at.After(now) || a.at.Sub(now) > soughtMost // the clock was put back
}

// listSought returns what is looked for in a mailbox and due, and the keys of what
// was looked for too long.
func (s *Service) listSought(ctx context.Context, box string, due func(o missing) bool) (all []missing, over []string, err error) {
	prefix := "ou/" + strings.ToLower(box) + "/"
	err = s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
		all, over = nil, nil
		return tx.Space(room).Scan(prefix, func(k string, raw []byte) (bool, error) {
			key, _, ok := strings.Cut(strings.TrimPrefix(k, prefix), "\x00")
			l := waitingLine{key: k}
			if err := json.Unmarshal(raw, &l.waiting); err != nil || !ok {
				return false, fmt.Errorf("record of a receipt without its original: %w", err)
			}
			if !l.At.IsZero() && tx.Now().Sub(l.At) > waitFor {
				over = append(over, k)
				return len(over) < 500, nil
			}
			if n := len(all); n == 0 || all[n-1].key != key {
				all = onlyDue(all, due)
				if len(all) == originalsPerRound {
					return false, nil
				}
				all = append(all, missing{key: key})
			}
			o := &all[len(all)-1]
			o.newest = l.Message
			if len(o.lines) < perOriginal {
				o.lines = append(o.lines, l)
			}
			return true, nil
		})
	})
	return onlyDue(all, due), over, err
}

// onlyDue leaves the last one out where it is not due. All receipts of one have to
// be known for that.
func onlyDue(all []missing, due func(o missing) bool) []missing {
	if n := len(all); n > 0 && !due(all[n-1]) {
		return all[:n-1]
	}
	return all
}

// recoverOriginals looks for what is due. session is nil by POP3. An error of one
// is logged and stops no other; the one that is returned is the session's or the
// store's.
func (s *Service) recoverOriginals(ctx context.Context, w *worker, session *fetch.Session) error {
	now := s.opt.Store.Now()
	all, over, err := s.listSought(ctx, w.acc.Box, func(o missing) bool {
		return w.sought[o.key].due(o, now)
	})
	if err != nil || len(all)+len(over) == 0 {
		return err
	}
	if len(over) > 0 {
		err := s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
			for _, k := range over {
				if err := tx.Space(room).Delete(k); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	f := &sentFolders{session: session}
	for _, o := range all {
		found, err := s.recoverOne(ctx, w.acc, o, f)
		if ctx.Err() != nil || s.opt.Store.Broken() != nil || f.broken != nil {
			return errors.Join(err, f.broken)
		}
		if err != nil {
			s.opt.Events.Fault("original", w.acc.Box, err)
		}
		if found && err == nil {
			delete(w.sought, o.key)
			continue
		}
		if len(w.sought) > 10000 {
			clear(w.sought)
		}
		wait := min(max(w.sought[o.key].wait*2, soughtAgain), soughtMost)
		w.sought[o.key] = again{at: now.Add(wait), wait: wait, newest: o.newest}
	}
	return nil
}

// recoverOne recovers one original, if it can be found, and ties its receipts.
func (s *Service) recoverOne(ctx context.Context, acc Account, o missing, f *sentFolders) (found bool, err error) {
	err = s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
		switch _, err := byMsgID(tx, acc.Box, o.key); {
		case errors.Is(err, ErrNotFound):
			return nil
		case err != nil:
			return err
		}
		found = true
		return nil
	})
	if err != nil {
		return false, err
	}
	if !found {
		if found, err = s.search(ctx, acc, o, f); err != nil || !found {
			return false, err
		}
	}
	for _, l := range o.lines {
		if err := s.claimOne(ctx, acc.Box, l.key, l.Message); err != nil {
			return true, fmt.Errorf("receipt of a recovered original: message %d: %w", l.Message, err)
		}
	}
	return true, nil
}

// search looks for an original in its receipts, then at the provider.
func (s *Service) search(ctx context.Context, acc Account, o missing, f *sentFolders) (bool, error) {
	var facts *pec.Report // of the earliest receipt
	for _, l := range o.lines {
		m, err := s.opt.Store.Message(ctx, l.Message)
		if errors.Is(err, mailbox.ErrNotFound) {
			continue
		}
		if err != nil {
			return false, err
		}
		r, done, err := s.outOfReceipt(ctx, acc, m)
		if err != nil || done {
			return done, err
		}
		if r != nil && (facts == nil || r.When().Before(facts.When())) {
			facts = r
		}
	}
	if facts == nil || f.session == nil {
		return false, nil
	}
	return f.find(ctx, facts.MsgIDs()[0], func(ctx context.Context, folder string, it fetch.Item) error {
		return s.keepOriginal(ctx, acc, facts, it.Body, fromProvider, "folder "+folder+" of the provider", time.Time{})
	})
}

// outOfReceipt keeps the original that a receipt carries; done is false where it
// carries none.
func (s *Service) outOfReceipt(ctx context.Context, acc Account, m *mailbox.Message) (r *pec.Report, done bool, err error) {
	ix, err := s.opt.Store.Index(ctx, m.ID)
	if err != nil {
		return nil, false, err
	}
	body, err := s.opt.Store.Open(m)
	if err != nil {
		return nil, false, err
	}
	defer body.Close() // read-only handle: nothing to lose
	if r, err = s.reader().Read(ctx, body, m.Ref.Size, ix); err != nil {
		return nil, false, err
	}
	if !r.Believed() || !aboutSending(r.Kind) || !pec.SameAddress(r.Sender, acc.Box) || len(r.MsgIDs()) == 0 {
		return nil, false, nil // trust has changed since
	}
	if r.Kind != pec.Delivery || r.Receipt != pec.Complete || r.Inner == nil || r.Inner.Encoding != "" {
		return r, false, nil
	}
	inner := io.NewSectionReader(body, r.Inner.Off, r.Inner.Size)
	return r, true, s.keepOriginal(ctx, acc, r, inner, fromReceipt, "the complete receipt of "+plain(r.Recipient, maxAddress), time.Time{})
}

// errOtherID: what was found has another Message-ID.
var errOtherID = errors.New("relay: another message")

// keepOriginal stores an original and makes its submission. Message-ID, recipients
// and time are those of r or, where no receipt tells (nil), of its own header and
// of at.
func (s *Service) keepOriginal(ctx context.Context, acc Account, r *pec.Report, from io.Reader, how, where string, at time.Time) error {
	in, err := s.opt.Store.Begin(ctx)
	if err != nil {
		return err
	}
	defer in.Abort() // no effect after Store
	head := new(head)
	if _, err := io.Copy(in, io.TeeReader(from, head)); err != nil {
		return err
	}
	o := mailbox.Origin{
		Box: acc.Box, Direction: mailbox.Out, Submission: NewID(s.opt.Store.Now()), From: acc.Box,
		Folder: string(mailbox.RoleSent), Name: how, Date: at.UTC(),
	}
	if r != nil {
		o.Alias, o.Date = pec.NormalizeID(r.MsgIDs()[0]), r.When().UTC()
		for _, to := range r.Recipients {
			o.To = append(o.To, to.Address)
		}
	} else {
		o.Alias, o.To = headOfSent(*head)
	}
	if o.To = o.To[:min(len(o.To), MaxBatch)]; o.Alias == "" || len(o.To) == 0 {
		return errors.New("it has no Message-ID or no recipient")
	}
	st, err := in.Store(ctx, o)
	if err != nil {
		return err
	}
	defer st.Close() // read-only handle: nothing to lose
	// IMAP looks for a part of the field: only the whole id is the one.
	if how != fromReceipt && !pec.SameID(st.Index.MessageID, o.Alias) {
		return errOtherID
	}
	_, err = s.opt.Store.Record(ctx, st, func(tx *mailbox.Tx, m *mailbox.Message) error {
		return originalOf(tx, o, m, where)
	})
	if errors.Is(err, ErrMsgIDUsed) {
		return nil // it is there by now
	}
	return err
}

// headOfSent reads Message-ID and recipients out of the beginning of a message.
func headOfSent(head []byte) (msgid string, to []string) {
	for _, f := range mime.Fields(head) {
		switch strings.ToLower(f.Name) {
		case "message-id":
			msgid = pec.NormalizeID(f.Body())
		case "to", "cc", "bcc":
			for _, a := range mime.AddressList(f.Body()) {
				if a.Local != "" && a.Domain != "" {
					to = append(to, a.Local+"@"+a.Domain)
				}
			}
		}
	}
	return msgid, to
}

// originalOf makes the submission of a recovered original from its origin, and
// files it.
func originalOf(tx *mailbox.Tx, o mailbox.Origin, m *mailbox.Message, where string) error {
	m.History, m.Submission = true, o.Submission
	at := o.Date
	if at.IsZero() {
		at = tx.Now().UTC()
	}
	sub, err := begin(tx, Ticket{ID: o.Submission, Box: o.Box, MsgID: o.Alias, To: o.To}, m, at)
	if err != nil {
		return err
	}
	sub.State, sub.Recovered, sub.Since = HandedOver, o.Name, tx.Now().UTC()
	text := "its original was recovered from " + where + "; it was not sent through this gateway"
	if err := happened(tx, sub, "recovered", text); err != nil {
		return err
	}
	k := mailbox.FolderKey{Box: sub.Box, Role: mailbox.RoleSent}
	if _, _, err := tx.File(k, m, mailbox.Filing{Seen: true, Keywords: []string{recoveredMark}}); err != nil {
		return err
	}
	err = tx.Audit(mailbox.AuditLine{
		Actor: "relay", Event: "original", Box: sub.Box, Subject: sub.ID, Result: "recovered", Reason: "from " + where,
		More: map[string]string{"sha256": m.SHA256()},
	})
	return errors.Join(err, save(tx, sub, nil))
}

// sentFolders are the provider's folders of sent mail, listed once a round.
type sentFolders struct {
	session *fetch.Session
	names   []string
	listed  bool
	broken  error // of the session: it is over
}

// find hands the first message with a Message-ID to keep.
func (f *sentFolders) find(ctx context.Context, msgid string, keep func(context.Context, string, fetch.Item) error) (found bool, err error) {
	if !f.listed {
		all, err := f.session.Folders(ctx)
		if err != nil {
			f.broken = err
			return false, err
		}
		for _, x := range all {
			if x.Sent && len(f.names) < 3 {
				f.names = append(f.names, x.Name)
			}
		}
		f.listed = true
	}
	for _, folder := range f.names {
		uids, err := f.session.FindHeader(ctx, folder, "Message-ID", msgid)
		if errors.Is(err, fetch.ErrNoFolder) {
			continue
		}
		if err != nil {
			f.broken = err
			return false, err
		}
		if len(uids) > 5 {
			uids = uids[:5]
		}
		st, err := f.session.New(ctx, folder, fetch.Cursor{}, 0, nil)
		if err != nil {
			f.broken = err
			return false, err
		}
		_, err = f.session.Again(ctx, folder, st.UIDValidity, uids, func(ctx context.Context, it fetch.Item) error {
			if it.Problem != nil || found {
				return it.Problem
			}
			err := keep(ctx, folder, it)
			if errors.Is(err, errOtherID) {
				return nil
			}
			found = err == nil
			return err
		})
		if err != nil || found {
			return found && err == nil, err
		}
	}
	return false, nil
}
