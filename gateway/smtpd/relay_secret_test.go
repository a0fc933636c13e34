package smtpd

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"

	"pecgate/gateway/auth"
	"pecgate/mailbox/events"
	"pecgate/policy"
)

const secretField = "X-Pecgate-Secret-9c1e"

// secretServer is a relay that must set a secret, and passes on what bears no mark.
func secretServer(t *testing.T) (s *server, value string, log *lockedBuffer, a *admin, h *smarthost) {
	t.Helper()
	p, log := relays(t), new(lockedBuffer)
	h = new(smarthost)
	p.Relays[0].Smarthost = true
	value, hash := auth.NewRelaySecret()
	s, a = relayServer(t, func(o *Options, peer *Peer) {
		o.Events = events.New(slog.New(slog.NewJSONHandler(log, nil)))
		o.Policy = func() *policy.Policy { return p }
		o.MaxSize = 4 << 20
		o.Relay.Passing = h
		o.Relay.Looped = func(header []byte) string {
			if bytes.Contains(header, []byte("Auto-Submitted: auto-replied")) {
				return "a machine wrote it"
			}
			return ""
		}
		peer.SecretField, peer.SecretHash = secretField, hash
	})
	return s, value, log, a, h
}

// TestG14_SecretOfTheRelay: without the field, once and right, nothing is believed, passed
// on or kept, whatever way it takes; with it, it is in nothing that comes of a message.
func TestG14_SecretOfTheRelay(t *testing.T) {
	s, value, log, a, h := secretServer(t)
	wrong, _ := auth.NewRelaySecret()
	field := secretField + ": " + value + "\r\n"
	marked, plain := outlook+"\r\nciao\r\n", strings.ReplaceAll(outlook, "[PEC:ufficio] ", "")+"\r\nciao\r\n"
	nested := func(inside string) string {
		return "Content-Type: message/rfc822\r\n" + strings.NewReplacer("Content-Type: text/plain\r\n", "").Replace(outlook) + "\r\n" + inside + "Subject: x\r\n\r\nx\r\n"
	}
	coded := base64.StdEncoding.EncodeToString([]byte("x" + field))
	var split strings.Builder
	for line := range strings.SplitSeq(coded, "") {
		split.WriteString(line)
		if split.Len()%50 == 0 {
			split.WriteString("\r\n")
		}
	}
	far := strings.Repeat("Riga di un allegato molto lungo.\r\n", 50000)
	n := 0
	for _, tc := range []struct{ name, from, to, message, want, reason string }{
		{"missing", personal, other, marked, "550-5.7.1", "relay-secret-missing"},
		{"missing, ordinary", personal, other, plain, "550-5.7.1", "relay-secret-missing"},
		{"missing, no sender", "", other, marked, "550-5.7.1", "relay-secret-missing"},
		{"missing, to the administrator", "", office, plain, "550-5.7.1", "relay-secret-missing"},
		{"missing, a machine", personal, other, "Auto-Submitted: auto-replied\r\n" + marked, "550-5.7.1", "relay-secret-missing"},
		{"wrong", personal, other, secretField + ": " + wrong + "\r\n" + marked, "550-5.7.1", "relay-secret-wrong"},
		{"empty", personal, other, secretField + ":\r\n" + marked, "550-5.7.1", "relay-secret-wrong"},
		{"other letters", personal, other, secretField + ": " + strings.ToUpper(value) + "\r\n" + marked, "550-5.7.1", "relay-secret-wrong"},
		{"something behind it", personal, other, secretField + ": " + value + " x\r\n" + marked, "550-5.7.1", "relay-secret-wrong"},
		{"folded within", personal, other, secretField + ": " + value[:20] + "\r\n " + value[20:] + "\r\n" + marked, "550-5.7.1", "relay-secret-wrong"},
		{"a blank before the colon", personal, other, secretField + " : " + value + "\r\n" + marked, "550-5.7.1", "relay-secret-wrong"},
		{"too long", personal, other, secretField + ": " + strings.Repeat(value, 500) + "\r\n" + marked, "550-5.7.1", "relay-secret-wrong"},
		{"two", personal, other, field + field + marked, "550-5.7.1", "relay-secret-twice"},
		{"two, one of them wrong", personal, other, field + strings.ToLower(secretField) + ": x\r\n" + marked, "550-5.7.1", "relay-secret-twice"},
		{"in the body", personal, other, outlook + "\r\n" + field + "ciao\r\n", "550-5.7.1", "relay-secret-missing"},
		{"in a message inside", personal, other, nested(field), "550-5.7.1", "relay-secret-missing"},
		{"in another field", personal, other, "X-Other: " + field + marked, "550-5.7.1", "relay-secret-missing"},
		{"a header that never ends", "", office, field + strings.Repeat("X-A: "+strings.Repeat("a", 900)+"\r\n", 400), "552", "too-big"},
		{"right, and in the body", personal, other, field + outlook + "\r\nfield " + value + "\r\n", "550-5.7.1", "relay-secret-inside"},
		{"right, and folded in the body", personal, other, field + outlook + "\r\nfield " + value[:30] + "=\r\n" + value[30:] + "\r\n", "550-5.7.1", "relay-secret-inside"},
		{"right, and in base64", personal, other, field + outlook + "\r\n" + split.String() + "\r\n", "550-5.7.1", "relay-secret-inside"},
		{"right, and in another field", personal, other, field + "X-Copy: <" + value + ">\r\n" + marked, "550-5.7.1", "relay-secret-inside"},
		{"right, and far behind", personal, other, field + outlook + "\r\n" + far + value + "\r\n", "550-5.7.1", "relay-secret-inside"},
		{"right, and in ordinary mail", personal, other, field + plain + far + "x" + value + "\r\n", "550-5.7.1", "relay-secret-inside"},
		{"right", personal, other, field + marked, "250 2.0.0 Accettato come id", ""},
		{"right, folded behind the name", personal, other, strings.Replace(field, ": ", ":\r\n\t", 1) + marked, "250 2.0.0 Accettato come id", ""},
		{"right, written otherwise", personal, other, strings.Replace(outlook, "To:", strings.ToUpper(secretField)+":"+value+"  \r\nTo:", 1) + "\r\nciao\r\n", "250 2.0.0 Accettato come id", ""},
		{"right, last of the header", personal, other, outlook + field + "\r\nciao\r\n", "250 2.0.0 Accettato come id", ""},
		{"right, ordinary", personal, other, field + plain, "250 2.0.0 Accettato come posta ordinaria", ""},
		{"right, no sender", "", office, field + plain, "250 2.0.0 Accettato per l'amministratore", ""},
		{"right, a machine", personal, other, field + "Auto-Submitted: auto-replied\r\n" + marked, "250 2.0.0 Accettato per l'amministratore", ""},
		{"right, a notice of failure with it", "", office, field + nested(field), "250 2.0.0 Accettato per l'amministratore", ""},
		{"right, an answer with it", personal, other, field + "Auto-Submitted: auto-replied\r\n" + outlook + "\r\n" + split.String() + "\r\n", "250 2.0.0 Accettato per l'amministratore", ""},
	} {
		n++
		c := newClient(t, s.pipes(t).dial(n)) // another host each time: none is throttled
		c.greet()
		before := log.String()
		c.envelope(tc.from, tc.to)
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = fmt.Fprint(c.c, stuff(tc.message))
		}()
		got := c.reply()
		<-done
		if !strings.HasPrefix(got, tc.want) {
			t.Errorf("%s: answered %q, want %s", tc.name, got, tc.want)
		}
		if said := strings.TrimPrefix(log.String(), before); tc.reason != "" && !strings.Contains(said, tc.reason) {
			t.Errorf("%s: logged %s", tc.name, said)
		}
		c.do("QUIT", "221 ")
	}
	s.stop(t)
	if len(s.store.all()) != 4 || h.count() != 1 || a.count() != 4 || s.store.opened != s.store.gone || a.began != a.ended || h.began != h.ended {
		t.Errorf("%d submissions, %d passed on, %d for the administrator", len(s.store.all()), h.count(), a.count())
	}
	all := log.String()
	for _, m := range s.store.all() {
		all += string(m.data) + fmt.Sprintf("%+v", m.Submission)
		if !strings.Contains(strings.Join(m.HeaderEdits, " "), secretField+" cut") {
			t.Errorf("edits %q", m.HeaderEdits)
		}
	}
	for _, x := range []*admin{a, &h.admin} {
		for i, m := range x.got {
			all += string(m) + fmt.Sprintf("%+v", x.of)
			if i >= 2 && x == a && !bytes.Contains(m, []byte("Subject: Messaggio con il segreto del relay, non conservato")) {
				t.Errorf("filed %s", m)
			}
		}
	}
	if string(h.got[0]) != plain {
		t.Errorf("passed on %s", h.got[0])
	}
	if strings.Contains(all, value) || strings.Contains(strings.ToLower(all), strings.ToLower(secretField+":")) || strings.Contains(strings.ReplaceAll(all, "\r\n", ""), coded[3:60]) {
		t.Error("the secret is somewhere")
	}
}

// Who tries on and on is put off and hung up on; the right secret from the same network
// is taken all the same.
func TestRelaySecretIsThrottled(t *testing.T) {
	s, value, log, _, h := secretServer(t)
	marked := outlook + "\r\nciao\r\n"
	for i := range 30 {
		c := newClient(t, s.pipes(t).dial(1))
		c.greet()
		got := c.message(personal, marked, other)
		if want := map[bool]string{true: "550-5.7.1", false: "421-4.7.0"}[i < 21]; !strings.HasPrefix(got, want) {
			t.Fatalf("try %d: %q, want %s", i, got, want)
		}
		if i >= 21 {
			c.ended()
		}
	}
	c := newClient(t, s.pipes(t).dial(1))
	c.greet()
	if got := c.message(personal, secretField+": "+value+"\r\n"+marked, other); !strings.HasPrefix(got, "250 2.0.0 Accettato come id") {
		t.Error(got)
	}
	s.stop(t)
	if len(s.store.all()) != 1 || h.count() != 0 || strings.Contains(log.String(), value) || !strings.Contains(log.String(), `"remote":"10.0.0.1"`) {
		t.Errorf("%d stored, log %s", len(s.store.all()), log)
	}
}

// A reply with a PIN releases nothing without the secret, and is looked at with it.
func TestG14_SecretOfTheRelayInReplies(t *testing.T) {
	value, hash := auth.NewRelaySecret()
	field := secretField + ": " + value + "\r\n"
	reply := "From: Mario <" + personal + ">\r\nTo: confirm\r\nSubject: R: Confermare con il PIN\r\nMessage-ID: <r1@x>\r\nDate: Sun, 22 Nov 2026 10:00:00 +0100\r\n\r\n" + pin + "\r\n"
	for i, tc := range []struct {
		name, message, want string
		freed               int
	}{
		{"with it", field + reply, "250 2.0.0 Confermato", 1},
		{"without it", reply, "550-5.7.1", 0},
		{"twice", field + field + reply, "550-5.7.1", 0},
		{"in the text", reply + field, "550-5.7.1", 0},
	} {
		p := relays(t)
		p.Mailboxes[0].PINMethods = []string{policy.PINByReply}
		room := &waitroom{w: Waiting{ID: "held1", Mailbox: pinBox, Waits: true}, owner: "mario"}
		s, _ := relayServer(t, func(o *Options, peer *Peer) {
			o.Policy = func() *policy.Policy { return p }
			o.Confirm = room
			peer.SecretField, peer.SecretHash = secretField, hash
		})
		c := newClient(t, s.pipes(t).dial(i))
		c.greet()
		if got := c.message(personal, tc.message, "confirm+"+heldToken+"@pecgate.example.org"); !strings.HasPrefix(got, tc.want) {
			t.Errorf("%s: %q", tc.name, got)
		}
		s.stop(t)
		if room.freed != tc.freed || strings.Contains(s.log.String(), value) {
			t.Errorf("%s: freed %d", tc.name, room.freed)
		}
	}
}

// A secret that the policy asks for since the message began is asked for at its end.
func TestRelaySecretOfANewPolicy(t *testing.T) {
	_, hash := auth.NewRelaySecret()
	var demands atomic.Bool
	s, _ := relayServer(t, func(o *Options, peer *Peer) {
		one := *peer
		o.Relay.Peers = func() []Peer {
			p := one
			if demands.Load() {
				p.SecretField, p.SecretHash = secretField, hash
			}
			return []Peer{p}
		}
	})
	c := newClient(t, s.pipes(t).dial(1))
	c.greet()
	c.envelope(personal, other)
	c.send(outlook + "\r\nciao\r\n")
	demands.Store(true)
	c.send(".\r\n")
	if got := c.reply(); !strings.HasPrefix(got, "451-4.3.0") {
		t.Error(got)
	}
	if got := c.message(personal, outlook+"\r\nciao\r\n", other); !strings.HasPrefix(got, "550-5.7.1") {
		t.Error(got)
	}
	s.stop(t)
	if len(s.store.all()) != 0 {
		t.Error("it was taken")
	}
}
