package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2" // what IMAP gives out is the evidence
	"github.com/emersion/go-imap/v2/imapclient"

	"pecgate/relay/providersim"
)

// sentFolder holds what a person has sent, in their one mailbox.
const sentFolder = "Posta inviata"

// story is what the gateway says became of a submission: used to know when to
// look, for figures, and for what the provider never took.
type story struct {
	State  string  `json:"state"`
	Reason string  `json:"state_reason"`
	Events []event `json:"events"`
}

type event struct {
	At   time.Time `json:"at"`
	What string    `json:"what"`
	Text string    `json:"text"`
}

func (w *world) story(ctx context.Context, id string) (story, error) {
	var s story
	err := w.ask(ctx, "/v1/show", url.Values{"id": {id}}, &s)
	return s, err
}

// uncertainFor is how long a submission was uncertain before a receipt or a
// decision came; ok is false if it never was.
func (s story) uncertainFor() (d time.Duration, ok, receipt bool) {
	var since time.Time
	for _, e := range s.Events {
		switch {
		case e.What == "uncertain":
			since, ok = e.At, true
		case !since.IsZero() && (e.What == "acceptance" || e.What == "delivery"):
			return e.At.Sub(since), true, true
		}
	}
	return 0, ok, false
}

// heldUnread tells whether it was held although its receipt lay at the provider, and
// came later; told that the story named what could not be read.
func (s story) heldUnread() (was, told bool) {
	for _, e := range s.Events {
		switch {
		case e.What == "held":
			was, told = true, strings.Contains(e.Text, "cannot be fetched")
		case was && (e.What == "acceptance" || e.What == "delivery"):
			return true, told
		}
	}
	return false, false
}

// judgeHandOvers waits until nothing more is to be expected, and judges: the
// provider's ledger against the promises and what IMAP shows.
func (w *world) judgeHandOvers(ctx context.Context, h *handed, quick bool) error {
	letters := w.ledger.all()
	letters = slices.DeleteFunc(letters, func(m *letter) bool { return !w.ledger.isPromised(m.ID) })
	h.Promised = len(letters)
	stories := map[string]story{}
	// The window of one minute in readable time, the five minutes after which what was
	// read in three rounds that were killed is read once more, and the ten after which
	// it is where that was killed, too.
	end := time.Now().Add(w.patience() + 18*time.Minute)
	for {
		open := 0
		took := w.tookBy()
		for _, m := range letters {
			lies := h.Receipts && len(took[m.ID]) > 0
			if over(stories[m.ID], h.Receipts, lies) {
				continue
			}
			s, err := w.story(ctx, m.ID)
			if err != nil {
				return fmt.Errorf("what became of %s: %w", m.ID, err)
			}
			stories[m.ID] = s
			if !over(s, h.Receipts, lies) && (!quick || len(took[m.ID]) > 0 || s.State != "uncertain") {
				open++
			}
		}
		if open == 0 || time.Now().After(end) {
			break
		}
		if err := pause(ctx, 500*time.Millisecond); err != nil {
			return err
		}
	}
	took := w.tookBy()
	sent, told := map[string][]imap.Flag{}, ""
	for _, p := range people() {
		flags, notices, err := w.shownTo(ctx, p)
		if err != nil {
			return err
		}
		for id, f := range flags {
			sent[id] = f
		}
		told += notices
	}
	for id := range took {
		if w.ledger.find(id) == nil {
			h.fault(&h.Wrong, "the provider was given %s, which nobody submitted", id)
		}
	}
	for _, m := range w.ledger.all() {
		if n := len(took[m.ID]); !w.ledger.isPromised(m.ID) && n > 1 {
			h.fault(&h.Duplicates, "%s, which was never promised, was handed over %d times", m.ID, n)
			h.fault(&h.Unflagged, "%s: nobody was told", m.ID)
		}
	}
	for _, m := range letters {
		h.judge(m, took[m.ID], stories[m.ID], sent, told)
	}
	return nil
}

// over tells whether nothing more is to be expected of a submission. lies says that
// its receipt is at the provider: then a hold is not the end.
func over(s story, receipts, lies bool) bool {
	switch s.State {
	case "accepted", "not-accepted", "cancelled":
		return true
	case "held":
		return !lies
	case "handed-over":
		return !receipts
	}
	return false
}

// tookBy is what the provider took, by Message-ID.
func (w *world) tookBy() map[string][]providersim.Submission {
	out := map[string][]providersim.Submission{}
	for _, s := range w.provider.Ledger() {
		out[unbracket(s.MessageID)] = append(out[unbracket(s.MessageID)], s)
	}
	return out
}

// judge judges one promised letter. sent are the flags of the sent copies by
// Message-ID, told all notices that people have.
func (h *handed) judge(m *letter, took []providersim.Submission, s story, sent map[string][]imap.Flag, told string) {
	flags, there := sent[m.ID]
	flagged := slices.Contains(flags, "$PecUncertain")
	noticed := strings.Contains(told, m.ID)
	resends := m.From == people()[len(people())-1]
	h.Taken += len(took)
	wait, was, receipt := s.uncertainFor()
	if was {
		h.Uncertain++
	}
	if was && receipt {
		h.waits = append(h.waits, wait)
	}
	if !there {
		h.fault(&h.Lost, "250 was said for %s, and its sender does not have it", m.ID)
	}
	for _, t := range took {
		switch {
		case bodySum(t.Raw) != m.Body || t.From != m.From.box || !slices.Equal(t.Recipients, []string{m.To}):
			h.fault(&h.Wrong, "%s was handed over with other bytes or another envelope", m.ID)
		case t.SHA256 != took[0].SHA256:
			h.fault(&h.Wrong, "%s was handed over the second time with other bytes", m.ID)
		}
	}
	switch {
	case len(took) == 1:
		h.Once++
	case len(took) > 1:
		h.fault(&h.Duplicates, "%s was handed over %d times", m.ID, len(took))
		if h.Receipts {
			break
		}
		h.Faults = h.Faults[:len(h.Faults)-1] // without receipts it is what was asked for
	}
	if len(took) > 1 && (!flagged || !noticed || !resends || len(took) > 2) {
		h.fault(&h.Unflagged, "%s was handed over %d times, with $PecUncertain: %t, with a notice: %t, where resending is allowed: %t", m.ID, len(took), flagged, noticed, resends)
	}
	if slices.ContainsFunc(s.Events, func(e event) bool { return e.What == "resend" }) {
		h.Resent++
	}
	if was, named := s.heldUnread(); was {
		h.Unread++
		if !named || !noticed {
			h.fault(&h.Wrong, "%s was held although its receipt lay at the provider, with a notice: %t, its story names what could not be read: %t", m.ID, noticed, named)
		}
	}
	switch {
	case s.State == "accepted" && len(took) == 0:
		h.fault(&h.Lost, "%s is called accepted, and the provider does not have it", m.ID)
	case s.State == "accepted", s.State == "handed-over" && !h.Receipts && len(took) > 0:
	case s.State == "held" && s.Reason == "uncertain":
		h.Held++
		if !flagged || !noticed {
			h.fault(&h.Wrong, "%s is held, with $PecUncertain: %t, with a notice: %t", m.ID, flagged, noticed)
		}
		if h.Receipts && len(took) > 0 {
			h.fault(&h.Wrong, "%s is held although its receipt came", m.ID)
		}
	case s.State == "uncertain" && len(took) == 0:
		h.Looking++
		if !flagged {
			h.fault(&h.Wrong, "%s is uncertain, without $PecUncertain", m.ID)
		}
	default:
		h.fault(&h.Lost, "%s is %s %s, and the provider has it %d times", m.ID, s.State, s.Reason, len(took))
	}
}

// shownTo gives the flags of what a person has sent, by Message-ID, and the text
// of all notices that they have.
func (w *world) shownTo(ctx context.Context, p person) (map[string][]imap.Flag, string, error) {
	c, err := w.imap(ctx, p)
	if err != nil {
		return nil, "", err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	out := map[string][]imap.Flag{}
	state, err := c.Select(sentFolder, &imap.SelectOptions{ReadOnly: true}).Wait()
	if err == nil && state.NumMessages > 0 {
		var all []*imapclient.FetchMessageBuffer
		all, err = c.Fetch(imap.SeqSet{{Start: 1, Stop: state.NumMessages}}, &imap.FetchOptions{Envelope: true, Flags: true}).Collect()
		for _, m := range all {
			if m.Envelope != nil {
				out[m.Envelope.MessageID] = m.Flags
			}
		}
	}
	_ = c.Close() // only read
	if err != nil {
		return nil, "", fmt.Errorf("imap of %s: what was sent: %w", p.login, err)
	}
	text, err := w.noticesOf(ctx, p)
	return out, text, err
}

// noticesOf is the text of the notices of a person, which stand in the INBOX of
// their login without a mailbox.
func (w *world) noticesOf(ctx context.Context, p person) (string, error) {
	c, err := w.imap(ctx, person{login: p.login})
	if err != nil {
		return "", err
	}
	defer c.Close() // only read
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	state, err := c.Select(inbox, &imap.SelectOptions{ReadOnly: true}).Wait()
	if err != nil || state.NumMessages == 0 {
		return "", err
	}
	header := &imap.FetchItemBodySection{Peek: true, Specifier: imap.PartSpecifierHeader}
	cmd := c.Fetch(imap.SeqSet{{Start: 1, Stop: state.NumMessages}}, &imap.FetchOptions{BodySection: []*imap.FetchItemBodySection{header}})
	var text bytes.Buffer
	for m := cmd.Next(); m != nil; m = cmd.Next() {
		for i := m.Next(); i != nil; i = m.Next() {
			if b, ok := i.(imapclient.FetchItemDataBodySection); ok {
				if _, err := io.Copy(&text, b.Literal); err != nil {
					return "", err
				}
			}
		}
	}
	return text.String(), cmd.Close()
}
