package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pecgate/relay/providersim"
	"pecgate/relay/submit"
)

const (
	simOffice   = "ufficio@pec.alfa.example"
	simRegister = "protocollo@pec.beta.example"
)

// simulating is `pecgate simulate --json` as it runs for a user.
type simulating struct {
	t     *testing.T
	facts simulateFacts
	stop  context.CancelFunc
	state chan int
	errs  *lockedBuffer
	roots *x509.CertPool
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// simulate starts the command and reads its facts: they come when everything answers.
func simulate(t *testing.T, args ...string) *simulating {
	t.Helper()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	ctx, stop := context.WithCancel(t.Context())
	s := &simulating{t: t, stop: stop, state: make(chan int, 1), errs: &lockedBuffer{}, roots: x509.NewCertPool()}
	r, w := io.Pipe()
	go func() {
		s.state <- run(ctx, append([]string{"simulate", "--json", "--control", "127.0.0.1:0", "--ca", ca}, args...), strings.NewReader(""), w, s.errs)
		w.Close()
	}()
	line, err := bufio.NewReader(r).ReadBytes('\n')
	if err != nil {
		t.Fatalf("no facts: %v\n%s", err, s.errs)
	}
	if err := json.Unmarshal(line, &s.facts); err != nil {
		t.Fatal(err)
	}
	if s.facts.CA != ca {
		t.Errorf("CA in %s", s.facts.CA)
	}
	pem, err := os.ReadFile(ca)
	if err != nil || !s.roots.AppendCertsFromPEM(pem) {
		t.Fatal(err)
	}
	t.Cleanup(s.end)
	return s
}

// end is Ctrl-C.
func (s *simulating) end() {
	s.t.Helper()
	s.stop()
	select {
	case state := <-s.state:
		if state != exitGood {
			s.t.Errorf("ended with %d: %s", state, s.errs)
		}
		s.state <- state
	case <-time.After(time.Minute):
		s.t.Error("does not end")
	}
}

func (s *simulating) http(method, path, form string) string {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, "http://"+s.facts.Control+path, strings.NewReader(form))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != 200 {
		s.t.Fatalf("%s %s: %d %s %v", method, path, res.StatusCode, b, err)
	}
	return string(b)
}

func (s *simulating) send(user, password, from, to, msgid string) submit.Result {
	s.t.Helper()
	host, port, err := splitPort(s.facts.SMTP)
	if err != nil {
		s.t.Fatal(err)
	}
	raw := "From: " + from + "\r\nTo: " + to + "\r\nSubject: prova\r\nMessage-ID: <" + msgid + ">\r\n\r\nciao\r\n"
	return submit.Send(s.t.Context(), submit.Server{Host: host, Port: port, Security: "tls", Roots: s.roots, Username: user, Password: password, Timeout: 30 * time.Second},
		from, []string{to}, bytesBody{strings.NewReader(raw)}, submit.Hooks{})
}

// subjects reads a mailbox by POP3.
func (s *simulating) subjects(user, password string) []string {
	s.t.Helper()
	c, err := tls.Dial("tcp", s.facts.POP3, &tls.Config{RootCAs: s.roots, ServerName: "localhost"})
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	r := bufio.NewReader(c)
	line := func(command string) string {
		s.t.Helper()
		if command != "" {
			fmt.Fprintf(c, "%s\r\n", command)
		}
		l, err := r.ReadString('\n')
		if err != nil || !strings.HasPrefix(l, "+OK") {
			s.t.Fatalf("%s: %q, %v", command, l, err)
		}
		return l
	}
	line("")
	line("USER " + user)
	line("PASS " + password)
	var n, size int
	if _, err := fmt.Sscanf(line("STAT"), "+OK %d %d", &n, &size); err != nil {
		s.t.Fatal(err)
	}
	var out []string
	for i := 1; i <= n; i++ {
		line(fmt.Sprintf("TOP %d 0", i))
		for {
			l, err := r.ReadString('\n')
			if err != nil {
				s.t.Fatal(err)
			}
			if l == ".\r\n" {
				break
			}
			if subject, ok := strings.CutPrefix(l, "Subject: "); ok {
				out = append(out, strings.TrimSpace(subject))
			}
		}
	}
	line("QUIT")
	slices.Sort(out)
	return out
}

// A user starts the provider, sends, sees the receipts by POP3, switches a fault
// on while it runs, and finds every message in the folder.
func TestSimulate(t *testing.T) {
	boxes := filepath.Join(t.TempDir(), "boxes.txt")
	if err := os.WriteFile(boxes, []byte("# address password user\n\n"+simOffice+" segreta-a\n"+simRegister+" segreta-b M123\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "sim")
	s := simulate(t, "--mailboxes", boxes, "--dir", dir, "--style", "old", "--recipient", "vuoto@pec.gamma.example=full",
		"--folders", "legalmail", "--extra-folder", simOffice+"=INBOX/Ricevute", "--fault", "empty-risposte", "--host", "sim.example")
	if s.facts.Style != "old" || len(s.facts.Mailboxes) != 2 || s.facts.Mailboxes[1] != (simulateMailbox{Address: simRegister, Username: "M123"}) {
		t.Errorf("facts %+v", s.facts)
	}
	if r := s.send(simOffice, "segreta-a", simOffice, simRegister, "1@alfa"); r.Class != submit.HandedOver {
		t.Fatalf("%+v", r)
	}
	state := s.http("GET", "/state?settle=40s", "")
	if got, want := s.subjects(simOffice, "segreta-a"), []string{"ACCETTAZIONE: prova", "CONSEGNA: prova"}; !slices.Equal(got, want) {
		t.Errorf("office sees %v", got)
	}
	if got, want := s.subjects("M123", "segreta-b"), []string{"POSTA CERTIFICATA: prova"}; !slices.Equal(got, want) {
		t.Errorf("register sees %v", got)
	}
	for _, want := range []string{`"INBOX/Ricevute"`, `"INBOX/Spedite"`, `"settled": true`, `"vuoto@pec.gamma.example"`} {
		if !strings.Contains(state, want) {
			t.Errorf("the state lacks %s", want)
		}
	}

	if got := s.http("POST", "/fault", "cut-after-dot=1"); got != "cut-after-dot is 1\n" {
		t.Errorf("%q", got)
	}
	if r := s.send(simOffice, "segreta-a", simOffice, "vuoto@pec.gamma.example", "2@alfa"); r.Class != submit.Uncertain {
		t.Errorf("%+v", r)
	}
	s.http("GET", "/state?settle=40s", "")
	if got := s.subjects(simOffice, "segreta-a"); len(got) != 4 || !slices.Contains(got, "AVVISO DI MANCATA CONSEGNA: prova") {
		t.Errorf("office sees %v", got)
	}
	s.end()

	// Everything is in the folder, whole and named for its bytes.
	found, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var known struct {
		Submissions, Emitted []struct{ SHA256 string }
	}
	if err := json.Unmarshal([]byte(state), &known); err != nil || len(known.Submissions) != 1 || len(known.Emitted) < 3 {
		t.Fatalf("%v %+v", err, known)
	}
	names := map[string]bool{}
	for _, f := range found {
		names[f.Name()] = true
		if sum, isMessage := strings.CutSuffix(f.Name(), ".eml"); isMessage {
			b, err := os.ReadFile(filepath.Join(dir, f.Name()))
			if err != nil || hex256(b) != sum {
				t.Errorf("%s: %v", f.Name(), err)
			}
		}
		if st, err := f.Info(); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, %v", f.Name(), st.Mode(), err)
		}
	}
	for _, m := range append(known.Submissions, known.Emitted...) {
		if !names[m.SHA256+".eml"] {
			t.Errorf("%s.eml is not there", m.SHA256)
		}
	}
	accounts, err := os.ReadFile(filepath.Join(dir, "accounts.txt"))
	if err != nil || !strings.Contains(string(accounts), "M123   password  segreta-b") || !names["ca.pem"] {
		t.Errorf("%s %v", accounts, err)
	}
	if text := s.errs.String(); strings.Contains(text, "segreta") {
		t.Errorf("a password in the log: %s", text)
	}
	// The folder is taken again; what was there stays.
	again := simulate(t, "--mailboxes", boxes, "--dir", dir)
	again.end()
	if after, err := os.ReadDir(dir); err != nil || len(after) != len(found) {
		t.Errorf("%d entries after the second run, were %d, %v", len(after), len(found), err)
	}
}

// With nothing given there are two mailboxes, and a person reads how to use them.
func TestSimulateAlone(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	r, w := io.Pipe()
	state := make(chan int, 1)
	go func() {
		state <- run(ctx, []string{"simulate"}, strings.NewReader(""), w, io.Discard)
		w.Close()
	}()
	var text strings.Builder
	for sc := bufio.NewScanner(r); sc.Scan(); {
		text.WriteString(sc.Text() + "\n")
		if strings.HasPrefix(sc.Text(), "Ready") {
			stop()
		}
	}
	if got := <-state; got != exitGood {
		t.Errorf("ended with %d", got)
	}
	want := regexp.MustCompile(`^Provider +Gestore Simulato S\.p\.A\., domain pec\.gestore-simulato\.example, engine style new
SMTP over TLS +127\.0\.0\.1:\d+
IMAP over TLS +127\.0\.0\.1:\d+
POP3 over TLS +127\.0\.0\.1:\d+
Mailbox +ufficio@pec\.alfa\.example, password [a-z2-7]{12}
Mailbox +protocollo@pec\.beta\.example, password [a-z2-7]{12}
Ready\. Ctrl-C ends it\.
$`)
	if !want.MatchString(text.String()) {
		t.Errorf("printed\n%s", text.String())
	}
}

func TestSimulateListFaults(t *testing.T) {
	state, out, errs := program(t, "", "simulate", "--list-faults")
	if state != exitGood || errs != "" {
		t.Fatalf("%d %s", state, errs)
	}
	state, lines, errs := program(t, "", "simulate", "--list-faults", "--json")
	if state != exitGood || errs != "" {
		t.Fatalf("%d %s", state, errs)
	}
	var names []string
	for _, line := range strings.Split(strings.TrimSpace(lines), "\n") {
		var f struct{ Name, Kind, Text, Value string }
		if err := json.Unmarshal([]byte(line), &f); err != nil || f.Text == "" || f.Kind == "" || f.Value == "" {
			t.Errorf("%s: %v", line, err)
		}
		names = append(names, f.Name)
		if !strings.Contains(out, "\n"+f.Name+" ") && !strings.HasPrefix(out, f.Name+" ") {
			t.Errorf("the table lacks %s", f.Name)
		}
	}
	slices.Sort(names)
	if want := new(providersim.Faults).Names(); !slices.Equal(names, want) {
		t.Errorf("%v, want %v", names, want)
	}
}

// Wrong usage ends with 2 and one line that says what to do; no password is in it.
func TestSimulateUsage(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	alien := filepath.Join(dir, "alien")
	if err := os.Mkdir(alien, 0o700); err != nil {
		t.Fatal(err)
	}
	file("alien/ca.pem", "", 0o600)
	letters := filepath.Join(dir, "letters")
	if err := os.Mkdir(letters, 0o700); err != nil {
		t.Fatal(err)
	}
	file("letters/letter.txt", "", 0o600)
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--mailbox", "geheim"}, "--mailbox needs ADDRESS:PASSWORD"},
		{[]string{"--mailbox", "nobody:geheim"}, "is no address or given twice"},
		{[]string{"--mailbox", "a@b.example:geheim", "--mailbox", "A@b.example:geheim"}, "given twice"},
		{[]string{"--mailboxes", filepath.Join(dir, "none")}, "no such file"},
		{[]string{"--mailboxes", dir}, "is not a file"},
		{[]string{"--mailboxes", file("open", "a@b.example geheim", 0o640)}, "chmod 600"},
		{[]string{"--mailboxes", file("short", "a@b.example geheim\n\na@b.example\n", 0o600)}, "short:3: ADDRESS PASSWORD [USERNAME] expected"},
		{[]string{"--mailboxes", file("empty", "# none\n", 0o600)}, "names no mailbox"},
		{[]string{"--mailboxes", file("large", strings.Repeat("#\n", 1<<20), 0o600)}, "is larger than"},
		{[]string{"--style", "modern"}, "--style"},
		{[]string{"--digest", "md5"}, "is not sha1, sha256 or sha512"},
		{[]string{"--hour", "0s"}, "--hour"},
		{[]string{"--hour", "long"}, "--hour"},
		{[]string{"--folders", "gmail"}, "known are aruba, legalmail and special-use"},
		{[]string{"--extra-folder", "x@y.example=INBOX.a"}, "--extra-folder"},
		{[]string{"--mailbox", "a@b.example:geheim", "--extra-folder", "a@b.example=Fuori"}, "not a name for a folder here"},
		{[]string{"--recipient", "a@b.example"}, "behaviours are delivered, unknown"},
		{[]string{"--recipient", "a@b.example=odd"}, "known are delivered, unknown"},
		{[]string{"--fault", "nothing"}, "see --list-faults"},
		{[]string{"--fault", "hold-dot"}, "is not a duration"},
		{[]string{"--control", "0.0.0.0:8025"}, "is not on loopback"},
		{[]string{"--control", "8025"}, "is not HOST:PORT"},
		{[]string{"--domain", ""}, "--domain is empty"},
		{[]string{"--dir", alien}, "did not make it"},
		{[]string{"--dir", letters}, `holds "letter.txt"`},
		{[]string{"now"}, "simulate takes no argument"},
		{[]string{"--nothing"}, "unknown flag"},
	} {
		state, out, errs := program(t, "", append([]string{"simulate"}, c.args...)...)
		if state != exitUsage || out != "" || !strings.Contains(errs, c.want) || strings.Count(errs, "\n") != 1 || strings.Contains(errs, "geheim") {
			t.Errorf("%v: %d %s%s", c.args, state, out, errs)
		}
	}
	// What is no wrong usage but failed.
	taken := simulate(t)
	state, _, errs := program(t, "", "simulate", "--pop3", taken.facts.POP3)
	if state != exitFailed || !strings.Contains(errs, "listen for POP3") || !strings.Contains(errs, "choose another address") {
		t.Errorf("%d %s", state, errs)
	}
}

// TestSimulateKeepsItsCA: a gateway that trusts the CA in --dir goes on after the next
// start. A folder of another domain is not taken, nor a CA that is broken.
func TestSimulateKeepsItsCA(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sim")
	mailbox := []string{"--dir", dir, "--domain", "pec.sim.example", "--mailbox", "a@pec.sim.example:secret"}
	first := simulate(t, mailbox...)
	first.end()
	second := simulate(t, mailbox...)
	second.roots = first.roots // what the gateway trusts
	if r := second.send("a@pec.sim.example", "secret", "a@pec.sim.example", "b@pec.altra.example", "m1@sim.example"); r.Class != submit.HandedOver {
		t.Errorf("%+v", r)
	}
	second.end()
	key := filepath.Join(dir, "ca.key")
	if info, err := os.Stat(key); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", info, err)
	}
	b, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	other := append([]string{"simulate"}, mailbox...)
	other[4] = "pec.other.example"
	for what, args := range map[string][]string{"another domain": other, "half a key": append([]string{"simulate"}, mailbox...)} {
		if what == "half a key" {
			if err := os.WriteFile(key, b[:len(b)/2], 0o600); err != nil {
				t.Fatal(err)
			}
		}
		state, out, errs := program(t, "", args...)
		if state != exitUsage || out != "" || !strings.Contains(errs, "ca.key: ") || strings.Count(errs, "\n") != 1 {
			t.Errorf("%s: %d\n%s%s", what, state, out, errs)
		}
		if err := os.WriteFile(key, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
