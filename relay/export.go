package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"pecgate/mailbox"
	"pecgate/mailbox/pec"
)

// The kinds that an export may be asked for, beside those of pec.
const (
	KindSent      = "sent"      // what was submitted
	KindPEC       = "pec"       // what was submitted, and the envelopes that came
	KindReceipts  = "receipts"  // every receipt and notice about a sending
	KindAnomalies = "anomalies" // what came and is not proved by its signature
)

// exportPage is how many records one transaction reads.
const exportPage = 1000

// ExportQuery says which messages leave the store as files. Empty fields exclude
// nothing. Drafts and copies of people, notices of the gateway and ordinary mail that
// passes through are in no export.
type ExportQuery struct {
	Mailboxes []string  `json:"mailboxes,omitempty"`
	From      time.Time `json:"from,omitzero"` // arrived here then or later
	Before    time.Time `json:"before,omitzero"`
	Kinds     []string  `json:"kinds,omitempty"`
}

// Exported is a message of an export.
type Exported struct {
	Mailbox string    `json:"mailbox"`
	Kind    string    `json:"kind"` // KindSent, KindAnomalies, or a word of pec.Kind
	Arrived time.Time `json:"arrived"`
	SHA256  string    `json:"sha256"`
	Size    int64     `json:"size"`
}

// Export is what a query found, at one time: its numbers are kept, not its records.
type Export struct {
	s        *Service
	ids      [][]mailbox.MessageID // by mailbox, ascending
	Messages int                   `json:"messages"`
	Bytes    int64                 `json:"bytes"`
}

// Export looks for messages, mailbox by mailbox in the policy's order, oldest first,
// and unless it is dry leaves an audit line that they were given. Errors: *Refusal.
func (s *Service) Export(ctx context.Context, q ExportQuery, dry bool, by Hand) (*Export, error) {
	for _, k := range q.Kinds {
		if !slices.Contains(ExportKinds(), k) {
			return nil, refuse("no kind %s: %s", strconv.Quote(clipped(k)), strings.Join(ExportKinds(), ", "))
		}
	}
	at := map[string]int{}
	for _, a := range s.opt.Accounts() {
		if len(q.Mailboxes) == 0 || slices.ContainsFunc(q.Mailboxes, func(b string) bool { return strings.EqualFold(a.Box, b) }) {
			at[strings.ToLower(a.Box)] = len(at)
		}
	}
	for _, b := range q.Mailboxes {
		if _, ok := at[strings.ToLower(b)]; !ok {
			return nil, refuse("%s is no mailbox of the policy", strconv.Quote(clipped(b)))
		}
	}
	e := &Export{s: s, ids: make([][]mailbox.MessageID, len(at))}
	for after, more := mailbox.MessageID(0), true; more; {
		var page []*mailbox.Message
		err := s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
			page = nil
			return tx.ScanMessages(after, func(m *mailbox.Message) (bool, error) {
				page = append(page, m)
				return len(page) < exportPage, ctx.Err()
			})
		})
		if err != nil {
			return nil, err
		}
		for _, m := range page {
			after = m.ID
			if n, ok := at[strings.ToLower(m.Box)]; ok && q.wants(m) {
				e.ids[n] = append(e.ids[n], m.ID)
				e.Messages++
				e.Bytes += m.Size()
			}
		}
		more = len(page) == exportPage
	}
	if dry {
		return e, nil
	}
	return e, s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
		more := map[string]string{"messages": strconv.Itoa(e.Messages), "bytes": strconv.FormatInt(e.Bytes, 10), "kinds": strings.Join(q.Kinds, " ")}
		if !q.From.IsZero() {
			more["from"] = q.From.UTC().Format(time.RFC3339)
		}
		if !q.Before.IsZero() {
			more["before"] = q.Before.UTC().Format(time.RFC3339)
		}
		boxes := make([]string, 0, len(q.Mailboxes))
		for _, b := range q.Mailboxes {
			boxes = append(boxes, strings.ToLower(b))
		}
		return tx.Audit(mailbox.AuditLine{Actor: by.Actor, From: by.From, Event: "export", Subject: clipped(strings.Join(boxes, " ")), Result: "given", More: more})
	})
}

// ExportKinds are the kinds that may be asked for.
func ExportKinds() []string {
	all := []string{KindSent, KindPEC, KindReceipts, KindAnomalies}
	for _, k := range []pec.Kind{pec.Transport, pec.Acceptance, pec.NonAcceptance, pec.Delivery, pec.DeliveryError, pec.DeliveryWarning,
		pec.TakenInCharge, pec.VirusDetected} {
		all = append(all, string(k))
	}
	return all
}

func (q *ExportQuery) wants(m *mailbox.Message) bool {
	if m.Transit || m.Generated || m.Direction != mailbox.In && m.Direction != mailbox.Out ||
		m.Arrived.Before(q.From) || !q.Before.IsZero() && !m.Arrived.Before(q.Before) {
		return false
	}
	return len(q.Kinds) == 0 || slices.ContainsFunc(q.Kinds, func(k string) bool { return ofKind(k, exportKind(m)) })
}

// ofKind tells whether a message of a kind is asked for by a word.
func ofKind(word, kind string) bool {
	switch word {
	case KindPEC:
		return kind == KindSent || kind == string(pec.Transport)
	case KindReceipts:
		return kind != KindAnomalies && aboutSending(pec.Kind(kind))
	}
	return word == kind
}

// exportKind is the word for a message: what claims to be a receipt and is not
// believed is called none.
func exportKind(m *mailbox.Message) string {
	if m.Direction == mailbox.Out {
		return KindSent
	}
	if m.Verdict == pec.Valid || m.Verdict == pec.ValidHistoric {
		if k := string(m.Kind); slices.Contains(ExportKinds(), k) {
			return k
		}
	}
	return KindAnomalies
}

// Each hands over the messages with their bytes, which are good until fn returns.
func (e *Export) Each(ctx context.Context, fn func(Exported, io.Reader) error) error {
	for _, box := range e.ids {
		for _, id := range box {
			if err := e.one(ctx, id, fn); err != nil {
				return err
			}
		}
	}
	return nil
}

func (e *Export) one(ctx context.Context, id mailbox.MessageID, fn func(Exported, io.Reader) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m, err := e.s.opt.Store.Message(ctx, id)
	if errors.Is(err, mailbox.ErrNotFound) {
		return refuse("a message was removed while it was exported: export again")
	}
	if err != nil {
		return err
	}
	body, err := e.s.opt.Store.Open(m)
	if err != nil {
		return fmt.Errorf("message %d: %w", id, err)
	}
	x := Exported{Mailbox: strings.ToLower(m.Box), Kind: exportKind(m), Arrived: m.Arrived.UTC(), SHA256: m.SHA256(), Size: m.Size()}
	return errors.Join(fn(x, io.NewSectionReader(body, 0, m.Size())), body.Close())
}
