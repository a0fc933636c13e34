package forward

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"pecgate/mailbox"
)

// pass stores a message that passes through and queues it.
func (h *house) pass(raw string, e Envelope) (mailbox.MessageID, error) {
	h.t.Helper()
	ctx := h.t.Context()
	in, err := h.store.Begin(ctx)
	if err != nil {
		h.t.Fatal(err)
	}
	if _, err := io.WriteString(in, raw); err != nil {
		h.t.Fatal(err)
	}
	st, err := in.Store(ctx, mailbox.Origin{Direction: mailbox.Own})
	if err != nil {
		h.t.Fatal(err)
	}
	defer st.Close()
	m, err := h.store.Record(ctx, st, func(tx *mailbox.Tx, m *mailbox.Message) error {
		m.Transit = true
		_, err := AddPassing(tx, m, e, func(a string) bool { return strings.HasSuffix(a, "@pec.example") })
		return err
	})
	if err != nil {
		return 0, err
	}
	return m.ID, nil
}

func to(all ...string) (out []Addressee) {
	for _, a := range all {
		out = append(out, Addressee{Address: a})
	}
	return out
}

const letter = "Received: from EX01 by EX01; Sun, 22 Nov 2026 10:00:00 +0100\r\nFrom: mario@example.org\r\nSubject: ciao\r\nX-Odd:no space \r\n\r\n.dot\r\n\t\xe8 \r\n"

// What passes through goes byte for byte under one field, in one transaction, with
// its return path and what the sender asked; then its bytes are gone.
func TestPassingGoesUnaltered(t *testing.T) {
	for _, from := range []string{"mario@example.org", ""} {
		h := newHouse(t)
		h.host.DSN = true
		id, err := h.pass(letter, Envelope{From: from, EnvID: "a+b=c", Return: "HDRS", Relay: "exchange", Remote: "192.0.2.10", To: []Addressee{
			{"uno@fuori.example", "SUCCESS,FAILURE", "rfc822;uno+x@fuori.example"}, {"due@altri.example", "NEVER", ""}}})
		if err != nil {
			t.Fatal(err)
		}
		h.round()
		h.waiting(0)
		got := h.host.All()
		if len(got) != 1 {
			t.Fatalf("%d messages", len(got))
		}
		m := got[0]
		if !strings.HasPrefix(m.From, "MAIL FROM:<"+from+">") || !strings.Contains(m.From, " RET=HDRS ENVID=a+2Bb+3Dc") || !strings.Contains(m.From, "BODY=8BITMIME") {
			t.Errorf("%q", m.From)
		}
		if want := []string{"RCPT TO:<uno@fuori.example> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;uno+2Bx@fuori.example", "RCPT TO:<due@altri.example> NOTIFY=NEVER"}; !slices.Equal(m.Rcpts, want) {
			t.Errorf("%q", m.Rcpts)
		}
		field, ok := strings.CutSuffix(m.Data, letter)
		if !ok || !strings.HasPrefix(field, "Received: from [192.0.2.10] by gateway.example (pecgate) id p") || strings.Count(field, "\r\n") != 2 || strings.Contains(field, "fuori.example") {
			t.Errorf("%q", m.Data)
		}
		if len(h.ends) != 0 {
			t.Errorf("told of %+v, which the smarthost reports itself", h.ends)
		}
		if _, err := h.store.Message(t.Context(), id); !errors.Is(err, mailbox.ErrNotFound) {
			t.Errorf("its record: %v", err)
		}
	}
}

// Each recipient has an end of its own: taken, refused for good, tried again, given up.
func TestPassingByRecipient(t *testing.T) {
	h := newHouse(t)
	h.host.Answer = func(a string) string {
		switch {
		case strings.HasPrefix(a, "no@"):
			return "550 5.1.1 nobody"
		case strings.HasPrefix(a, "later@"):
			return "451 4.2.1 later"
		case strings.HasPrefix(a, "rules@"):
			return "550 5.7.1 relay denied"
		}
		return ""
	}
	id, err := h.pass(letter, Envelope{From: "mario@example.org", Relay: "exchange", To: append(to("no@x.example", "later@x.example", "rules@x.example"), Addressee{Address: "yes@x.example", Notify: "SUCCESS"})})
	if err != nil {
		t.Fatal(err)
	}
	h.round()
	h.waiting(1)
	if got := h.host.All(); len(got) != 1 || len(got[0].Rcpts) != 1 {
		t.Fatalf("%+v", got)
	}
	if len(h.ends) != 1 || fmt.Sprint(h.ends[0].Ends) != fmt.Sprint([]End{
		{Addressee: Addressee{Address: "no@x.example"}, Code: 550, Enhanced: "5.1.1", Text: "nobody"},
		{Addressee: Addressee{Address: "yes@x.example", Notify: "SUCCESS"}, Relayed: true, Code: 250, Text: "taken"}}) {
		t.Errorf("%+v", h.ends)
	}
	if !strings.HasPrefix(string(h.ends[0].Header), "Received: from EX01") || h.denied != 1 {
		t.Errorf("header %q, denied %d", h.ends[0].Header, h.denied)
	}
	for day := range 7 {
		h.now = h.now.Add(24 * time.Hour)
		if day == 6 {
			h.waiting(0)
		}
		h.round()
	}
	if len(h.ends) != 2 || len(h.ends[1].Ends) != 2 || !h.ends[1].Ends[0].Late || h.ends[1].Item.Envelope.Reports != 2 {
		t.Errorf("%+v", h.ends)
	}
	if n := len(h.host.All()); n != 1 {
		t.Errorf("%d messages: somebody got it twice", n)
	}
	if _, err := h.store.Message(t.Context(), id); !errors.Is(err, mailbox.ErrNotFound) {
		t.Errorf("its record: %v", err)
	}
}

// A smarthost that is away costs nobody anything; what a person drops goes with its
// bytes; a PEC mailbox is no recipient; so much waits and no more.
func TestPassingBounds(t *testing.T) {
	h := newHouse(t)
	h.host.Close()
	id, err := h.pass(letter, Envelope{Relay: "exchange", To: to("a@x.example")})
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		h.now = h.now.Add(24 * time.Hour)
		h.round()
	}
	h.waiting(1)
	if len(h.ends) != 0 || h.down == 0 {
		t.Errorf("%+v, down %d", h.ends, h.down)
	}
	if _, err := h.pass(letter, Envelope{Relay: "exchange", To: to("b@x.example", "box@pec.example")}); err == nil {
		t.Error("a PEC mailbox was taken")
	}
	for _, full := range []count{{Items: MaxItems}, {Items: MaxPassing, Passing: MaxPassing}, {Items: 2, Passing: 2, Bytes: MaxPassingBytes}} {
		var was count
		set := func(n count) {
			err := h.store.Update(t.Context(), func(tx *mailbox.Tx) error {
				return errors.Join(tx.Space(space).Get("n", &was), tx.Space(space).Put("n", n))
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		set(full)
		keep := was
		if _, err := h.pass(letter, Envelope{Relay: "exchange", To: to("b@x.example")}); !errors.Is(err, ErrFull) {
			t.Errorf("%+v: %v", full, err)
		}
		set(keep)
	}
	err = h.store.Update(t.Context(), func(tx *mailbox.Tx) error { _, err := Drop(tx, fmt.Sprintf("p%x", uint64(id))); return err })
	if err != nil {
		t.Fatal(err)
	}
	h.waiting(0)
	if _, err := h.store.Message(t.Context(), id); !errors.Is(err, mailbox.ErrNotFound) {
		t.Errorf("its record: %v", err)
	}
	err = h.store.View(t.Context(), func(tx *mailbox.Tx) error {
		var n count
		err := tx.Space(space).Get("n", &n)
		if n != (count{}) {
			t.Errorf("counted %+v", n)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A return path that is refused is the message's affair, and a message that comes
// back is told by our mark.
func TestPassingWanders(t *testing.T) {
	for _, c := range []struct {
		header string
		stops  bool
	}{
		{letter, false},
		{"Received: from [192.0.2.10]\r\n\tby Gateway.example (pecgate) id p1;\r\n\tSun, 22 Nov 2026 10:00:00 +0100\r\n" + letter, true},
		{strings.Repeat("Received: from a by b; x\r\n", 49) + letter, false},
		{strings.Repeat("Received: from a by b; x\r\n", 50) + letter, true},
		{"X-Loop: pecgate@gateway.example\r\n" + letter, false},
	} {
		if why := Wandered("gateway.example", []byte(c.header)); (why != "") != c.stops {
			t.Errorf("%.60q: %q", c.header, why)
		}
	}
}

// Who asked for it hears once that a message takes long, and of its end all the same; who
// did not ask hears nothing; a clock that jumps tells of no delay.
func TestPassingTakesLong(t *testing.T) {
	h := newHouse(t)
	h.host.Answer = func(a string) string {
		if strings.HasPrefix(a, "later") {
			return "451 4.2.1 later"
		}
		return ""
	}
	start := h.now
	_, err := h.pass(letter, Envelope{From: "mario@example.org", Relay: "exchange", To: []Addressee{
		{Address: "later1@x.example", Notify: "DELAY,FAILURE"}, {Address: "later2@x.example", Notify: "FAILURE"}, {Address: "later3@x.example"}}})
	if err != nil {
		t.Fatal(err)
	}
	h.round()
	told := 0
	for tries := 0; tries < 40; tries++ {
		h.now = h.now.Add(2 * time.Hour)
		h.round()
		if len(h.ends) == told {
			continue
		}
		told = len(h.ends)
		last := h.ends[told-1]
		if told > 1 || len(last.Ends) != 1 || !last.Ends[0].Delayed || last.Ends[0].Address != "later1@x.example" || last.Ends[0].Code != 451 || last.Ends[0].Enhanced != "4.2.1" {
			t.Errorf("told of %+v", last.Ends)
		}
		if tries+2 < delayTries {
			t.Errorf("told after %s and %d tries", h.now.Sub(start), tries+2)
		}
	}
	if told != 1 {
		t.Errorf("told %d times", told)
	}
	for range 6 {
		h.now = h.now.Add(24 * time.Hour)
		h.round()
	}
	if len(h.ends) != 2 || len(h.ends[1].Ends) != 3 || !h.ends[1].Ends[0].Late || h.ends[1].Ends[0].Delayed {
		t.Errorf("at the end %+v", h.ends)
	}
	h.waiting(0)
}
