//go:build peers

package fetch

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pecgate/relay/upstream/dovecottest"
	"pecgate/relay/upstream/upstreamtest"
)

// startDovecot runs Dovecot with these messages in the inbox.
func startDovecot(t *testing.T, messages ...string) *dovecot {
	t.Helper()
	return &dovecot{dovecottest.Start(t, dovecottest.Options{Certificate: authority().Server(t, nil), Login: registerLogin, Password: registerPassword}, messages...)}
}

// dovecot is a private Dovecot on loopback with one mailbox.
type dovecot struct{ *dovecottest.Server }

const registerLogin, registerPassword = "protocollo", "segreta b"

func (d *dovecot) server(name, security string) Server {
	return Server{
		Host: upstreamtest.Host, Port: d.Ports[name], Security: security, Roots: authority().Roots(),
		Username: registerLogin, Password: registerPassword, Timeout: 20 * time.Second,
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, net.JoinHostPort("127.0.0.1", strconv.Itoa(d.Ports[name])))
		},
	}
}

// TestDovecotPOP3: a server that others wrote gives every message unchanged,
// over TLS from the first byte and after STLS; what was deleted is gone.
func TestDovecotPOP3(t *testing.T) {
	messages := []string{
		"From: a@x.example\r\nSubject: one\r\n\r\n.\r\n..\r\n+OK\r\n",
		"Subject: two\r\n\r\n" + strings.Repeat("x", 100_000) + "\r\n.\r\n",
		"Subject: perché\r\nTo: è@x.example\r\n\r\n\xe8 8 bit\r\n",
		"Subject: many lines\r\n\r\n" + strings.Repeat(".riga\r\n", 5000),
	}
	d := startDovecot(t, messages...)
	for name, security := range map[string]string{"pop3s": "tls", "pop3": "starttls"} {
		m := dialMaildrop(t, d.server(name, security))
		list, err := m.List(t.Context())
		if err != nil || len(list) != len(messages) {
			t.Fatalf("%s: %v, %v", name, list, err)
		}
		var have []got
		if err := m.Fetch(t.Context(), list, keepDrop(&have)); err != nil || !slices.Equal(bodies(have), messages) {
			t.Errorf("%s: %v, %.200q", name, err, bodies(have))
		}
		for i, l := range list {
			ours := messages[i]
			same, err := m.Same(t.Context(), l, strings.NewReader(ours), int64(len(ours)))
			other := ours[:len(ours)-3] + "Z\r\n"
			not, err2 := m.Same(t.Context(), l, strings.NewReader(other), int64(len(other)))
			// The end of the long one is beyond what TOP shows.
			if err != nil || err2 != nil || !same || not && i != 3 || l.Doubtful() {
				t.Errorf("%s: message %d: %t %t, %v %v", name, l.Number, same, not, err, err2)
			}
		}
		if err := m.Quit(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	wrong := d.server("pop3s", "tls")
	wrong.Password = "sbagliata"
	if _, err := DialMaildrop(t.Context(), wrong); err == nil || !strings.Contains(err.Error(), ErrAuthRefused.Error()) {
		t.Errorf("%v", err)
	}
	m := dialMaildrop(t, d.server("pop3s", "tls"))
	list, err := m.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if refused, err := m.Delete(t.Context(), list[1:3]); err != nil || len(refused) > 0 {
		t.Fatal(refused, err)
	}
	if err := m.Quit(t.Context()); err != nil {
		t.Fatal(err)
	}
	m = dialMaildrop(t, d.server("pop3s", "tls"))
	if left, err := m.List(t.Context()); err != nil || len(left) != 2 || left[0].ID != list[0].ID || left[1].ID != list[3].ID {
		t.Errorf("left are %v, %v", left, err)
	}
}

// TestDovecotRemove: UID EXPUNGE of a server that others wrote takes what it is
// told to, and the bytes by IMAP are those by POP3.
func TestDovecotRemove(t *testing.T) {
	var messages []string
	for i := range 5 {
		messages = append(messages, fmt.Sprintf("Subject: %d\r\n\r\n%s.\r\n", i, strings.Repeat("riga\r\n", 4000*i)))
	}
	d := startDovecot(t, messages...)
	s, err := Dial(t.Context(), d.server("imaps", "tls"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var list []got
	st, err := s.New(t.Context(), "INBOX", Cursor{}, 10, keep(&list))
	if err != nil || len(list) != 5 {
		t.Fatalf("%d, %v", len(list), err)
	}
	for i, g := range list {
		if found, err := s.Same(t.Context(), "INBOX", st.UIDValidity, g.uid, strings.NewReader(messages[i]), int64(len(messages[i]))); err != nil || found != Equal || g.body != messages[i] {
			t.Errorf("message %d: %d, %v", g.uid, found, err)
		}
	}
	left, err := s.Remove(t.Context(), "INBOX", st.UIDValidity, []uint32{list[0].uid, list[3].uid, list[4].uid})
	if err != nil || len(left) > 0 {
		t.Fatal(left, err)
	}
	m := dialMaildrop(t, d.server("pop3s", "tls"))
	drop, err := m.List(t.Context())
	if err != nil || len(drop) != 2 {
		t.Fatal(drop, err)
	}
	var have []got
	if err := m.Fetch(t.Context(), drop, keepDrop(&have)); err != nil || !slices.Equal(bodies(have), messages[1:3]) {
		t.Errorf("%v", err)
	}
}

// TestDovecotQuota: a server that others wrote tells how full a mailbox is.
func TestDovecotQuota(t *testing.T) {
	d := startDovecot(t, "Subject: one\r\n\r\n"+strings.Repeat("riga\r\n", 100_000))
	s, err := Dial(t.Context(), d.server("imaps", "tls"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	q, err := s.Quota(t.Context(), "INBOX")
	if err != nil || !q.Known || q.Limit != 100<<20 || q.Used < 480<<10 || q.Used > 700<<10 {
		t.Errorf("%+v, %v", q, err)
	}
}
