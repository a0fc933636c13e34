package smtpd

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"pecgate/gateway/auth"
	"pecgate/policy"
)

// waitroom is a Confirm that knows one message.
type waitroom struct {
	mu    sync.Mutex
	w     Waiting
	owner string
	freed int
}

const heldToken = "abcdefghijklmnopqrstuvwxyz"

func (h *waitroom) Token(a string) (string, bool) {
	token, ok := strings.CutPrefix(strings.TrimSuffix(a, "@pecgate.example.org"), "confirm+")
	return token, ok && strings.HasSuffix(a, "@pecgate.example.org")
}

func (h *waitroom) Waiting(_ context.Context, token string, who policy.Identity) (Waiting, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if token != heldToken || who.User != h.owner {
		return Waiting{}, ErrNotWaiting
	}
	return h.w, nil
}

func (h *waitroom) Release(context.Context, string, policy.Identity, string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.w.Waits = false
	h.freed++
	return nil
}

const pinBox = "protocollo@pec.example.org"

// methods is a server whose mailbox allows these ways to give the PIN.
func methods(t *testing.T, room *waitroom, ways ...string) (*server, *pipes) {
	t.Helper()
	p := people(t)
	p.Mailboxes[0].PINMethods = ways
	s := newServer(t, func(o *Options) {
		o.Policy = func() *policy.Policy { return p }
		o.Auth = auth.New(auth.Options{Policy: o.Policy, Events: o.Events})
		if room != nil {
			o.Confirm = room
		}
	})
	return s, s.pipes(t)
}

func pinHeader(subject, more string) string {
	return "From: <" + pinBox + ">\r\nTo: " + other + "\r\nSubject: " + subject + "\r\nDate: Sat, 21 Nov 2026 10:00:00 +0100\r\n" +
		"Message-ID: <1@client.example.org>\r\nX-TipoRicevuta: completa\r\n" + more + "\r\ntesto\r\n"
}

// TestG4_WaysToGiveAPIN: each way counts only where the mailbox allows it, and
// whatever way was used the PIN is in nothing that is kept.
func TestG4_WaysToGiveAPIN(t *testing.T) {
	right, wrong := "[PIN:"+pin+"]", "[PIN:111111]"
	field := func(v string) string { return "X-Pecgate-PIN: " + v + "\r\n" }
	const held, refused, unclear = "250 2.0.0 Trattenuto", "550-5.7.1 Per inviare", "550-5.7.1 Il PIN va scritto"
	for n, c := range []struct {
		ways            []string
		login           string // behind the password
		subject, fields string
		want            string
		lack            Lack
	}{
		{[]string{"subject"}, "", "prova " + right, "", "250 2.0.0 Accettato", ""},
		{[]string{"subject"}, "", "prova", field(pin), refused, ""},
		{[]string{"subject"}, " " + pin, "prova", "", refused, ""},
		{[]string{"header"}, "", "prova", field(pin), "250 2.0.0 Accettato", ""},
		{[]string{"header"}, "", "prova", "x-PECGATE-pin:\t" + pin + " \r\n", "250 2.0.0 Accettato", ""},
		{[]string{"header"}, "", "prova", field("111111"), refused, ""},
		{[]string{"header"}, "", "prova " + right, "", refused, ""},
		{[]string{"header"}, "", "prova", field(pin) + field(pin), unclear, ""},
		{[]string{"header", "subject"}, "", "prova " + wrong, field(pin), unclear, ""},
		{[]string{"header", "subject"}, "", "prova " + right, field(pin), "250 2.0.0 Accettato", ""},
		{[]string{"password"}, " " + pin, "prova", "", "250 2.0.0 Accettato", ""},
		{[]string{"password"}, " 111111", "prova", "", refused, ""},
		{[]string{"password"}, "", "prova " + right, "", refused, ""},
		{[]string{"password", "subject"}, " " + pin, "prova " + wrong, "", refused, ""},
		{[]string{"password", "subject"}, " 111111", "prova " + right, "", "250 2.0.0 Accettato", ""},
		{[]string{"reply"}, "", "prova", "", held, HoldMissing},
		{[]string{"reply"}, "", "prova " + right, "", held, HoldMissing},
		{[]string{"reply", "subject"}, "", "prova", "", held, HoldMissing},
		{[]string{"reply", "subject"}, "", "prova " + wrong, "", held, HoldWrong},
		{[]string{"reply", "subject"}, "", "prova " + right, "", "250 2.0.0 Accettato", ""},
		{[]string{"reply", "subject"}, "", "prova " + right + wrong, "", unclear, ""},
		{[]string{"reply", "header"}, "", "prova", field("111111"), held, HoldWrong},
	} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			s, l := methods(t, nil, c.ways...)
			cl := newClient(t, l.dial(n))
			cl.reply()
			cl.do("EHLO client.example.org", "250-")
			cl.do("AUTH PLAIN "+b64("\x00mario\x00"+password+c.login), "235 ")
			cl.envelope(pinBox, other)
			cl.send(stuff(pinHeader(c.subject, c.fields)))
			if got := cl.reply(); !strings.HasPrefix(got, c.want) {
				t.Errorf("answered %q, want %s", got, c.want)
			}
			kept := s.store.all()
			if (len(kept) == 1) != strings.HasPrefix(c.want, "250") {
				t.Fatalf("%d kept", len(kept))
			}
			if len(kept) == 1 {
				text := string(kept[0].data)
				if kept[0].held != c.lack || strings.Contains(text, pin) || strings.Contains(text, "111111") || strings.Contains(strings.ToLower(text), "x-pecgate") ||
					!strings.HasSuffix(text, "\r\n\r\ntesto\r\n") {
					t.Errorf("kept, %q held:\n%s", kept[0].held, text)
				}
			}
			if log := s.log.String(); strings.Contains(log, pin) || strings.Contains(log, "111111") {
				t.Errorf("the log holds the PIN:\n%s", log)
			}
		})
	}
}

// TestG4_AlmostAMark: what a person meant as a PIN is refused where it is not
// cut, and what is no PIN is not.
func TestG4_AlmostAMark(t *testing.T) {
	const digits = "914273"
	for text, refused := range map[string]bool{
		"[PIN 914273] x": true, "[PIN;914273]": true, "[PIN=914273": true, "[PIN. 914273]": true, "[pin - 914 273]": true, "[ PIN914273]": true,
		"[PIN\u00a0:914273]": true, "=?utf-8?q?[PIN=C2=A0:914273]_x?=": true, "=?utf-8?q?=5B_PIN=C2=A0:_914273]_x?=": true,
		"=?iso-8859-1?q?[PIN=A0914273]?=": true, "[PIN\xa0914273]": true, "[PIN\uff1a914273]": true, "=?utf-8?q?[PIN=EF=BC=9A914273]?=": true,
		"=?utf-8?q?[P=E2=80=8BIN:914273]?=": true, "[PIN\u200b:914273]": true, "[PI\u00adN 914273]": true, "[PI\r\n N 914273]": true,
		"=?utf-8?q?[PIN?= =?utf-8?q?_914273]?=": true, "\uff3bPIN 914273\uff3d": true, "[PIN:[PIN:1]914273]": true, "[[PIN 914273]]": true,
		"[PIN:914273] x": false, "=?utf-8?Q?=5BPIN=3A914?= =?utf-8?Q?273=5D?=": false,
		"PIN 914273": false, "[PIN] 9142": false, "[PINETA 914273]": false, "[PIN n. 914273]": false, "[Prot. 914273]": false, "[PIN 12 del 2026]": false,
	} {
		for _, field := range []string{"Subject", "Thread-Topic"} {
			l, err := readLetter([]byte("From: a@pec.example.net\r\nTo: c@pec.example.net\r\n"+field+": "+text+"\r\n\r\n"), []string{"c@pec.example.net"}, "never")
			if (err != nil) != refused {
				t.Errorf("%s: %q: %v", field, text, err)
			}
			if strings.Contains(strings.ToUpper(text), "PIN:") && err == nil && strings.Contains(string(l.header), digits) {
				t.Errorf("%s: %q stays in %q", field, text, l.header)
			}
		}
	}
}

// TestG4_ProvedIsProved: only what a PIN was asked for, and right, is said to
// have one.
func TestG4_ProvedIsProved(t *testing.T) {
	for n, c := range []struct {
		box, subject string
		want         bool
	}{{office, "x [PIN:" + pin + "]", false}, {pinBox, "x [PIN:" + pin + "]", true}, {pinBox, "x", false}} {
		s, l := methods(t, nil, "subject", "reply")
		cl := newClient(t, l.dial(900+n))
		cl.login()
		cl.envelope(c.box, other)
		cl.send(stuff(strings.Replace(pinHeader(c.subject, ""), pinBox, c.box, 1)))
		cl.reply()
		if kept := s.store.all(); len(kept) != 1 || kept[0].proved != c.want {
			t.Errorf("%s %s: %+v", c.box, c.subject, kept)
		}
		if want := fmt.Sprintf(`"pin":%v`, c.want); !strings.Contains(s.log.String(), want) {
			t.Errorf("%s %s: no %s in\n%s", c.box, c.subject, want, s.log)
		}
	}
}

// TestA4_RetryNeedsNoPIN: what was accepted before is answered as before, whatever
// PIN the repetition has; what was held is released by the right one alone.
func TestA4_RetryNeedsNoPIN(t *testing.T) {
	for n, c := range []struct {
		known   Receipt
		subject string
		want    string
		kept    int
	}{
		{Receipt{ID: "old", Duplicate: true}, "prova [PIN:111111]", "250 2.0.0 Accettato come old ", 0},
		{Receipt{ID: "old", Duplicate: true}, "prova", "250 2.0.0 Accettato come old ", 0},
		{Receipt{ID: "old", Duplicate: true, Held: true}, "prova", "250 2.0.0 Trattenuto come old,", 0},
		{Receipt{ID: "old", Duplicate: true, Held: true}, "prova [PIN:" + pin + "]", "250 2.0.0 Accettato", 1}, // the store releases it
	} {
		s, l := methods(t, nil, "subject", "reply")
		s.store.known = c.known
		cl := newClient(t, l.dial(100+n))
		cl.login()
		cl.envelope(pinBox, other)
		cl.send(stuff(pinHeader(c.subject, "")))
		if got := cl.reply(); !strings.HasPrefix(got, c.want) {
			t.Errorf("%+v %s: answered %q, want %s", c.known, c.subject, got, c.want)
		}
		if n := len(s.store.all()); n != c.kept {
			t.Errorf("%+v %s: %d kept", c.known, c.subject, n)
		}
		if strings.Contains(s.log.String(), "wrong PIN") {
			t.Errorf("%+v %s: a PIN was counted", c.known, c.subject)
		}
	}
}

// TestReplyReleases: a reply by its sender with the PIN releases what is held,
// once; nothing of it is kept, and what has no live token or no PIN costs no
// try.
func TestReplyReleases(t *testing.T) {
	notice := "confirm+" + heldToken + "@pecgate.example.org"
	message := func(subject, body string) string {
		return "From: Mario <mario.rossi@example.org>\r\nTo: " + notice + "\r\nSubject: " + subject + "\r\n\r\n" + body
	}
	waits := Waiting{ID: "held7", Mailbox: pinBox, Waits: true}
	for n, c := range []struct {
		name, from, to, message string
		owner                   string
		w                       Waiting
		want                    string
		freed, wrong            int
	}{
		{"from an ordinary address", "mario.rossi@example.org", notice, message("Re: x", pin+"\r\n\r\n> Confermare\r\n"), "mario", waits, "250 2.0.0 Confermato, il messaggio held7", 1, 0},
		{"from the PEC mailbox", pinBox, notice, message("Re: x", pin+"\r\n"), "mario", waits, "250 2.0.0 Confermato", 1, 0},
		{"in the subject", "mario.rossi@example.org", notice, message("Re: x [PIN:"+pin+"]", "grazie\r\n"), "mario", waits, "250 2.0.0 Confermato", 1, 0},
		{"with its word before it", pinBox, notice, message("Re: x", "PIN "+pin), "mario", waits, "250 2.0.0 Confermato", 1, 0},
		{"wrong", pinBox, notice, message("Re: x", "111111\r\n"), "mario", waits, "550-5.7.1 PIN errato", 0, 1},
		{"none", pinBox, notice, message("Re: x", "va bene\r\n"+pin+"\r\n"), "mario", waits, "550-5.7.1 Nella risposta non c'e' un PIN", 0, 0},
		{"only quoted", pinBox, notice, message("Re: x", "> "+pin+"\r\n"), "mario", waits, "550-5.7.1 Nella risposta non c'e' un PIN", 0, 0},
		{"by a program", pinBox, notice, "Auto-Submitted: auto-replied\r\n" + message("Re: x", pin+"\r\n"), "mario", waits, "550-5.7.1 Nella risposta non c'e' un PIN", 0, 0},
		{"another user's", pinBox, notice, message("Re: x", "111111\r\n"), "lucia", waits, "550-5.7.1 L'avviso", 0, 0},
		{"no such token", pinBox, "confirm+x@pecgate.example.org", message("Re: x", "111111\r\n"), "mario", waits, "550-5.7.1 L'avviso", 0, 0},
		{"once more", pinBox, notice, message("Re: x", "111111\r\n"), "mario", Waiting{ID: "held7", Mailbox: pinBox}, "250 2.0.0 Era gia' confermato: il messaggio held7 e' gia' partito", 0, 0},
		{"cancelled", pinBox, notice, message("Re: x", "111111\r\n"), "mario", Waiting{ID: "held7", Mailbox: pinBox, Ended: true}, "550-5.7.1 L'avviso", 0, 0},
		{"the right to send is gone", "mario.rossi@example.org", notice, message("Re: x", pin+"\r\n"), "mario", Waiting{ID: "held7", Mailbox: "scaduto@pec.example.org", Waits: true}, "550-5.7.1 ", 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			room := &waitroom{w: c.w, owner: c.owner}
			s, l := methods(t, room, "reply")
			cl := newClient(t, l.dial(200+n))
			cl.login()
			cl.envelope(c.from, c.to)
			cl.send(stuff(strings.TrimSuffix(c.message, "\r\n") + "\r\n"))
			if got := cl.reply(); !strings.HasPrefix(got, c.want) {
				t.Errorf("answered %q, want %s", got, c.want)
			}
			if room.freed != c.freed || len(s.store.all()) != 0 {
				t.Errorf("%d released, %d kept", room.freed, len(s.store.all()))
			}
			log := s.log.String()
			if got := strings.Count(log, `"wrong PIN"`); got != c.wrong {
				t.Errorf("%d wrong PINs counted", got)
			}
			if strings.Contains(log, pin) || strings.Contains(log, "111111") || strings.Contains(log, heldToken) {
				t.Errorf("the log holds a secret:\n%s", log)
			}
			// The same conversation goes on with a submission.
			cl.envelope(office, other)
			cl.send(stuff(header + "\r\ntesto\r\n"))
			if got := cl.reply(); !strings.HasPrefix(got, "250 ") {
				t.Errorf("afterwards %q", got)
			}
		})
	}
}

// TestReplyGoesAlone: whoever may only reply sends to nobody else, and nobody
// who cannot reply gets further than before.
func TestReplyGoesAlone(t *testing.T) {
	notice := "confirm+" + heldToken + "@pecgate.example.org"
	s, l := methods(t, &waitroom{}, "reply")
	cl := newClient(t, l.dial(300))
	cl.login()
	cl.do("MAIL FROM:<mario.rossi@example.org>", "250 ")
	cl.do("RCPT TO:<"+other+">", "550")
	cl.do("DATA", "554")
	cl.do("RSET", "250 ")
	cl.do("MAIL FROM:<mario.rossi@example.org>", "250 ")
	cl.do("RCPT TO:<"+notice+">", "250 ")
	cl.do("RCPT TO:<"+other+">", "550-5.5.3")
	cl.do("DATA", "554")
	cl.do("RSET", "250 ")
	cl.do("MAIL FROM:<"+pinBox+">", "250 ")
	cl.do("RCPT TO:<"+other+">", "250 ")
	cl.do("RCPT TO:<"+notice+">", "550-5.5.3")
	cl.do("RSET", "250 ")
	cl.do("MAIL FROM:<scaduto@pec.example.org>", "550") // a PEC mailbox that is not theirs any more
	if len(s.store.all()) != 0 {
		t.Error("something was kept")
	}
	_, l = methods(t, &waitroom{}, "subject")
	cl = newClient(t, l.dial(301))
	cl.login()
	cl.do("MAIL FROM:<mario.rossi@example.org>", "550") // nobody is asked for a reply
}

// TestReplyPIN reads replies as mail programs write them.
func TestReplyPIN(t *testing.T) {
	alternative := func(plain, html string) string {
		return "Content-Type: multipart/alternative; boundary=x\r\n\r\n--x\r\nContent-Type: text/html\r\n\r\n" + html +
			"\r\n--x\r\nContent-Type: text/plain\r\n\r\n" + plain + "\r\n--x--\r\n"
	}
	for in, want := range map[string]string{
		"Subject: Re: a\r\n\r\n471193\r\n":                         "471193",
		"Subject: Re: a\r\n\r\n\r\n \t\r\n  471193  \r\nfirma\r\n": "471193",
		"\r\nPIN: 471193\r\n":                                      "471193",
		"\r\npin 471193.\r\n":                                      "471193",
		"\r\n[PIN:471193]\r\n":                                     "471193",
		"\r\n[PIN: abc ]\r\n":                                      "abc",
		"\r\n471 193\r\n":                                          "471193",
		"\r\n123\r\n":                                              "",
		"\r\n1234567890123\r\n":                                    "",
		"\r\nciao 471193\r\n":                                      "",
		"\r\n471193 ciao\r\n":                                      "",
		"\r\nciao\r\n471193\r\n":                                   "",
		"\r\n>471193\r\n":                                          "",
		"\r\n":                                                     "",
		"":                                                         "",
		"Subject: [PIN:9]\r\n\r\n471193\r\n":                       "9",
		"Subject: =?utf-8?B?UmU6IFtQSU46?= =?utf-8?B?MTIzNF0=?=\r\n\r\nx\r\n":                                                       "1234",
		"Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\nNDcxMTkzDQo=\r\n":                                     "471193",
		"Content-Transfer-Encoding: quoted-printable\r\n\r\n=34=3711=\r\n93\r\n":                                                    "471193",
		"Content-Type: text/plain; charset=utf-16le\r\nContent-Transfer-Encoding: base64\r\n\r\nNAA3ADEAMQA5ADMA\r\n":               "471193",
		"Content-Type: text/html\r\n\r\n<html><head><title>1111</title><style>p{}</style></head><body><div>471193</div><p>Ciao</p>": "471193",
		"Content-Type: text/html\r\n\r\n<div dir=ltr><span>471</span>193<br><br></div><blockquote>1234</blockquote>":                "471193",
		"Content-Type: text/html\r\n\r\n<blockquote>471193</blockquote>":                                                            "",
		"Content-Type: text/html\r\n\r\n<p>&nbsp;</p><p>471193&nbsp;</p>":                                                           "471193",
		alternative("471193", "<p>1111</p>"):                                                                                        "471193",
		"Content-Type: multipart/mixed; boundary=m\r\n\r\n--m\r\nContent-Type: application/pdf\r\n\r\n471193\r\n--m--\r\n":          "",
		"Content-Type: multipart/mixed; boundary=m\r\n\r\n--m\r\n" + alternative("471193", "x") + "\r\n--m--\r\n":                   "471193",
		"Auto-Submitted: auto-generated\r\n\r\n471193\r\n":                                                                          "",
		"Auto-Submitted: no\r\n\r\n471193\r\n":                                                                                      "471193",
	} {
		if got := replyPIN([]byte(in)); got != want {
			t.Errorf("%q gives %q, want %q", in, got, want)
		}
	}
}

// FuzzReplyPIN: whatever a reply holds, what is read of it is something that a
// person typed as a PIN, or nothing.
func FuzzReplyPIN(f *testing.F) {
	for _, s := range []string{"Subject: [PIN:1]\r\n\r\n", "\r\n471193\r\n", "Content-Type: text/html\r\n\r\n<p>1234<blockquote>", "Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if got := replyPIN(b); len(got) > len(b)*4 || strings.ContainsAny(got, "\r\n") && !strings.Contains(string(b), "=?") {
			t.Errorf("%q", got)
		}
	})
}

// fixedPIN is an Auth whose CheckPIN finds always the same.
type fixedPIN struct {
	Auth
	err error
}

func (f fixedPIN) CheckPIN(context.Context, string, string, auth.Use) (bool, error) {
	return false, f.err
}

// TestG4_TheAnswerSaysWhatThePINLacks: in both languages, whether the message is
// held or refused.
func TestG4_TheAnswerSaysWhatThePINLacks(t *testing.T) {
	for n, c := range []struct {
		ways []string
		err  error
		want []string // besides the code
		held Lack
	}{
		{[]string{"subject", "reply"}, nil, []string{"250 2.0.0 Trattenuto", "il PIN dato e' errato", "the PIN that was given is wrong"}, HoldWrong},
		{[]string{"subject", "reply"}, auth.ErrPINLocked, []string{"250 2.0.0 Trattenuto", "bloccato fino a mezzanotte", "locked until midnight"}, HoldLocked},
		{[]string{"subject", "reply"}, auth.ErrCodeSpent, []string{"250 2.0.0 Trattenuto", "gia' stato usato", "was used already"}, HoldSpent},
		{[]string{"subject"}, auth.ErrPINLocked, []string{"550-5.7.1 ", "bloccato fino a mezzanotte", "locked until midnight"}, ""},
		{[]string{"subject"}, auth.ErrCodeSpent, []string{"550-5.7.1 ", "gia' stato usato", "was used already"}, ""},
	} {
		p := people(t)
		p.Mailboxes[0].PINMethods = c.ways
		s, l := ruled(t, p, nil, func(o *Options) { o.Auth = fixedPIN{o.Auth, c.err} })
		cl := newClient(t, l.dial(900+n))
		cl.login()
		cl.envelope(pinBox, other)
		cl.send(stuff(pinHeader("prova [PIN:111111]", "")))
		got := cl.reply()
		for _, want := range c.want {
			if !strings.Contains(got, want) {
				t.Errorf("%v %v: answered %q without %q", c.ways, c.err, got, want)
			}
		}
		if kept := s.store.all(); len(kept) > 1 || (len(kept) == 1) != (c.held != "") || len(kept) == 1 && kept[0].held != c.held {
			t.Errorf("%v %v: kept %d", c.ways, c.err, len(kept))
		}
	}
}
