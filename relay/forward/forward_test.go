package forward

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"pecgate/mailbox"
	"pecgate/relay/submit"
	"pecgate/relay/submit/smarthosttest"
)

// server is the way to a smarthost.
func server(t *testing.T, s *smarthosttest.Server) submit.Server {
	t.Helper()
	host, port, err := net.SplitHostPort(s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	p, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return submit.Server{Host: host, Port: p, Security: "none", Ordinary: true, Hello: "gateway.example", Timeout: 10 * time.Second}
}

// house is a store with a sender, and a clock that the test moves.
type house struct {
	t      *testing.T
	dir    string
	store  *mailbox.Store
	s      *Sender
	host   *smarthosttest.Server
	now    time.Time
	mu     sync.Mutex
	failed []Failure
	down   int

	to      func(Item) (string, string, error)
	dropped []string
	denied  int
	ends    []Undelivered
}

func newHouse(t *testing.T) *house {
	t.Helper()
	h := &house{t: t, dir: t.TempDir(), host: smarthosttest.New(t), now: time.Now()}
	h.open()
	t.Cleanup(func() {
		if err := h.store.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

func (h *house) open() {
	h.t.Helper()
	store, err := mailbox.Open(mailbox.Options{Dir: h.dir, Now: func() time.Time { return h.now }})
	if err != nil {
		h.t.Fatal(err)
	}
	h.store = store
	h.s = h.sender()
}

func (h *house) sender() *Sender {
	return NewSender(Options{
		Store: h.store, Hostname: "gateway.example", Server: func() (submit.Server, bool, error) { return server(h.t, h.host), true, nil },
		Failed: func(_ context.Context, f Failure) error {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.failed = append(h.failed, f)
			return nil
		},
		Sent: func(context.Context, Item) error { return nil },
		To: func(_ *mailbox.Tx, it Item) (string, string, error) {
			if h.to != nil {
				return h.to(it)
			}
			return it.To, "", nil
		},
		Dropped: func(_ *mailbox.Tx, it Item, why string) error {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.dropped = append(h.dropped, it.To+": "+why)
			return nil
		},
		Undelivered: func(_ *mailbox.Tx, u Undelivered) error {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.ends = append(h.ends, u)
			return nil
		},
		Denied: func(context.Context, Item, string) error {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.denied++
			return nil
		},
		Down: func(_ context.Context, why error) error {
			h.mu.Lock()
			defer h.mu.Unlock()
			if why != nil {
				h.down++
			}
			return nil
		},
		Full: func(context.Context, int) error { return nil }, Log: func(Item, submit.Result) {}, Fault: func(err error) { h.t.Error(err) },
	})
}

// put stores a message and queues it for some addresses.
func (h *house) put(raw string, to ...string) mailbox.MessageID {
	h.t.Helper()
	ctx := h.t.Context()
	in, err := h.store.Begin(ctx)
	if err != nil {
		h.t.Fatal(err)
	}
	if _, err := io.WriteString(in, raw); err != nil {
		h.t.Fatal(err)
	}
	st, err := in.Store(ctx, mailbox.Origin{Box: "box@pec.example", Direction: mailbox.In})
	if err != nil {
		h.t.Fatal(err)
	}
	defer st.Close()
	m, err := h.store.Record(ctx, st, func(tx *mailbox.Tx, m *mailbox.Message) error {
		for _, a := range to {
			if err := Add(tx, Item{Message: m.ID, To: a, Kind: "copy", Box: "box@pec.example"}, nil); err != nil {
				return err
			}
		}
		_, _, err := tx.File(mailbox.FolderKey{Box: "box@pec.example", Role: mailbox.RoleInbox}, m, mailbox.Filing{})
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return m.ID
}

func (h *house) round() {
	h.t.Helper()
	if _, err := h.s.Round(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) waiting(want int) {
	h.t.Helper()
	err := h.store.View(h.t.Context(), func(tx *mailbox.Tx) error {
		n, err := Waiting(tx)
		all, err1 := List(tx, 1000)
		if n != want || len(all) != want {
			h.t.Errorf("%d wait, %d listed, want %d", n, len(all), want)
		}
		return errors.Join(err, err1)
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

const envelope = "From: posta-certificata@pec.example\r\nSubject: POSTA CERTIFICATA: x\r\nX-Trasporto: posta-certificata\r\n\r\n.dot\r\n..two\r\n\tbody \r\n\r\n"

// The stored bytes go under one new field, with a null return path.
func TestBytesGoUnaltered(t *testing.T) {
	h := newHouse(t)
	h.put(envelope, "mario@example.org", "lucia@example.org")
	h.round()
	h.waiting(0)
	got := h.host.All()
	if len(got) != 2 {
		t.Fatalf("%d messages", len(got))
	}
	for _, m := range got {
		if !strings.HasPrefix(m.From, "MAIL FROM:<>") {
			t.Errorf("return path %q", m.From)
		}
		field, ok := strings.CutSuffix(m.Data, envelope)
		if !ok {
			t.Fatalf("changed:\n%q", m.Data)
		}
		if !strings.HasPrefix(field, "Received: by gateway.example (pecgate) id f") || strings.Count(field, "\r\n") != 2 || !strings.Contains(field, "for <"+m.To+">;") {
			t.Errorf("trace field %q", field)
		}
	}
	h.round()
	if n := len(h.host.All()); n != 2 {
		t.Errorf("%d messages after another round", n)
	}
}

// 4xx is tried again, 5xx is given up and told, each address by itself.
func TestRefusals(t *testing.T) {
	h := newHouse(t)
	tries := 0
	h.host.Answer = func(to string) string {
		switch to {
		case "full@example.org":
			if tries++; tries < 3 {
				return "452 4.2.2 mailbox full"
			}
		case "nobody@example.org":
			return "550 5.1.1 no such user"
		}
		return ""
	}
	h.put(envelope, "full@example.org", "nobody@example.org", "mario@example.org")
	for range 4 {
		h.round()
		h.now = h.now.Add(10 * time.Minute)
	}
	h.waiting(0)
	if got := h.host.All(); len(got) != 2 || tries != 3 {
		t.Errorf("%d messages, %d tries", len(got), tries)
	}
	if len(h.failed) != 1 || h.failed[0].Item.To != "nobody@example.org" || !h.failed[0].Final || !strings.Contains(h.failed[0].Reason, "550 5.1.1 no such user") {
		t.Errorf("told %+v", h.failed)
	}
}

// What the smarthost does not take for five days is given up; a clock that jumps
// by a year gives nothing up.
func TestJ1_GivenUpAfterDaysOfTrying(t *testing.T) {
	h := newHouse(t)
	h.host.Answer = func(string) string { return "451 4.3.0 later" }
	h.put(envelope, "mario@example.org")
	h.round()
	h.now = h.now.AddDate(1, 0, 0)
	h.round()
	h.waiting(1)
	for range 6 {
		h.now = h.now.Add(24 * time.Hour)
		h.round()
	}
	h.waiting(0)
	if len(h.failed) != 1 || h.failed[0].Final {
		t.Errorf("told %+v", h.failed)
	}
}

// A smarthost that is not there is asked by one item, told once a round, and all
// goes when it is back.
func TestSmarthostDown(t *testing.T) {
	h := newHouse(t)
	addr := h.host.Addr()
	h.host.Close()
	for i := range 20 {
		h.put(strings.Replace(envelope, "x\r\n", fmt.Sprintf("%d\r\n", i), 1), "mario@example.org")
	}
	h.round()
	h.round()
	tried := 0
	err := h.store.View(t.Context(), func(tx *mailbox.Tx) error {
		all, err := List(tx, 100)
		for _, it := range all {
			tried += it.Attempts
		}
		return err
	})
	if err != nil || tried > 20 {
		t.Errorf("%d attempts, %v", tried, err)
	}
	h.host = smarthosttest.On(t, addr)
	for range 8 {
		h.now = h.now.Add(20 * time.Minute)
		h.round()
	}
	h.waiting(0)
	if n := len(h.host.All()); n != 20 {
		t.Errorf("%d messages", n)
	}
}

// A restart in the middle doubles nothing in the queue and loses nothing; what the
// smarthost took without our hearing of it comes twice.
func TestRestartInTheMiddle(t *testing.T) {
	h := newHouse(t)
	h.host.CutDot = 1
	id := h.put(envelope, "mario@example.org")
	h.round() // taken, the reply lost
	h.waiting(1)
	// The gateway ends during the next attempt: the item is leased.
	h.now = h.now.Add(5 * time.Minute)
	var items []Item
	err := h.store.View(t.Context(), func(tx *mailbox.Tx) (err error) { items, err = List(tx, 10); return err })
	if err != nil || len(items) != 1 {
		t.Fatal(items, err)
	}
	if _, err := h.s.take(t.Context(), h.s.ways[0], items[0].ID); err != nil {
		t.Fatal(err)
	}
	if other := h.sender(); other != nil { // a second one on the store does not have it
		if it, err := other.take(t.Context(), other.ways[0], items[0].ID); it != nil || err != nil {
			t.Errorf("leased twice: %v, %v", it, err)
		}
	}
	if err := h.store.Close(); err != nil {
		t.Fatal(err)
	}
	h.open()
	err = h.store.Update(t.Context(), func(tx *mailbox.Tx) error {
		return Add(tx, Item{Message: id, To: "Mario@example.org", Kind: "copy"}, nil) // asked for again
	})
	if err != nil {
		t.Fatal(err)
	}
	h.waiting(1)
	h.now = h.now.Add(time.Hour)
	h.round()
	h.waiting(0)
	if got := h.host.All(); len(got) != 2 {
		t.Errorf("%d messages", len(got))
	}
}

func TestMarks(t *testing.T) {
	c := Check{Hostname: "gateway.example", Address: "pecgate@gateway.example", Machines: true}
	ours := trace("gateway.example", "f1-0", "a@example.org", time.Now())
	for raw, marked := range map[string]bool{
		"Subject: x\r\n\r\n":        false,
		ours + "Subject: x\r\n\r\n": true,
		"Received: from x by y; date\r\n" + ours + "Subject: x\r\n": true,
		"X-Loop: PECGATE@gateway.example\r\n\r\n":                   true,
		"X-Loop: other@example.org\r\n\r\n":                         false,
		"Auto-Submitted: no\r\n\r\n":                                false,
		"Auto-Submitted: auto-replied (vacation)\r\n\r\n":           true,
		"Return-Path: <>\r\n\r\n":                                   true,
		strings.Repeat("Received: from x by y; date\r\n", 31):       true,
		strings.Repeat("Received: from x by y; date\r\n", 30):       false,
		strings.ReplaceAll(ours, "gateway.example", "b.example"):    false,
	} {
		why, err := c.Marked(strings.NewReader(raw), 0, int64(len(raw)))
		if err != nil || (why != "") != marked {
			t.Errorf("%q: %q, %v", raw, why, err)
		}
	}
	c.Machines = false
	if why, _ := c.Marked(strings.NewReader("Auto-Submitted: auto-generated\r\n\r\n"), 0, 33); why != "" {
		t.Errorf("%s", why)
	}
}

// The field and the message read as one, at every seam.
func TestTracedReads(t *testing.T) {
	body := strings.NewReader("the body")
	r := &traced{field: "field\r\n", body: body, size: body.Size()}
	want := "field\r\nthe body"
	for off := range len(want) + 2 {
		for n := range len(want) + 2 {
			b := make([]byte, n)
			got, err := r.ReadAt(b, int64(off))
			exp := want[min(off, len(want)):min(off+n, len(want))]
			if string(b[:got]) != exp || err != nil && !errors.Is(err, io.EOF) || err == nil && got < n {
				t.Errorf("%d at %d: %q, %v", n, off, b[:got], err)
			}
		}
	}
}

// Who has left gets nothing any more, and who moved gets it at the new address.
func TestAddressIsAskedBeforeEachAttempt(t *testing.T) {
	h := newHouse(t)
	h.put(envelope, "left@example.org", "old@example.org", "mario@example.org")
	h.to = func(it Item) (string, string, error) {
		switch it.To {
		case "left@example.org":
			return "", "the person has left", nil
		case "old@example.org":
			return "new@example.org", "", nil
		}
		return it.To, "", nil
	}
	h.round()
	h.waiting(0)
	got := map[string]bool{}
	for _, m := range h.host.All() {
		got[m.To] = true
	}
	if len(got) != 2 || !got["new@example.org"] || !got["mario@example.org"] || len(h.dropped) != 1 || h.dropped[0] != "left@example.org: the person has left" {
		t.Errorf("sent to %v, dropped %q", got, h.dropped)
	}
}

// A smarthost that does not relay empties no queue: all goes once it does.
func TestRelayDeniedIsOfTheHost(t *testing.T) {
	h := newHouse(t)
	denies := true
	h.host.Answer = func(string) string {
		if denies {
			return "554 5.7.1 <x>: Relay access denied"
		}
		return ""
	}
	h.put(envelope, "a@example.org", "b@example.org", "c@example.org")
	h.round()
	h.waiting(3)
	if h.denied != 3 || len(h.failed) != 0 {
		t.Errorf("denied %d, given up %+v", h.denied, h.failed)
	}
	denies = false
	h.now = h.now.Add(time.Hour)
	h.round()
	h.waiting(0)
	if !ofHost(submit.Result{Stage: submit.StageMail, Class: submit.Permanent, Code: 550, Err: io.EOF}) || ofHost(submit.Result{Stage: submit.StageMail, Class: submit.Permanent, Code: 552, Err: io.EOF}) ||
		ofHost(submit.Result{Stage: submit.StageMail, Class: submit.Permanent, Err: io.EOF}) {
		t.Error("a refusal of MAIL is the host's, one of the size the message's")
	}
}

// However many wait, a smarthost that is away counts once for a round; and a week of
// that gives nothing up, since it was not asked.
func TestHostAwayCountsOnceARound(t *testing.T) {
	h := newHouse(t)
	addr := h.host.Addr()
	h.host.Close()
	for i := range 64 {
		h.put(strings.Replace(envelope, "x\r\n", fmt.Sprintf("%d\r\n", i), 1), "mario@example.org")
	}
	h.round()
	if n := h.s.failing(h.s.ways[0]); n != 1 {
		t.Errorf("counted %d times", n)
	}
	for range 8 {
		h.now = h.now.Add(24 * time.Hour)
		h.round()
	}
	h.waiting(64)
	h.host = smarthosttest.On(t, addr)
	h.now = h.now.Add(24 * time.Hour)
	h.round()
	h.waiting(0)
}

// Without a smarthost nothing waits for ever; a clock that jumps drops nothing.
func TestNothingWaitsForNoSmarthost(t *testing.T) {
	h := newHouse(t)
	h.put(envelope, "a@example.org", "b@example.org")
	h.s.opt.Server = func() (submit.Server, bool, error) { return submit.Server{}, false, nil }
	h.round()
	h.now = h.now.AddDate(1, 0, 0)
	h.round()
	h.waiting(2)
	for range 4 {
		h.now = h.now.Add(24 * time.Hour)
		h.round()
	}
	h.waiting(0)
	if len(h.dropped) != 2 {
		t.Errorf("dropped %q", h.dropped)
	}
}
