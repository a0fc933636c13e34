package submit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

const from = "ufficio@pec.test"

var to = []string{"a@pec.test", "b@pec.test"}

// script answers one verb in its own way.
func script(verb, reply string) func(*conn, string, string) string {
	return func(_ *conn, v, _ string) string {
		if v == verb {
			return reply
		}
		return ""
	}
}

func TestSend(t *testing.T) {
	for _, security := range []string{"tls", "starttls"} {
		for _, offer := range []string{"AUTH PLAIN LOGIN", "AUTH LOGIN", "auth cram-md5 login"} {
			t.Run(security+" "+offer, func(t *testing.T) {
				p := newProvider(t)
				p.plain = security == "starttls"
				p.offer = []string{"SIZE 1000000", "8BITMIME", offer}
				intents := 0
				res := Send(t.Context(), p.server(), from, to, hello, Hooks{BeforeDot: func(context.Context) error {
					intents++
					if n := len(p.accepted()); n != 0 {
						t.Errorf("%d messages accepted before the intent", n)
					}
					return nil
				}})
				if res.Class != HandedOver || res.Err != nil || res.Stage != StageDot {
					t.Fatalf("result %+v", res)
				}
				if res.Code != 250 || res.Enhanced != "2.0.0" || res.Text != "queued as 7F" {
					t.Errorf("words %d %q %q", res.Code, res.Enhanced, res.Text)
				}
				if res.TLSVersion != "TLS 1.3" || res.Cipher == "" || res.CertificateExpires.IsZero() {
					t.Errorf("TLS facts %+v", res)
				}
				got := p.accepted()
				if len(got) != 1 || intents != 1 {
					t.Fatalf("%d messages, %d intents", len(got), intents)
				}
				if string(got[0].data) != string(hello) {
					t.Errorf("bytes changed: %q", got[0].data)
				}
				if got[0].from != from || strings.Join(got[0].to, " ") != strings.Join(to, " ") {
					t.Errorf("envelope %s %v", got[0].from, got[0].to)
				}
				if !strings.Contains(p.seen(), fmt.Sprintf("MAIL FROM:<%s> SIZE=%d", from, hello.Size())) {
					t.Errorf("commands:\n%s", p.seen())
				}
			})
		}
	}
}

// TestReplies has every step refused and says what becomes of the message.
func TestReplies(t *testing.T) {
	const throttled = `550 MAIL from: <x@legalmail.it> blocked "Class Of Service" - Too much traffic from this sender`
	tests := []struct {
		verb, reply string
		class       Class
		stage       Stage
		code        int
	}{
		{"GREETING", "554 no service", Temporary, StageGreeting, 554},
		{"GREETING", "421 too many", Temporary, StageGreeting, 421},
		{"GREETING", "HTTP/1.1 400 Bad Request", Temporary, StageGreeting, 0},
		{"GREETING", "close", Temporary, StageGreeting, 0},
		{"EHLO", "550 who are you", Temporary, StageHello, 550},
		{"EHLO", "close", Temporary, StageHello, 0},
		{"AUTH", "535 5.7.8 no", AuthRefused, StageAuth, 535},
		{"AUTH", "534 5.7.9 client password needed", AuthRefused, StageAuth, 534},
		{"AUTH", "454 4.7.0 later", Temporary, StageAuth, 454},
		{"AUTH", "250 odd", Temporary, StageAuth, 250},
		{"AUTH", "close", Temporary, StageAuth, 0},
		{"MAIL", "451 4.3.0 later", Temporary, StageMail, 451},
		{"MAIL", "421 4.3.2 going down", Temporary, StageMail, 421},
		{"MAIL", "553 5.1.8 not yours", Permanent, StageMail, 553},
		{"MAIL", throttled, Temporary, StageMail, 550},
		{"MAIL", "530 5.7.0 login first", Temporary, StageMail, 530},
		{"MAIL", "close", Temporary, StageMail, 0},
		{"RCPT", "450 4.2.0 greylisted", Temporary, StageRcpt, 450},
		{"RCPT", "550 5.1.1 unknown", Permanent, StageRcpt, 550},
		{"RCPT", "close", Temporary, StageRcpt, 0},
		{"DATA", "554 5.5.1 no", Permanent, StageData, 554},
		{"DATA", "451 4.3.0 later", Temporary, StageData, 451},
		{"DATA", "250 odd", Temporary, StageData, 250},
		{"DATA", "close", Temporary, StageData, 0},
		{"DOT", "451 4.3.0 disk", Temporary, StageDot, 451},
		{"DOT", "421 4.3.0 bye", Temporary, StageDot, 421},
		{"DOT", "552 5.3.4 too big", Permanent, StageDot, 552},
		{"DOT", "550 5.7.1 " + throttled[4:], Temporary, StageDot, 550},
		{"DOT", "354 odd", Uncertain, StageDot, 354},
		{"DOT", "close", Uncertain, StageDot, 0},
		{"DOT", "0 garbage", Uncertain, StageDot, 0},
		{"DOT", "250", HandedOver, StageDot, 250},
		{"DOT", "251-one\r\n251 two", HandedOver, StageDot, 251},
		{"DOT", "250-one\r\n550 two", Uncertain, StageDot, 0},
		{"DOT", "550 no\r\n250 yes", Uncertain, StageDot, 0},
		{"DOT", "250 yes\r\n550 no", Uncertain, StageDot, 0},
	}
	for _, tt := range tests {
		t.Run(tt.verb+" "+tt.reply, func(t *testing.T) {
			p := newProvider(t)
			p.on = script(tt.verb, tt.reply)
			intents := 0
			res := Send(t.Context(), p.server(), from, to, hello, Hooks{BeforeDot: func(context.Context) error { intents++; return nil }})
			if res.Class != tt.class || res.Stage != tt.stage || res.Code != tt.code {
				t.Errorf("%s at %s code %d (%v), want %s at %s code %d", res.Class, res.Stage, res.Code, res.Err, tt.class, tt.stage, tt.code)
			}
			if (res.Err == nil) != (tt.class == HandedOver) {
				t.Errorf("Err = %v", res.Err)
			}
			if want := map[bool]int{true: 1}[tt.verb == "DOT"]; intents != want {
				t.Errorf("%d intents, want %d", intents, want)
			}
			if tt.class == Permanent && len(p.accepted()) != 0 {
				t.Error("accepted all the same")
			}
		})
	}
}

func TestB7_LegalmailThrottlesWithPermanentReply(t *testing.T) {
	p := newProvider(t)
	p.on = script("MAIL", `550 5.7.1 MAIL from: <a@legalmail.it> blocked "Class Of Service" - Too much traffic from this sender`)
	if res := Send(t.Context(), p.server(), from, to, hello, Hooks{}); res.Class != Temporary {
		t.Errorf("%s: a throttled message would be bounced", res.Class)
	}
}

func TestB8_OneRefusedRecipientStopsAll(t *testing.T) {
	tests := []struct {
		name    string
		replies map[string]string
		class   Class
		code    int
		refused int
	}{
		{"unknown", map[string]string{"b": "550 5.1.1 unknown"}, Permanent, 550, 1},
		{"later", map[string]string{"b": "451 4.7.1 later"}, Temporary, 451, 1},
		{"both", map[string]string{"a": "451 4.7.1 later", "b": "550 5.1.1 unknown"}, Permanent, 550, 2},
		{"first only", map[string]string{"a": "550 5.1.1 unknown"}, Permanent, 550, 1},
		{"all", map[string]string{"a": "550 5.1.1 A", "b": "553 5.1.3 B", "c": "450 C"}, Permanent, 550, 3},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := newProvider(t)
			p.on = func(_ *conn, verb, line string) string {
				if verb != "RCPT" {
					return ""
				}
				return tt.replies[path(line)[:1]]
			}
			res := Send(t.Context(), p.server(), from, []string{"a@x.test", "b@x.test", "c@x.test"}, hello, Hooks{})
			if res.Class != tt.class || res.Code != tt.code || len(res.Refused) != tt.refused || res.Stage != StageRcpt {
				t.Errorf("%+v", res)
			}
			for _, r := range res.Refused {
				want := tt.replies[r.Recipient[:1]]
				if fmt.Sprint(r.Code) != want[:3] || r.Text == "" || (r.Class == Permanent) != (want[0] == '5') {
					t.Errorf("refusal %+v for %q", r, want)
				}
			}
			p.stop()
			if s := p.seen(); strings.Contains(s, "DATA") || !strings.HasSuffix(s, "RSET\nQUIT") {
				t.Errorf("commands:\n%s", s)
			}
		})
	}
}

func TestEnvelopeIsCheckedAgain(t *testing.T) {
	bad := []string{
		"", "a", "@b.test", "a@", "a@b@c", "a b@c.test", "a@b.test>", "<a@b.test", "a@b.test> NOTIFY=NEVER", "a@b.test\r\nRCPT TO:<x@y>",
		"a@b.test\n", "a\x00@b.test", `"a@evil.test> NOTIFY=NEVER"@dom.test`, `"a"@b.test`, `a\@b.test`, "@x:a@b.test", "a,b@c.test",
		"è@b.test", "a@[127.0.0.1]", strings.Repeat("a", 250) + "@b.test",
	}
	p := newProvider(t)
	for _, addr := range bad {
		if res := Send(t.Context(), p.server(), addr, to, hello, Hooks{}); res.Class != Permanent || res.Stage != StageMail {
			t.Errorf("from %q: %+v", addr, res)
		}
		if res := Send(t.Context(), p.server(), from, []string{"a@b.test", addr}, hello, Hooks{}); res.Class != Permanent {
			t.Errorf("to %q: %+v", addr, res)
		}
	}
	if res := Send(t.Context(), p.server(), from, nil, hello, Hooks{}); res.Class != Permanent {
		t.Errorf("no recipients: %+v", res)
	}
	if s := p.seen(); s != "" {
		t.Errorf("the provider saw\n%s", s)
	}
}

func TestSizeIsRespectedBeforeSending(t *testing.T) {
	p := newProvider(t)
	p.offer = []string{fmt.Sprintf("SIZE %d", hello.Size()), "AUTH PLAIN"}
	if res := Send(t.Context(), p.server(), from, to, hello, Hooks{}); res.Class != HandedOver {
		t.Errorf("exactly the limit: %+v", res)
	}
	if res := Send(t.Context(), p.server(), from, to, hello+"\r\n", Hooks{}); res.Class != Permanent || res.Stage != StageMail {
		t.Errorf("above the limit: %+v", res)
	}
	if n := strings.Count(p.seen(), "MAIL"); n != 1 {
		t.Errorf("%d MAIL commands", n)
	}
}

func TestEightBit(t *testing.T) {
	const body = "Subject: x\r\n\r\nperch\xc3\xa9\r\n"
	p := newProvider(t)
	if res := Send(t.Context(), p.server(), from, to, text(body), Hooks{}); res.Class != HandedOver {
		t.Fatalf("%+v", res)
	}
	if !strings.Contains(p.seen(), "BODY=8BITMIME") || string(p.accepted()[0].data) != body {
		t.Errorf("%s %q", p.seen(), p.accepted()[0].data)
	}
	q := newProvider(t)
	q.offer = []string{"AUTH PLAIN"}
	res := Send(t.Context(), q.server(), from, to, text(body), Hooks{})
	if res.Class != Permanent || strings.Contains(q.seen(), "MAIL") {
		t.Errorf("%+v\n%s", res, q.seen())
	}
	if res := Send(t.Context(), q.server(), from, to, hello, Hooks{}); res.Class != HandedOver || strings.Contains(q.seen(), "BODY=") {
		t.Errorf("%+v\n%s", res, q.seen())
	}
}

// badBody fails or ends early while it is read.
type badBody struct {
	text
	size int64
	err  error
}

func (b badBody) Size() int64 { return b.size }

func (b badBody) ReadAt(p []byte, off int64) (int, error) {
	n, err := b.text.ReadAt(p, off)
	if err != nil && b.err != nil {
		err = b.err
	}
	return n, err
}

func TestBodyThatCannotBeRead(t *testing.T) {
	p := newProvider(t)
	broken := errors.New("disk")
	for _, b := range []badBody{{hello, 1000, nil}, {hello, 1000, broken}} {
		res := Send(t.Context(), p.server(), from, to, b, Hooks{})
		if res.Class != Temporary || res.Stage != StageBody {
			t.Errorf("%+v", res)
		}
		if b.err == nil && !errors.Is(res.Err, io.ErrUnexpectedEOF) || b.err != nil && !errors.Is(res.Err, broken) {
			t.Errorf("error %v", res.Err)
		}
	}
	if p.seen() != "" {
		t.Error("connected")
	}
}

func TestNoSecretIsReported(t *testing.T) {
	replies := []string{
		"535 5.7.8 bad login " + password + " for " + user,
		"454 try AHMxMjM0 %s later",
		"garbage %s",
		"535-one %s\r\n535 two " + password,
	}
	for _, offer := range []string{"AUTH PLAIN", "AUTH LOGIN"} {
		for _, reply := range replies {
			p := newProvider(t)
			p.offer = []string{offer}
			p.on = func(_ *conn, verb, line string) string {
				if verb != "AUTH" {
					return ""
				}
				words := strings.Fields(line)
				return strings.ReplaceAll(reply, "%s", words[len(words)-1])
			}
			res := Send(t.Context(), p.server(), from, to, hello, Hooks{})
			all := fmt.Sprintf("%+v %v", res, res.Err)
			for _, secret := range []string{password, "Y29ycmV0dG8", "AE0xMjM0NTY3"} {
				if strings.Contains(all, secret) {
					t.Errorf("%s %q: %s", offer, reply, all)
				}
			}
		}
	}
}
