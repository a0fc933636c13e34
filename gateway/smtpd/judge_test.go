package smtpd

import (
	"bufio"
	"bytes"
	"net/mail"
	"net/textproto"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	message "github.com/emersion/go-message/mail" // another reader of From, to disagree with

	"pecgate/relay/providersim"
)

const shown = "a@pec.example.net" // the recipient of every row

// row is a header of the table, with how it is to be judged.
type row struct {
	line   int
	reason string // ok, or the word of the refusal
	header string
}

// headerRows reads testdata/golden/judge/headers.txt.
func headerRows(t testing.TB) []row {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "testdata", "golden", "judge", "headers.txt"))
	if err != nil {
		t.Fatal(err)
	}
	fill := strings.NewReplacer("{me}", office, "{rest}", `To: `+shown+`\r\nSubject: x\r\n\r\n`)
	var out []row
	n := 0
	for line := range strings.Lines(string(b)) {
		n++
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		reason, quoted, _ := strings.Cut(line, " ")
		header, err := strconv.Unquote(fill.Replace(strings.TrimSpace(quoted)))
		if err != nil {
			t.Fatalf("line %d: %v", n, err)
		}
		out = append(out, row{n, reason, header})
	}
	return out
}

// reasons are the words of the refusals that a log tells, in their order.
func reasons(log string) []string {
	var out []string
	for _, m := range regexp.MustCompile(`"msg":"SMTP refusal".*"reason":"([^"]*)"`).FindAllStringSubmatch(log, -1) {
		out = append(out, m[1])
	}
	return out
}

// TestG1_ForgedFrom and its brothers send every header of the table. What is
// accepted is exactly what the provider and three other readers take for the
// same: the bytes that they judge are those that were stored.
func TestG1_ForgedFrom(t *testing.T) {
	judgeRows(t, 200, func(r row) bool { return !aboutOthers(r) && !aboutControl(r) })
}

func TestG2_OtherSenders(t *testing.T) { judgeRows(t, 30, aboutOthers) }

func TestG3_ControlHeaders(t *testing.T) { judgeRows(t, 20, aboutControl) }

func hasField(r row, names ...string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return regexp.MustCompile(`(?im)^` + n + `\s*:`).MatchString(r.header) })
}

func aboutOthers(r row) bool {
	return hasField(r, "Sender", "Resent-[a-z-]+", "Reply-To", "Return-Path", "Disposition-Notification-To", "(X-)?On-Behalf-Of", "Return-Receipt-To", "Errors-To")
}

func aboutControl(r row) bool {
	return hasField(r, "X-Ricevuta", "X-Trasporto", "X-Riferimento-Message-ID", "X-VerificaSicurezza", "X-TipoRicevuta", "X-Mittente", "X-REM-Subject")
}

func judgeRows(t *testing.T, least int, mine func(row) bool) {
	s := newServer(t, nil)
	c := newClient(t, s.pipes(t).dial(1))
	c.login()
	n, passed := 0, 0
	for _, r := range headerRows(t) {
		if !mine(r) {
			continue
		}
		n++
		heard := len(s.log.String())
		c.envelope(office, shown)
		c.send(stuff(r.header + "text\r\n"))
		answer := c.reply()
		got := "ok"
		if !strings.HasPrefix(answer, "250 2.0.0 ") {
			words := reasons(s.log.String()[heard:])
			if got = "?"; len(words) == 1 {
				got = words[0]
			}
			told(t, answer)
		}
		if got != r.reason {
			t.Errorf("line %d, %.200q: judged %s, want %s", r.line, r.header, got, r.reason)
			continue
		}
		all := s.store.all()
		if got != "ok" {
			if len(all) != passed {
				t.Errorf("line %d, %.200q: refused and stored", r.line, r.header)
			}
			continue
		}
		passed++
		if len(all) != passed {
			t.Fatalf("line %d: %d stored of %d", r.line, len(all), passed)
		}
		agree(t, r.header, all[passed-1])
	}
	if n < least {
		t.Errorf("only %d rows", n)
	}
	c.c.Close()
}

// told wants a refusal that a person can do something with: on each line the
// code and the enhanced code, in Italian and English, and what to do behind a
// colon.
func told(t *testing.T, answer string) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(answer, "\r\n"), "\r\n")
	m := regexp.MustCompile(`^5\d\d-(5\.\d+\.\d+) `).FindStringSubmatch(lines[0])
	if len(lines) != 2 || m == nil || !strings.HasPrefix(lines[1], lines[0][:3]+" "+m[1]+" ") {
		t.Errorf("refusal %q", answer)
		return
	}
	for _, l := range lines {
		if len(l) > 510 || !strings.HasSuffix(l, ".") || strings.ContainsFunc(l, func(r rune) bool { return r < ' ' || r > '~' }) ||
			!strings.Contains(l, ": ") && !strings.Contains(l, " devono ") && !strings.Contains(l, " must ") {
			t.Errorf("a refusal says %q", l)
		}
	}
}

// agree wants the provider and three other readers to see the same in what was
// stored as smtpd did.
func agree(t *testing.T, name string, m taken) {
	t.Helper()
	j := providersim.Judge(m.data, m.From, m.Recipients, 0)
	if j.Fault != "" || len(j.From) != 1 || !strings.EqualFold(j.From[0], m.From) || j.MessageID != m.MessageID {
		t.Errorf("%.200q: the provider sees %+v", name, j)
	}
	for _, r := range m.Recipients {
		if !slices.ContainsFunc(j.Named, func(a string) bool { return strings.EqualFold(a, r) }) {
			t.Errorf("%.200q: the provider does not see %s in %v", name, r, j.Named)
		}
	}
	g, err := mail.ReadMessage(bytes.NewReader(m.data))
	if err != nil {
		t.Errorf("%.200q: net/mail: %v", name, err)
		return
	}
	if list, err := g.Header.AddressList("From"); err != nil || len(list) != 1 || !strings.EqualFold(list[0].Address, m.From) {
		t.Errorf("%.200q: net/mail sees %v, %v", name, list, err)
	}
	mr, err := message.CreateReader(bytes.NewReader(m.data))
	if err != nil {
		t.Errorf("%.200q: go-message: %v", name, err)
		return
	}
	if list, err := mr.Header.AddressList("From"); err != nil || len(list) != 1 || !strings.EqualFold(list[0].Address, m.From) {
		t.Errorf("%.200q: go-message sees %v, %v", name, list, err)
	}
	if err := mr.Close(); err != nil {
		t.Error(err)
	}
	f, err := textproto.NewReader(bufio.NewReader(bytes.NewReader(m.data))).ReadMIMEHeader()
	if err != nil || len(f["From"]) != 1 {
		t.Errorf("%.200q: textproto sees %q, %v", name, f["From"], err)
	}
}

// FuzzG1_ProviderAgrees: what is accepted, the provider accepts, and sees the
// same sender and recipients in it.
func FuzzG1_ProviderAgrees(f *testing.F) {
	for _, r := range headerRows(f) {
		f.Add([]byte(r.header))
	}
	f.Fuzz(func(t *testing.T, h []byte) {
		if headerEnd(h, 0) != len(h) || dirty(h) {
			return // such a header does not reach the judge
		}
		to := []string{shown}
		l, err := readLetter(h, to, "")
		if err != nil {
			return
		}
		if err := l.edit(house{hostname: "pecgate.example.org"}); err != nil {
			t.Fatal(err)
		}
		j := providersim.Judge(append(l.header, "text\r\n"...), l.from, to, 0)
		if j.Fault != "" || len(j.From) != 1 || !strings.EqualFold(j.From[0], l.from) || j.MessageID != l.messageID {
			t.Errorf("from %s, %s: the provider sees %+v in %q", l.from, l.messageID, j, l.header)
		}
	})
}

func dirty(h []byte) bool {
	return bytes.IndexByte(h, 0) >= 0 || bytes.ContainsAny(bytes.ReplaceAll(h, []byte("\r\n"), nil), "\r\n")
}
