package imapd

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"pecgate/mailbox"
)

// samples are all messages that strangers could send, by file name.
func samples(t testing.TB) map[string][]byte {
	t.Helper()
	out := map[string][]byte{
		"empty body":   []byte("Subject: x\r\n\r\n"),
		"no header":    []byte("\r\nbody only"),
		"one byte":     []byte("x"),
		"bare CR":      []byte("Subject: a\rb\r\n\r\nc\rd\n\re"),
		"bare LF":      []byte("Subject: a\nTo: b@c.it\n\nbody\n.\n"),
		"NUL":          []byte("Subject: a\x00b\r\n\r\nc\x00d\r\n"),
		"long line":    []byte("Subject: x\r\n\r\n" + strings.Repeat("y", 200_000)),
		"looks like":   []byte("Subject: x\r\n\r\n* 1 EXPUNGE\r\nt1 OK done\r\n{5}\r\n)\r\n"),
		"big header":   []byte("Subject: x\r\n" + strings.Repeat("X-A: "+strings.Repeat("b", 900)+"\r\n", 400) + "\r\nbody"),
		"plain":        []byte(plainMail),
		"mixed":        []byte(mixedMail),
		"pec":          []byte(pecMail),
		"binary bytes": append([]byte("Content-Type: application/octet-stream\r\n\r\n"), allBytes()...),
	}
	for _, dir := range []string{"../../testdata/hostile/mime", "../../testdata/pec"} {
		list, err := filepath.Glob(filepath.Join(dir, "*.eml"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range list {
			if out[filepath.Base(f)], err = os.ReadFile(f); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(out) < 20 {
		t.Fatalf("only %d samples", len(out))
	}
	return out
}

func allBytes() []byte {
	b := make([]byte, 512)
	for i := range b {
		b[i] = byte(i)
	}
	return b
}

// value is a parsed piece of an answer: an atom, a string, or a list.
type value struct {
	atom string
	str  []byte
	list []value
	kind byte // 'a', 's', '('
}

// answerParser reads answers as strictly as RFC 9051's grammar for them: what
// it accepts keeps every client in step.
type answerParser struct {
	t     testing.TB
	c     *client
	eight bool // in a literal8
}

func (p answerParser) byte() byte {
	p.t.Helper()
	b, err := p.c.r.ReadByte()
	if err != nil {
		p.t.Fatalf("the answer ends: %v", err)
	}
	return b
}

func (p answerParser) want(s string) {
	p.t.Helper()
	for i := range len(s) {
		if b := p.byte(); b != s[i] {
			p.t.Fatalf("got %q where %q is wanted", b, s)
		}
	}
}

func (p answerParser) number() int {
	p.t.Helper()
	digits := ""
	for {
		b := p.byte()
		if b < '0' || b > '9' {
			_ = p.c.r.UnreadByte()
			break
		}
		digits += string(b)
	}
	n, err := strconv.Atoi(digits)
	if err != nil {
		p.t.Fatal(err)
	}
	return n
}

func (p answerParser) value() value {
	p.t.Helper()
	switch b := p.byte(); b {
	case '"':
		var s []byte
		for {
			switch b := p.byte(); b {
			case '"':
				return value{kind: 's', str: s}
			case '\\':
				if b = p.byte(); b != '"' && b != '\\' {
					p.t.Fatalf("quoted-pair of %q", b)
				}
				s = append(s, b)
			default:
				if b < ' ' || b >= 0x7f {
					p.t.Fatalf("%q in a quoted string", b)
				}
				s = append(s, b)
			}
		}
	case '{':
		n := p.number()
		p.want("}\r\n")
		s := make([]byte, n)
		if _, err := io.ReadFull(p.c.r, s); err != nil {
			p.t.Fatal(err)
		}
		if bytes.IndexByte(s, 0) >= 0 && !p.eight {
			p.t.Fatalf("NUL in a literal of %d bytes", n)
		}
		return value{kind: 's', str: s}
	case '~':
		p.eight = true
		return p.value()
	case '(':
		v := value{kind: '('}
		for {
			b := p.byte()
			if b == ')' {
				return v
			}
			if b != ' ' || len(v.list) == 0 {
				_ = p.c.r.UnreadByte() // bodies of a multipart stand without a space
			}
			v.list = append(v.list, p.value())
		}
	default:
		v := value{kind: 'a', atom: string(b)}
		depth, quoted := 0, false
		for {
			b := p.byte()
			if quoted {
				if v.atom += string(b); b == '\\' {
					v.atom += string(p.byte())
				}
				quoted = b != '"'
				continue
			}
			if b == '"' && depth > 0 {
				quoted = true
			}
			if b == '[' {
				depth++ // only BODY[...] has one here
			}
			if (b == ' ' || b == '(' || b == ')' || b == '\r') && depth == 0 {
				_ = p.c.r.UnreadByte()
				return v
			}
			if b < ' ' || b >= 0x7f {
				p.t.Fatalf("%q in an atom after %q", b, v.atom)
			}
			if b == ']' {
				depth--
			}
			v.atom += string(b)
		}
	}
}

// fetch sends a FETCH and returns the items of each answer by message number.
func (c *client) fetch(cmd string) map[int]map[string]value {
	c.t.Helper()
	out, answer := c.fetchAny(cmd)
	if !strings.HasPrefix(answer, "OK") {
		c.t.Fatalf("%s: %s", cmd, answer)
	}
	return out
}

// fetchAny is fetch whatever its end is.
func (c *client) fetchAny(cmd string) (out map[int]map[string]value, answer string) {
	c.t.Helper()
	c.n++
	tag := fmt.Sprintf("t%d", c.n)
	c.send(tag + " " + cmd + "\r\n")
	p := answerParser{t: c.t, c: c}
	out = map[int]map[string]value{}
	for {
		if b, err := c.r.Peek(1); err != nil {
			c.t.Fatal(err)
		} else if b[0] != '*' {
			break
		}
		p.want("* ")
		n := p.number()
		p.want(" FETCH ")
		v := p.value()
		p.want("\r\n")
		if v.kind != '(' || len(v.list)%2 != 0 {
			c.t.Fatalf("%s: message %d has %d values", cmd, n, len(v.list))
		}
		items := out[n]
		if items == nil {
			items = map[string]value{}
		}
		for i := 0; i < len(v.list); i += 2 {
			if v.list[i].kind != 'a' {
				c.t.Fatalf("%s: message %d: item %d has no name", cmd, n, i)
			}
			items[v.list[i].atom] = v.list[i+1]
		}
		out[n] = items
	}
	line := c.read()
	answer, ok := strings.CutPrefix(line, tag+" ")
	if !ok {
		c.t.Fatalf("%s: %s", cmd, line)
	}
	return out, answer
}

// TestFetchServesEveryByte: BODY[] is the message byte for byte, whole and in
// ranges, and its two halves are the header and the text. What a plain literal
// cannot hold has a test of its own.
func TestFetchServesEveryByte(t *testing.T) {
	h := newHouse(t)
	c := h.login("mario/" + protocollo)
	for name, raw := range samples(t) {
		if bytes.IndexByte(raw, 0) >= 0 {
			continue
		}
		t.Run(name, func(t *testing.T) {
			uid := h.deliver(shared1(mailbox.RoleInbox), string(raw), mailbox.Filing{})
			c.t = t
			c.ok("SELECT INBOX")
			one := func(items string) map[string]value {
				t.Helper()
				for _, got := range c.fetch(fmt.Sprintf("UID FETCH %d %s", uid, items)) {
					return got
				}
				t.Fatalf("no answer for %s", items)
				return nil
			}
			all := one("(BODY.PEEK[] RFC822.SIZE BODY.PEEK[HEADER] BODY.PEEK[TEXT] BINARY.PEEK[])")
			if sha256.Sum256(all["BODY[]"].str) != sha256.Sum256(raw) {
				t.Errorf("BODY[] differs: %d bytes instead of %d", len(all["BODY[]"].str), len(raw))
			}
			if !bytes.Equal(all["BINARY[]"].str, raw) {
				t.Error("BINARY[] differs")
			}
			if got := all["RFC822.SIZE"].atom; got != strconv.Itoa(len(raw)) {
				t.Errorf("RFC822.SIZE %s instead of %d", got, len(raw))
			}
			if halves := append(bytes.Clone(all["BODY[HEADER]"].str), all["BODY[TEXT]"].str...); !bytes.Equal(halves, raw) {
				t.Errorf("header and text are not the message: %d bytes instead of %d", len(halves), len(raw))
			}
			var parts []byte
			step := max(len(raw)/7, 1)
			for off := 0; off < len(raw); off += step {
				got := one(fmt.Sprintf("(BODY.PEEK[]<%d.%d>)", off, step))
				parts = append(parts, got[fmt.Sprintf("BODY[]<%d>", off)].str...)
			}
			if !bytes.Equal(parts, raw) {
				t.Error("the ranges are not the message")
			}
			old := one("(RFC822 RFC822.HEADER RFC822.TEXT)")
			if !bytes.Equal(old["RFC822"].str, raw) || !bytes.Equal(append(bytes.Clone(old["RFC822.HEADER"].str), old["RFC822.TEXT"].str...), raw) {
				t.Error("RFC822 differs")
			}
		})
	}
	c.t = t
}

// D7 and D9: whatever a message holds, a strict client stays in step and reads
// the next answer.
func TestD9_AnswersKeepTheirForm(t *testing.T) {
	h := newHouse(t)
	nasty := []string{`"`, `\`, `a"b\c`, "(", ")", "a) FLAGS (\\Deleted", "{5}", "=?utf-8?q?=0D=0A*_1_EXPUNGE?=", "\x00", "\x80\xff", "à è", "]", "~{3+}", "NIL", ""}
	var raws [][]byte
	for _, s := range nasty {
		raws = append(raws,
			[]byte("From: "+s+" <a@b.it>\r\nTo: "+s+"\r\nCc: \""+s+"\" <"+s+"@"+s+">, g: a@b, "+s+";\r\nSubject: "+s+"\r\n"+
				"Date: "+s+"\r\nMessage-ID: <"+s+">\r\nIn-Reply-To: "+s+"\r\nContent-Type: text/"+s+"; name=\""+s+"\"; "+s+"="+s+"\r\n"+
				"Content-Transfer-Encoding: "+s+"\r\nContent-Disposition: "+s+"; filename="+s+"\r\nContent-Language: "+s+"\r\nContent-ID: "+s+"\r\n\r\nx"),
			[]byte("Subject: a\r\n "+s+"\r\nContent-Type: multipart/"+s+"; boundary=\"b\"\r\n\r\n--b\r\nContent-Description: "+s+"\r\nContent-Type: message/rfc822\r\n\r\nSubject: "+s+"\r\n\r\n--b--\r\n"))
	}
	for _, raw := range samples(t) {
		raws = append(raws, raw)
	}
	for _, raw := range raws {
		h.deliver(shared1(mailbox.RoleInbox), string(raw), mailbox.Filing{})
	}
	c := h.login("mario/" + protocollo)
	c.ok("SELECT INBOX")
	got := c.fetch("FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODY BODYSTRUCTURE)")
	if len(got) != len(raws) {
		t.Fatalf("%d answers for %d messages", len(got), len(raws))
	}
	for n, items := range got {
		if e := items["ENVELOPE"]; e.kind != '(' || len(e.list) != 10 {
			t.Errorf("message %d: ENVELOPE with %d values", n, len(e.list))
		}
		for _, name := range []string{"BODY", "BODYSTRUCTURE"} {
			if b := items[name]; b.kind != '(' || len(b.list) < 2 {
				t.Errorf("message %d: %s with %d values", n, name, len(b.list))
			}
		}
	}
	// Names that a client gives come back in a form that it can read.
	c.fetchAny("FETCH 1:* (BODY.PEEK[HEADER.FIELDS (Subject \"a\\\"b\" {3+}\r\nx)( \"[\")] BODY.PEEK[1] BODY.PEEK[1.MIME] BODY.PEEK[1.1])")
	c.ok("NOOP")
}

// A large message goes through without being held in memory.
func TestFetchHoldsNoMessageInMemory(t *testing.T) {
	h := newHouse(t)
	raw := "Subject: grande\r\n\r\n" + strings.Repeat("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\r\n", 400_000)
	h.deliver(shared1(mailbox.RoleInbox), raw, mailbox.Filing{})
	conn, err := h.ln.dial()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	read := make(chan int64)
	go func() {
		n, _ := io.CopyBuffer(io.Discard, struct{ io.Reader }{conn}, make([]byte, 64<<10))
		read <- n
	}()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	fmt.Fprintf(conn, "a LOGIN mario/%s secret\r\nb SELECT INBOX\r\nc FETCH 1 (BODY[] BINARY[1] BODY[]<5.9999999>)\r\nd LOGOUT\r\n", protocollo)
	n := <-read
	runtime.ReadMemStats(&after)
	if n < 2*int64(len(raw))+9_000_000 {
		t.Fatalf("%d bytes came", n)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > 4<<20 {
		t.Errorf("%d bytes allocated for a message of %d", used, len(raw))
	}
}
