package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"pecgate/mailbox"
	"pecgate/mailbox/events"
	"pecgate/relay"
)

const (
	box   = "protocollo@pec.alfa.example"
	msgid = "m1@alfa.example"
)

// syncBuffer keeps the log; several goroutines write it.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// desk is a control socket on a store with one submission.
type desk struct {
	t       *testing.T
	control *Control
	store   *mailbox.Store
	client  *Client
	dir     string
	log     *syncBuffer
	message []byte
	id      string // of the submission
}

func newDesk(t *testing.T, size int, stall time.Duration) *desk {
	t.Helper()
	d := &desk{t: t, dir: t.TempDir(), log: new(syncBuffer)}
	d.message = []byte("From: <" + box + ">\r\nTo: <a@b.example>\r\nMessage-ID: <" + msgid + ">\r\n\r\n" + strings.Repeat("0123456789abcdef\r\n", size/18+1))
	var err error
	if d.store, err = mailbox.Open(mailbox.Options{Dir: d.dir}); err != nil {
		t.Fatal(err)
	}
	d.submit()
	log := events.New(slog.New(slog.NewJSONHandler(d.log, nil)))
	accounts := func() []relay.Account { return []relay.Account{{Box: box, Active: true}} }
	d.control, err = Listen(Options{
		DataDir: d.dir, Store: d.store, Events: log, Stall: stall,
		Relay: relay.New(relay.Options{Store: d.store, Accounts: accounts, Events: log}),
	})
	if err != nil {
		t.Fatal(err)
	}
	d.client = NewClient(d.dir)
	t.Cleanup(func() {
		if err := errors.Join(d.control.Close(), d.store.Close()); err != nil {
			t.Error(err)
		}
	})
	return d
}

func (d *desk) submit() {
	d.t.Helper()
	ctx := context.Background()
	in, err := d.store.Begin(ctx)
	if err != nil {
		d.t.Fatal(err)
	}
	if _, err := in.Write(d.message); err != nil {
		d.t.Fatal(err)
	}
	d.id = relay.NewID(d.store.Now())
	st, err := in.Store(ctx, mailbox.Origin{Box: box, Direction: mailbox.Out, User: "mario", Submission: d.id, From: box})
	if err != nil {
		d.t.Fatal(err)
	}
	_, err = d.store.Record(ctx, st, func(tx *mailbox.Tx, m *mailbox.Message) error {
		_, err := relay.Enqueue(tx, relay.Ticket{ID: d.id, Box: box, User: "mario", MsgID: msgid, To: []string{"a@b.example"}}, m)
		return err
	})
	if err := errors.Join(err, st.Close()); err != nil {
		d.t.Fatal(err)
	}
}

// asked returns the audit lines of the control socket, oldest first, each as
// event, mailbox, subject, result and peer.
func (d *desk) asked() (lines []string) {
	d.t.Helper()
	err := d.store.View(context.Background(), func(tx *mailbox.Tx) error {
		return tx.AuditTail(func(_ uint64, l mailbox.AuditLine) bool {
			if l.Actor == "control socket" {
				lines = append([]string{strings.Join([]string{l.Event, l.Box, l.Subject, l.Result, l.From}, "|")}, lines...)
			}
			return true
		})
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return lines
}

// until waits for something to be so, for a minute at most.
func (d *desk) until(what string, ok func() bool) {
	d.t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			d.t.Fatalf("after a minute still not: %s\n%s", what, d.log)
		}
	}
}

func TestEveryRequestLeavesAnAuditLine(t *testing.T) {
	d := newDesk(t, 100, 0)
	ctx := context.Background()
	var st relay.Status
	var s relay.Shown
	var eml bytes.Buffer
	if err := d.client.JSON(ctx, "/v1/status", nil, &st); err != nil || len(st.Mailboxes) != 1 || st.Queue[relay.Queued] != 1 {
		t.Errorf("status %+v, %v", st, err)
	}
	if err := d.client.JSON(ctx, "/v1/show", url.Values{"id": {msgid}}, &s); err != nil || s.ID != d.id {
		t.Errorf("show %+v, %v", s, err)
	}
	if err := d.client.Copy(ctx, "/v1/eml", url.Values{"id": {d.id}}, &eml); err != nil || !bytes.Equal(eml.Bytes(), d.message) {
		t.Errorf("%d bytes, %v", eml.Len(), err)
	}
	const none = "no submission has this id, Message-ID or PEC identifier"
	if err := d.client.JSON(ctx, "/v1/show", url.Values{"id": {"none"}}, &s); err == nil || err.Error() != none {
		t.Errorf("show of nothing: %v", err)
	}
	if err := d.client.Copy(ctx, "/v1/eml", url.Values{"id": {"none"}}, &eml); err == nil || err.Error() != none {
		t.Errorf("bytes of nothing: %v", err)
	}
	if err := d.client.JSON(ctx, "/v9/later", nil, &s); err == nil || err.Error() != errUnknown.Error() {
		t.Errorf("unknown request: %v", err)
	}
	peer := fmt.Sprintf("|uid %d pid %d", os.Getuid(), os.Getpid())
	want := []string{
		"status|||given" + peer,
		"show|" + box + "|" + d.id + "|given" + peer,
		"show --eml|" + box + "|" + d.id + "|given" + peer,
		"show||none|not found" + peer,
		"show --eml||none|not found" + peer,
		"unknown||GET /v9/later|not found" + peer,
	}
	if got := d.asked(); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("audit lines\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// Scripts read these keys whether or not there is anything to say.
func TestStatusKeysAreAlwaysThere(t *testing.T) {
	d := newDesk(t, 100, 0)
	var st struct{ Mailboxes []map[string]any }
	if err := d.client.JSON(context.Background(), "/v1/status", nil, &st); err != nil || len(st.Mailboxes) != 1 {
		t.Fatal(st, err)
	}
	for key, want := range map[string]any{"address": box, "last_fetch": nil, "last_error": "", "quota": "", "suspended": "", "certificate_expires": nil} {
		if got, ok := st.Mailboxes[0][key]; !ok || got != want {
			t.Errorf("%s: %v, there: %t", key, got, ok)
		}
	}
	at := time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)
	b, err := json.Marshal(relay.BoxStatus{LastFetch: at, CertificateExpires: at})
	var back relay.BoxStatus
	if err := errors.Join(err, json.Unmarshal(b, &back)); err != nil || back.LastFetch != at || back.CertificateExpires != at {
		t.Errorf("%s: %+v, %v", b, back, err)
	}
}

// How the appliance stands is told even where the audit line cannot be stored;
// the log has it then. Content is not given without its line.
func TestWithoutRoomForTheAuditLine(t *testing.T) {
	status := func(*http.Request) answer { return answer{value: "content"} }
	content := func(*http.Request) answer {
		return answer{box: box, subject: "s1", value: "content", audited: true}
	}
	for name, c := range map[string]struct {
		ask         func(*http.Request) answer
		floor, dead bool
		code        int
	}{
		"status at the floor":         {ask: status, floor: true, code: 200},
		"content at the floor":        {ask: content, floor: true, code: 200},
		"status with a dead store":    {ask: status, dead: true, code: 200},
		"content with a dead store":   {ask: content, dead: true, code: 500},
		"content with a living store": {ask: content, code: 200},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t, 100, 0)
			if c.floor {
				d.control.room = func() error { return mailbox.ErrNoSpace }
			}
			if c.dead {
				if err := d.store.Close(); err != nil {
					t.Fatal(err)
				}
			}
			srv := httptest.NewServer(d.control.audited("test", c.ask))
			defer srv.Close()
			res, err := http.Get(srv.URL)
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(res.Body)
			if err := errors.Join(err, res.Body.Close()); err != nil || res.StatusCode != c.code || (c.code != 200) == strings.Contains(string(b), "content") {
				t.Errorf("%d %s %v", res.StatusCode, b, err)
			}
			logged := strings.Contains(d.log.String(), "audit line not stored") && strings.Contains(d.log.String(), `"event":"test"`)
			if logged != (c.floor || c.dead) {
				t.Errorf("log: %s", d.log)
			}
		})
	}
}

// stall asks for the bytes of a large message and reads none of the answer.
func (d *desk) stall() net.Conn {
	d.t.Helper()
	conn, err := net.Dial("unix", filepath.Join(d.dir, SocketName))
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { conn.Close() }) // it may be cut already
	if _, err := fmt.Fprintf(conn, "GET /v1/eml?id=%s HTTP/1.1\r\nHost: control\r\n\r\n", d.id); err != nil {
		d.t.Fatal(err)
	}
	d.until("the answer has begun", func() bool { return len(d.asked()) == 1 })
	return conn
}

func TestCloseCutsAStalledReader(t *testing.T) {
	d := newDesk(t, 8<<20, 0)
	d.stall()
	if err := d.control.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if _, err := os.Stat(filepath.Join(d.dir, SocketName)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
	if d.control.enter() {
		t.Error("a request was let in after the end")
	}
	// Every request has left: whatever it wanted of the store is done.
	if !strings.Contains(d.log.String(), "not read to its end") {
		t.Errorf("log: %s", d.log)
	}
	if err := d.client.JSON(context.Background(), "/v1/status", nil, new(relay.Status)); !errors.Is(err, ErrNotRunning) {
		t.Errorf("status after the end: %v", err)
	}
	if err := d.control.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
}

func TestAStalledReaderIsCutInTime(t *testing.T) {
	d := newDesk(t, 8<<20, 50*time.Millisecond)
	d.stall()
	d.until("the reader is cut", func() bool { return strings.Contains(d.log.String(), "not read to its end") })
}

// deadlines counts writes and the deadlines set before them.
type deadlines struct {
	http.ResponseWriter
	set, writes int
}

func (d *deadlines) SetWriteDeadline(time.Time) error { d.set++; return nil }
func (d *deadlines) Write(b []byte) (int, error)      { d.writes++; return len(b), nil }
func (d *deadlines) WriteHeader(int)                  {}
func (d *deadlines) Header() http.Header              { return http.Header{} }

// A slow reader of a long answer is not cut: each write has its own deadline.
func TestEveryWriteHasItsDeadline(t *testing.T) {
	d := newDesk(t, 1<<20, 0)
	w := new(deadlines)
	r := httptest.NewRequest(http.MethodGet, "/v1/eml?id="+d.id, nil)
	d.control.audited("show --eml", d.control.eml).ServeHTTP(w, r)
	if w.writes < 10 || w.set != w.writes {
		t.Errorf("%d writes, %d deadlines", w.writes, w.set)
	}
}

// TestOnlyUsersOfThePolicyGetSomething: an app password or what somebody left is
// for a login of the policy in use that is not closed.
func TestOnlyUsersOfThePolicyGetSomething(t *testing.T) {
	d := newDesk(t, 0, 0)
	d.control.opt.User = func(name string) (User, bool) {
		return User{Login: name, Closed: name == "closed"}, name != "nobody"
	}
	for _, login := range []string{"nobody", "closed", "mario"} {
		var made App
		q := url.Values{"user": {login}, "name": {"phone"}, "digest": {strings.Repeat("00", 32)}}
		err := d.client.Change(t.Context(), "/v1/app-passwords/make", q, &made)
		if (err == nil) != (login == "mario") {
			t.Errorf("app password of %s: %v", login, err)
		}
		err = d.client.Change(t.Context(), "/v1/people/adopt", url.Values{"old": {"lucia"}, "as": {login}, "person": {"0"}}, &made)
		if err == nil || strings.Contains(err.Error(), "nobody left this login") != (login == "mario") {
			t.Errorf("adoption as %s: %v", login, err)
		}
	}
	for _, login := range []string{"nobody", "closed"} {
		if err := d.store.View(t.Context(), func(tx *mailbox.Tx) error { _, err := tx.PersonOf(login); return err }); !errors.Is(err, mailbox.ErrNotFound) {
			t.Errorf("%s has become a person: %v", login, err)
		}
	}
}
