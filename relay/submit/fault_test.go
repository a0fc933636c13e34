package submit

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// smuggling are the ways to write an end of data that is none, with a second
// transaction behind (A13), and some of our own.
var smuggling = []string{
	"\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r\n.\r", "\r.\r\n", "\r\n\x00.\r\n", "\r\n.\x00\r\n",
	"\r\r\n.\r\n", "\r\n.\r\r\n", "\n\r.\r\n", "\r\n.\r\n", "\r\n..\r\n", "\r\n. \r\n",
}

// TestB15_NoBodyEndsTheMessage sends the sequences to providers that are each
// lenient in one way. What they take must be one message, the one that was sent.
func TestB15_NoBodyEndsTheMessage(t *testing.T) {
	ends := map[string][]string{
		"strict":         {"\r\n.\r\n"},
		"LF.LF":          {"\r\n.\r\n", "\n.\n"},
		"LF.CRLF":        {"\n.\r\n"},
		"CRLF.LF":        {"\r\n.\r\n", "\r\n.\n"},
		"CR.CR":          {"\r\n.\r\n", "\r.\r"},
		"CRLF.CR":        {"\r\n.\r\n", "\r\n.\r"},
		"CR.CRLF":        {"\r\n.\r\n", "\r.\r\n"},
		"NUL ignored":    {"\r\n.\r\n", "\r\n\x00.\r\n", "\r\n.\x00\r\n"},
		"everything":     {"\r\n.\r\n", "\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r\n.\r", "\r.\r\n", "\r\n\x00.\r\n"},
		"dot and blanks": {"\r\n.\r\n", "\r\n. \r\n"},
	}
	extra, refused, sent := 0, 0, 0
	for name, end := range ends {
		p := newProvider(t)
		p.read = func(r *bufio.Reader) ([]byte, error) { return dataUntil(r, end...) }
		for _, seq := range smuggling {
			// At the start, and on each side of the border of two blocks.
			for _, pad := range []int{0, blockSize - 17, blockSize - 16, blockSize - 15} {
				head := "Subject: x\r\n\r\n" + strings.Repeat("a", pad)
				body := text(head + seq + "MAIL FROM:<evil@pec.test>\r\nRCPT TO:<victim@pec.test>\r\nDATA\r\nSubject: extra\r\n\r\nx\r\n")
				before := len(p.accepted())
				res := Send(t.Context(), p.server(), from, to, body, Hooks{})
				got := p.accepted()[before:]
				switch {
				case res.Class == Permanent && res.Stage == StageBody && len(got) == 0:
					refused++
				case res.Class == HandedOver && len(got) == 1 && string(got[0].data) == string(body):
					sent++
				default:
					t.Errorf("%s, %q after %d: %s, %d messages: %v", name, seq, pad, res.Class, len(got), res.Err)
					extra += max(0, len(got)-1)
				}
			}
		}
		if strings.Contains(p.seen(), "evil") {
			t.Errorf("%s: the body was read as commands", name)
		}
	}
	if extra != 0 || refused == 0 || sent == 0 {
		t.Errorf("extra mails %d, refused %d, sent unchanged %d", extra, refused, sent)
	}
}

// twice shows one text when it is inspected and another when it is sent.
type twice struct {
	text
	second text
	reads  int
}

func (b *twice) ReadAt(p []byte, off int64) (int, error) {
	if b.reads++; b.reads > 1 {
		return b.second.ReadAt(p, off)
	}
	return b.text.ReadAt(p, off)
}

func TestB15_BodyThatChangesIsNotEnded(t *testing.T) {
	good, bad := text("Subject: x\r\n\r\nabc\r\ndef\r\n"), text("Subject: x\r\n\r\nabc\n.\ndef\r\n")
	p := newProvider(t)
	intents := 0
	res := Send(t.Context(), p.server(), from, to, &twice{text: good + "\r\n", second: bad + "\r\n\r\n"}, Hooks{
		BeforeDot: func(context.Context) error { intents++; return nil },
	})
	p.stop()
	if res.Class != Permanent || intents != 0 || len(p.accepted()) != 0 {
		t.Errorf("%+v, %d intents, %d messages", res, intents, len(p.accepted()))
	}
}

func TestB15_BodyMustEndInCRLF(t *testing.T) {
	p := newProvider(t)
	for _, b := range []text{"", "a", "a\r", "a\n", "a\r\n.", "a\r\nb", "\n", "a\r\n\r"} {
		if res := Send(t.Context(), p.server(), from, to, b, Hooks{}); res.Class != Permanent || res.Stage != StageBody {
			t.Errorf("%q: %+v", b, res)
		}
	}
	for _, b := range []text{"\r\n", ".\r\n", "..\r\n", "\r\n.\r\n", text(strings.Repeat(".\r\n", 20_000))} {
		if res := Send(t.Context(), p.server(), from, to, b, Hooks{}); res.Class != HandedOver {
			t.Errorf("%.20q: %+v", b, res)
		}
		if got := p.accepted(); string(got[len(got)-1].data) != string(b) {
			t.Errorf("%.20q became %.20q", b, got[len(got)-1].data)
		}
	}
}

// TestB1_IntentBeforeTheDot: the hook runs when the whole body, and no dot, has
// reached the provider; its refusal ends the attempt for certain.
func TestB1_IntentBeforeTheDot(t *testing.T) {
	p := newProvider(t)
	body := make(chan []byte, 1)
	p.read = func(r *bufio.Reader) ([]byte, error) {
		b := make([]byte, len("Subject: x\r\n\r\nx\r\n"))
		if _, err := io.ReadFull(r, b); err != nil {
			return nil, err
		}
		body <- b
		rest, _ := io.ReadAll(r)
		body <- rest
		return nil, errTorn
	}
	broken := errors.New("disk is full")
	res := Send(t.Context(), p.server(), from, to, text("Subject: x\r\n\r\nx\r\n"), Hooks{
		BeforeDot: func(context.Context) error {
			<-body // all of it is there
			return broken
		},
	})
	if res.Class != Temporary || res.Stage != StageBody || !errors.Is(res.Err, broken) {
		t.Errorf("%+v", res)
	}
	if rest := <-body; len(rest) != 0 {
		t.Errorf("after the hook failed the provider read %q", rest)
	}
}

// TestB2_CutAfterTheDotIsUncertain: the provider has the message, its 250 is lost.
func TestB2_CutAfterTheDotIsUncertain(t *testing.T) {
	p := newProvider(t)
	taken := 0
	p.read = func(r *bufio.Reader) ([]byte, error) {
		if b, err := strictData(r); err != nil {
			return b, err
		}
		taken++
		return nil, errTorn // hang up instead of answering
	}
	res := Send(t.Context(), p.server(), from, to, hello, Hooks{})
	p.stop()
	if res.Class != Uncertain || res.Stage != StageDot || taken != 1 {
		t.Errorf("%+v, taken %d", res, taken)
	}
}

// TestB3_WaitForTheReplyToTheDot: only the dot's own limit counts after the dot.
func TestB3_WaitForTheReplyToTheDot(t *testing.T) {
	p := newProvider(t)
	held := make(chan struct{})
	p.read = func(r *bufio.Reader) ([]byte, error) {
		b, err := strictData(r)
		if err == nil {
			<-held
		}
		return b, err
	}
	srv := p.server()
	srv.Timeout = 2 * time.Second
	srv.DotTimeout = 30 * time.Millisecond
	res := Send(t.Context(), srv, from, to, hello, Hooks{})
	close(held)
	if res.Class != Uncertain || res.Stage != StageDot || !timedOut(res.Err) {
		t.Errorf("%+v", res)
	}
	if srv := (Server{}); srv.DotTimeout == 0 && defaultDotTimeout < 10*time.Minute {
		t.Error("the default is shorter than RFC 5321 asks for")
	}
}

func timedOut(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// TestB4_HangsAtEveryStep: a silent provider costs one time limit and leaves
// the message where it was.
func TestB4_HangsAtEveryStep(t *testing.T) {
	for _, verb := range []string{"GREETING", "EHLO", "AUTH", "MAIL", "RCPT", "DATA"} {
		t.Run(verb, func(t *testing.T) {
			p := newProvider(t)
			p.on = func(c *conn, v, _ string) string {
				if v == verb {
					io.Copy(io.Discard, c.r) // until the client gives up
					return "close"
				}
				return ""
			}
			srv := p.server()
			srv.Timeout = 150 * time.Millisecond
			res := Send(t.Context(), srv, from, to, hello, Hooks{})
			if res.Class != Temporary || !timedOut(res.Err) {
				t.Errorf("%+v", res)
			}
		})
	}
	t.Run("handshake", func(t *testing.T) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close() // the backlog answers for it
		srv := serverAt(ln)
		srv.Timeout = 50 * time.Millisecond
		if res := Send(t.Context(), srv, from, to, hello, Hooks{}); res.Class != Temporary || res.Stage != StageTLS {
			t.Errorf("%+v", res)
		}
	})
	t.Run("body", func(t *testing.T) {
		p := newProvider(t)
		done := make(chan struct{})
		p.read = func(*bufio.Reader) ([]byte, error) { <-done; return nil, errTorn }
		p.offer = []string{"AUTH PLAIN"}
		srv := p.server()
		srv.Timeout = time.Second
		res := Send(t.Context(), srv, from, to, text(strings.Repeat("0123456789abcde\r\n", 2_000_000)), Hooks{})
		close(done)
		if res.Class != Temporary || res.Stage != StageBody || !timedOut(res.Err) {
			t.Errorf("%+v", res)
		}
	})
}

// TestB5_ContextEnds: stopping is certain before the dot and uncertain after.
func TestB5_ContextEnds(t *testing.T) {
	for _, verb := range []string{"GREETING", "MAIL", "DOT"} {
		p := newProvider(t)
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("the gateway stops")
		p.on = func(c *conn, v, _ string) string {
			if v == verb {
				cancel(why)
				io.Copy(io.Discard, c.r)
				return "close"
			}
			return ""
		}
		res := Send(ctx, p.server(), from, to, hello, Hooks{})
		want := map[bool]Class{true: Uncertain, false: Temporary}[verb == "DOT"]
		if res.Class != want || !errors.Is(res.Err, why) {
			t.Errorf("%s: %+v", verb, res)
		}
	}
}

// TestB16_ReplyFloodIsBounded counts the bytes read of replies without end.
func TestB16_ReplyFloodIsBounded(t *testing.T) {
	floods := map[string]string{
		"lines": "250-more\r\n", "one line": "250 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "NUL": "\x00", "empty lines": "\r\n", "no CRLF": "250 ", "dashes": "250-",
	}
	for name, unit := range floods {
		for _, verb := range []string{"GREETING", "EHLO", "AUTH", "MAIL", "RCPT", "DATA", "DOT"} {
			t.Run(name+" "+verb, func(t *testing.T) {
				p := newProvider(t)
				block := bytes.Repeat([]byte(unit), 4096)
				p.on = func(c *conn, v, _ string) string {
					if v != verb {
						return ""
					}
					for { // until the client hangs up
						if _, err := c.Write(block); err != nil {
							return "close"
						}
					}
				}
				res := Send(t.Context(), p.server(), from, to, hello, Hooks{})
				want := Temporary
				if verb == "DOT" {
					want = Uncertain
				}
				if res.Class != want || len(fmt.Sprint(res.Err)) > 4096 {
					t.Errorf("%+v", res)
				}
			})
		}
	}
}

func TestB16_ReplyReaderStopsAtItsLimits(t *testing.T) {
	endless := &counted{unit: "250-more\r\n"}
	_, err := readReply(bufio.NewReaderSize(endless, maxReplyLine), false)
	if !errors.Is(err, errReply) || endless.n > maxReply+maxReplyLine {
		t.Errorf("%v after %d bytes", err, endless.n)
	}
	endless = &counted{unit: "250 aaaa"}
	_, err = readReply(bufio.NewReaderSize(endless, maxReplyLine), false)
	if !errors.Is(err, errReply) || endless.n > maxReplyLine {
		t.Errorf("%v after %d bytes", err, endless.n)
	}
}

type counted struct {
	unit string
	n    int
}

func (c *counted) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = c.unit[c.n%len(c.unit)]
		c.n++
	}
	return len(p), nil
}

// TestEarlyRefusal: a provider that refuses in the middle of the body and hangs
// up has its words heard where they arrive, and never gets the dot.
func TestEarlyRefusal(t *testing.T) {
	p := newProvider(t)
	p.offer = []string{"AUTH PLAIN"}
	p.on = func(c *conn, v, _ string) string {
		if v != "DATA" {
			return ""
		}
		io.WriteString(c, "354 go\r\n")
		return "421 4.3.2 disk is full"
	}
	intents := 0
	res := Send(t.Context(), p.server(), from, to, text(strings.Repeat("0123456789abcde\r\n", 2_000_000)), Hooks{
		BeforeDot: func(context.Context) error { intents++; return nil },
	})
	if res.Class != Temporary || res.Stage != StageBody || intents != 0 {
		t.Errorf("%+v, %d intents", res, intents)
	}
}

func FuzzReply(f *testing.F) {
	for _, s := range []string{"220 x\r\n", "250-a\r\n250 b\r\n", "250\n", "250-", "999 x\r\n", "25\r\n", "250-a\r\n550 b\r\n", "535 5.7.8 no\r\n", "\x00"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		rep, err := readReply(bufio.NewReaderSize(bytes.NewReader(b), maxReplyLine), true)
		if err != nil {
			return
		}
		if rep.code < 200 || rep.code > 599 || len(rep.lines) == 0 {
			t.Errorf("%+v", rep)
		}
		if enhanced, text := rep.words([]string{"secret"}); strings.ContainsAny(enhanced+text, "\r\n\x00") || strings.Contains(text, "secret") || len(text) > 600 {
			t.Errorf("%q %q", enhanced, text)
		}
	})
}

// FuzzBody: what is written for a body is read back as that body by a strict
// reader, and by the most lenient one, or is not written to its end.
func FuzzBody(f *testing.F) {
	for _, s := range smuggling {
		f.Add([]byte("a" + s + "b\r\n"))
	}
	f.Add([]byte(hello))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, err := inspect(t.Context(), text(b))
		var out bytes.Buffer
		err2 := writeDots(t.Context(), &out, text(b))
		if (err == nil) != (err2 == nil) {
			t.Fatalf("%v, %v", err, err2)
		}
		if err != nil {
			return
		}
		out.WriteString(".\r\n")
		for _, ends := range [][]string{{"\r\n.\r\n"}, {"\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r.\r\n"}} {
			r := bufio.NewReader(bytes.NewReader(out.Bytes()))
			got, err := dataUntil(r, ends...)
			if err != nil || !bytes.Equal(got, b) || r.Buffered() != 0 {
				t.Fatalf("%q read as %q, %d left, %v", b, got, r.Buffered(), err)
			}
		}
	})
}

func BenchmarkWriteDots(b *testing.B) {
	body := text(strings.Repeat("0123456789012345678901234567890123456789012345678901234567890123456789\r\n", 100_000))
	b.SetBytes(body.Size())
	for b.Loop() {
		if _, err := inspect(b.Context(), body); err != nil {
			b.Fatal(err)
		}
		if err := writeDots(b.Context(), io.Discard, body); err != nil {
			b.Fatal(err)
		}
	}
}
