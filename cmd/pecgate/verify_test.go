package main

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"pecgate/relay/providersim"
)

const (
	samplesDir = "../../testdata/pec"
	hostileDir = "../../testdata/hostile/pec"
	sampleDay  = "2026-07-04" // the day after the samples were signed
)

// verify runs the command with the samples' CA.
func verify(t *testing.T, args ...string) (state int, stdout, stderr string) {
	t.Helper()
	return program(t, "", append([]string{"verify", "--at", sampleDay, "--trust", filepath.Join(samplesDir, "ca.pem")}, args...)...)
}

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// put writes files into a new folder.
func put(t *testing.T, files map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, b := range files {
		p := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// objects reads the lines of --json.
func objects(t *testing.T, out string) (list []map[string]any) {
	t.Helper()
	for line := range strings.Lines(out) {
		var o map[string]any
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		list = append(list, o)
	}
	return list
}

// promised are the keys of `verify --json` that scripts rely on: all of them on
// every line.
func promised() []string {
	return []string{"file", "kind", "receipt", "verdict", "reason", "issuer", "signed_at", "msgid", "identifier", "recipient", "error",
		"error_code", "final", "subject", "sender", "recipients"}
}

// Every sample says in JSON what the reader's own golden file says.
func TestVerifySamples(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(samplesDir, "*.eml"))
	if err != nil || len(files) < 24 {
		t.Fatal(len(files), err)
	}
	state, out, errs := verify(t, append([]string{"--json"}, files...)...)
	got := objects(t, out)
	if state != exitGood || errs != "" || len(got) != len(files) {
		t.Fatalf("%d, %d lines, %s", state, len(got), errs)
	}
	for i, f := range files {
		var want map[string]any
		if err := json.Unmarshal(readFile(t, strings.TrimSuffix(f, ".eml")+".json"), &want); err != nil {
			t.Fatal(err)
		}
		want["file"] = f
		if !reflect.DeepEqual(got[i], want) {
			t.Errorf("got  %v\nwant %v", got[i], want)
		}
		for _, key := range promised() {
			if _, ok := got[i][key]; !ok {
				t.Errorf("%s: no key %s", f, key)
			}
		}
	}

	// The folder gives the same lines, and the sum for people.
	_, folder, _ := verify(t, "--json", samplesDir)
	if folder != out {
		t.Error("the folder gives other lines than its files")
	}
	entries, err := os.ReadDir(samplesDir)
	if err != nil {
		t.Fatal(err)
	}
	state, out, _ = verify(t, samplesDir)
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	if state != exitGood || len(lines) != len(files)+1 || !strings.HasPrefix(lines[len(files)], fmt.Sprintf("%d messages: ", len(files))) ||
		!strings.HasSuffix(lines[len(files)], fmt.Sprintf("; %d files that hold no message left aside", len(entries)-len(files))) {
		t.Errorf("%d, %d lines, the last: %s", state, len(lines), lines[len(lines)-1])
	}
}

// certified is a PEC message of a provider made for the test. Its text has lines
// that an mbox writer quotes.
func certified(t *testing.T, s *providersim.Signer, at time.Time, text string) []byte {
	t.Helper()
	domain := s.Address[strings.Index(s.Address, "@")+1:]
	head := "Return-Path: <a@pec.alfa.example>\r\nSubject: POSTA CERTIFICATA: Prova\r\nX-Trasporto: posta-certificata\r\n" +
		"From: \"Per conto di: a@pec.alfa.example\" <" + s.Address + ">\r\nMessage-ID: <id1@" + domain + ">\r\n"
	local := at.In(time.FixedZone("", 2*3600))
	cert := `<?xml version="1.0" encoding="UTF-8"?><postacert tipo="posta-certificata" errore="nessuno"><intestazione><mittente>a@pec.alfa.example</mittente>` +
		`<destinatari tipo="certificato">b@pec.beta.example</destinatari><risposte>a@pec.alfa.example</risposte><oggetto>Prova</oggetto></intestazione>` +
		`<dati><gestore-emittente>Gestore</gestore-emittente><data zona="+0200"><giorno>` + local.Format("02/01/2006") + `</giorno><ora>` + local.Format(time.TimeOnly) +
		`</ora></data><identificativo>id1@` + domain + `</identificativo><msgid>&lt;m1@alfa.example&gt;</msgid><ricevuta tipo="completa"/></dati></postacert>`
	entity := "Content-Type: multipart/mixed; boundary=\"mixed\"\r\n\r\n--mixed\r\nContent-Type: text/plain\r\n\r\n" + text +
		"\r\n--mixed\r\nContent-Type: application/xml; name=\"daticert.xml\"\r\n\r\n" + cert +
		"\r\n--mixed\r\nContent-Type: message/rfc822; name=\"postacert.eml\"\r\n\r\n" +
		"Message-ID: <id1@" + domain + ">\r\nX-Riferimento-Message-ID: <m1@alfa.example>\r\nFrom: a@pec.alfa.example\r\nTo: b@pec.beta.example\r\nSubject: Prova\r\n\r\n" +
		text + "\r\n--mixed--\r\n"
	msg, err := s.SignMultipart([]byte(head), []byte(entity), providersim.SignOptions{Style: providersim.StyleOld, At: at})
	if err != nil {
		t.Fatal(err)
	}
	return msg
}

// authority makes a CA and the file that trusts it.
func authority(t *testing.T, now time.Time) (*providersim.Authority, string) {
	t.Helper()
	a, err := providersim.NewAuthority("pec.gestore-prova.example", now)
	if err != nil {
		t.Fatal(err)
	}
	return a, filepath.Join(put(t, map[string][]byte{"ca.pem": a.CAPEM()}), "ca.pem")
}

// The same messages in every kind of archive: the same verdicts, in order.
func TestVerifyArchives(t *testing.T) {
	at := time.Date(2026, 7, 3, 7, 15, 42, 0, time.UTC)
	a, ca := authority(t, at)
	quoted := certified(t, a.Signer(), at, "Hello\r\n\r\nFrom here on\r\n>From there\r\n\r\nFrom: me")
	plain := certified(t, a.Signer(), at, "Hello")
	unsigned := []byte("From: a@alfa.example\r\nSubject: ordinary\r\n\r\nText\r\n")

	const sep = "From MAILER Fri Jul  3 09:15:42 2026\n"
	lf := func(b []byte) string { return strings.ReplaceAll(string(b), "\r\n", "\n") }
	rd := strings.NewReplacer("\nFrom ", "\n>From ", "\n>From ", "\n>>From ")
	o := strings.NewReplacer("\nFrom ", "\n>From ")
	box := func(r *strings.Replacer) []byte {
		return []byte(sep + r.Replace(lf(quoted)) + "\n" + sep + lf(plain) + "\n" + sep + lf(unsigned) + "\n")
	}
	var zipped bytes.Buffer
	zw := zip.NewWriter(&zipped)
	for _, e := range []struct {
		name string
		b    []byte
	}{{"a.eml", quoted}, {"boxes/rd.mbox", box(rd)}, {"ca.pem", []byte("-----BEGIN")}, {"nested.zip", []byte("PK")}} {
		w, err := zw.Create(e.name)
		if err == nil {
			_, err = w.Write(e.b)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	dir := put(t, map[string][]byte{
		"rd.mbox": box(rd), "o.mbox": box(o), "all.zip": zipped.Bytes(),
		"M/cur/1:2,S": quoted, "M/new/2": plain, "M/tmp/3": []byte("unfinished"), "M/.Sent/cur/4:2,": unsigned, "M/.Sent/new/.keep": nil,
	})
	const rdNote, oNote = "(mboxrd)", "(mboxo)"
	for _, c := range []struct {
		files []string
		want  []string // file, verdict and what stands in the reason
	}{
		{[]string{"rd.mbox"}, []string{"rd.mbox#1 valid mbox: 4 lines begin " + rdNote, "rd.mbox#2 valid", "rd.mbox#3 not-signed"}},
		{[]string{"o.mbox"}, []string{"o.mbox#1 invalid", "o.mbox#2 valid", "o.mbox#3 not-signed"}},
		{[]string{"M"}, []string{"M/.Sent/cur/4:2, not-signed", "M/cur/1:2,S valid", "M/new/2 valid"}},
		{[]string{"all.zip", "M/new", "none", "M/cur/1:2,S"}, []string{
			"all.zip/a.eml valid", "all.zip/boxes/rd.mbox#1 valid mbox: " + rdNote, "all.zip/boxes/rd.mbox#2 valid", "all.zip/boxes/rd.mbox#3 not-signed",
			"all.zip/nested.zip unverifiable file: an archive inside an archive is not looked into",
			"M/new/2 valid", "none unverifiable file: no such file or directory", "M/cur/1:2,S valid",
		}},
	} {
		args := []string{"verify", "--json", "--at", sampleDay, "--trust", ca}
		for _, f := range c.files {
			args = append(args, filepath.Join(dir, f))
		}
		state, out, errs := program(t, "", args...)
		got := objects(t, out)
		if state != exitFailed || errs != "" || len(got) != len(c.want) {
			t.Fatalf("%v: %d, %s\n%s", c.files, state, errs, out)
		}
		for i, g := range got {
			words := strings.Fields(c.want[i])
			file, verdict := words[0], words[1]
			if g["file"] != filepath.Join(dir, file) || g["verdict"] != verdict {
				t.Errorf("got  %v %v: %v\nwant %s", g["file"], g["verdict"], g["reason"], c.want[i])
			}
			for _, w := range words[2:] {
				if !strings.Contains(g["reason"].(string), w) {
					t.Errorf("%s: reason %q lacks %s", file, g["reason"], w)
				}
			}
			if verdict == "valid" && len(words) == 2 && g["reason"] != "" {
				t.Errorf("%s: reason %q", file, g["reason"])
			}
		}
	}

	// One writer quotes only "From ", the other ">From " as well: where a message
	// has lines of both, each is tried.
	deep := certified(t, a.Signer(), at, "Hello\r\n\r\nFrom here on\r\n>>From there")
	p := filepath.Join(put(t, map[string][]byte{"o": []byte(sep + o.Replace(lf(deep)))}), "o")
	state, out, _ := program(t, "", "verify", "--at", sampleDay, "--trust", ca, p)
	if state != exitGood || !strings.Contains(out, oNote) {
		t.Errorf("%d, %s", state, out)
	}
}

// What does not verify is named, has its own line and makes the exit status 1.
func TestVerifyBad(t *testing.T) {
	good := filepath.Join(samplesDir, "09-delivery-complete-new.eml")
	text := string(readFile(t, good))
	i := strings.Index(text, "Diffida") // inside of the signed part or of the header: the last one is inside
	if j := strings.LastIndex(text, "Diffida"); j > i {
		i = j
	}
	changed := text[:i] + "Diff1da" + text[i+7:]
	forged := strings.Replace(text, "From: posta-certificata@", "From: posta-certificat4@", 1)
	dir := put(t, map[string][]byte{
		"changed.eml": []byte(changed), "forged.eml": []byte(forged), "broken.zip": []byte("PK\x03\x04 and no more"), "empty/a.txt": []byte("x"),
		"unsigned.eml": []byte("From: posta-certificata@pec.example\r\nX-Ricevuta: avvenuta-consegna\r\nSubject: CONSEGNA: x\r\n\r\nText\r\n"),
	})
	for _, c := range []struct {
		file string
		want string // a part of the line, after the file's name
	}{
		{filepath.Join(dir, "changed.eml"), "says it is: delivery receipt (complete): invalid: digest: "},
		{filepath.Join(dir, "forged.eml"), "says it is: delivery receipt (complete): invalid: sender: "},
		{filepath.Join(dir, "unsigned.eml"), "says it is: delivery receipt: not-signed: structure: "},
		{filepath.Join(dir, "broken.zip"), "unverifiable: file: a .zip that cannot be read: zip: not a valid zip file."},
		{filepath.Join(dir, "empty"), "unverifiable: file: the folder holds no message: looked for .eml files, mbox, Maildir and .zip."},
		{filepath.Join(dir, "missing.eml"), "unverifiable: file: no such file or directory."},
		{filepath.Join(hostileDir, "unknown-ca.eml"), "unverifiable: chain: "},
		{filepath.Join(hostileDir, "service-notice.eml"), "ordinary mail: not-signed: "},
	} {
		state, out, errs := verify(t, c.file, good)
		lines := strings.Split(out, "\n")
		if state != exitFailed || errs != "" || len(lines) != 4 {
			t.Errorf("%s: %d\n%s%s", c.file, state, out, errs)
			continue
		}
		if line, _ := strings.CutPrefix(lines[0], c.file+": "); !strings.Contains(line, c.want) || line == lines[0] {
			t.Errorf("got  %s\nwant %s", lines[0], c.want)
		}
		if !strings.HasPrefix(lines[1], good+": delivery receipt (complete): valid. Signed by ") {
			t.Error(lines[1])
		}
		state, out, _ = verify(t, "--json", c.file)
		got := objects(t, out)
		if state != exitFailed || len(got) != 1 {
			t.Fatalf("%d\n%s", state, out)
		}
		for _, key := range promised() {
			if _, ok := got[0][key]; !ok {
				t.Errorf("%s: no key %s", c.file, key)
			}
		}
		if got[0]["recipients"] == nil {
			t.Errorf("%s: recipients is null", c.file)
		}
	}
	// The CA of the samples is none of the real ones.
	state, out, _ := program(t, "", "verify", good)
	if state != exitFailed || !strings.Contains(out, ": unverifiable: chain: ") || strings.Count(out, "\n") != 1 {
		t.Errorf("%d, %s", state, out)
	}
}

// A mailing list made a message of its own of it: shown as such.
func TestVerifyRelayed(t *testing.T) {
	state, out, _ := verify(t, "--json", filepath.Join(hostileDir, "relayed-by-a-list.eml"))
	got := objects(t, out)
	if len(got) != 1 || state != exitGood || got[0]["relayed"] != true || got[0]["verdict"] != "valid" || !strings.Contains(got[0]["reason"].(string), "relayed") {
		t.Errorf("%d, %v", state, got)
	}
}

func TestVerifyAt(t *testing.T) {
	at := time.Date(2020, 3, 1, 10, 0, 0, 0, time.UTC)
	a, ca := authority(t, at)
	signer, err := a.Issue(providersim.LeafOptions{Address: a.Signer().Address, NotBefore: at.AddDate(0, 0, -30), NotAfter: at.AddDate(0, 1, 0)})
	if err != nil {
		t.Fatal(err)
	}
	p := filepath.Join(put(t, map[string][]byte{"m": certified(t, signer, at, "x")}), "m")
	for when, want := range map[string]string{
		"2020-03-01":                "valid. ",
		"2020-03-01T11:00:01+01:00": "valid. ",
		"2020-03-31":                "valid. ",
		"2020-04-02":                "valid-historic: validity: ",
		"":                          "valid-historic: validity: ",
		"2020-02-28":                "unverifiable: time: ", // signed in the future
	} {
		args := []string{"verify", "--trust", ca, p}
		if when != "" {
			args = append(args, "--at", when)
		}
		state, out, errs := program(t, "", args...)
		says, good := "", exitGood
		if strings.HasPrefix(want, "unverifiable") {
			says, good = "says it is: ", exitFailed
		}
		if state != good || !strings.HasPrefix(out, p+": "+says+"certified message: "+want) {
			t.Errorf("%s: %d, %s%s", when, state, out, errs)
		}
	}
}

func TestVerifyUsage(t *testing.T) {
	good := filepath.Join(samplesDir, "02-acceptance-new.eml")
	dir := put(t, map[string][]byte{"text.pem": []byte("no certificate"), "large.pem": make([]byte, maxTrustFile+1)})
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "verify needs a FILE: a message, an mbox, a Maildir, a folder or a .zip (see pecgate --help)"},
		{[]string{"--jsn", good}, "unknown flag: --jsn (see pecgate --help)"},
		{[]string{"--at", "yesterday", good}, "--at needs a time such as 2026-07-03T09:15:42+02:00 or a date such as 2026-07-03"},
		{[]string{"--trust", filepath.Join(dir, "none"), good}, "--trust: open " + filepath.Join(dir, "none") + ": no such file or directory"},
		{[]string{"--trust", filepath.Join(dir, "large.pem"), good}, "--trust: " + filepath.Join(dir, "large.pem") + " is larger than 4 MiB"},
		{[]string{"--trust", filepath.Join(dir, "text.pem"), good}, "--trust " + filepath.Join(dir, "text.pem") + ": holds no certificate in PEM form"},
	} {
		state, out, errs := program(t, "", append([]string{"verify"}, c.args...)...)
		if state != exitUsage || out != "" || errs != "pecgate: "+c.want+"\n" {
			t.Errorf("%v: %d, %s%s", c.args, state, out, errs)
		}
	}
}

// A stranger's words and names do nothing to the terminal, in either form.
func TestVerifyTerminal(t *testing.T) {
	evil := "\x1b]0;x\x07\x1b[2J\u009b31m\u202e"
	dir := put(t, map[string][]byte{"a\x1b[31m\u202eb.eml": []byte("From: \"" + evil + "\" <a@alfa.example>\r\nSubject: " + evil + "x\r\nX-Ricevuta: " + evil + "\r\n\r\nx\r\n")})
	for _, flags := range [][]string{nil, {"--json"}} {
		state, out, errs := verify(t, append(flags, dir)...)
		if state != exitFailed || strings.ContainsFunc(strings.TrimSuffix(out, "\n")+errs, dangerous) || strings.Count(out, "\n") != 1 {
			t.Errorf("%d, %q, %q", state, out, errs)
		}
		if len(flags) > 0 {
			objects(t, out)
		}
	}
	// XML may hold such characters, and JSON lets them pass.
	b := asciiControls([]byte("{\"a\":\"\u009b\u202e\x7f\u2028è\"}\n"))
	var got map[string]string
	if err := json.Unmarshal(b, &got); err != nil || got["a"] != "\u009b\u202e\x7f\u2028è" || string(b) != `{"a":"\u009b\u202e\u007f\u2028è"}`+"\n" {
		t.Errorf("%s, %v", b, err)
	}
}

// Many messages: the order of the lines is that of the input.
func TestVerifyOrder(t *testing.T) {
	sample := string(readFile(t, filepath.Join(samplesDir, "02-acceptance-new.eml")))
	var box strings.Builder
	for i := range 300 {
		box.WriteString("From x Fri Jul  3 09:15:42 2026\n")
		if i%3 == 0 { // much quicker to judge than the others
			fmt.Fprintf(&box, "From: a@alfa.example\nSubject: %d\n\nx\n\n", i)
			continue
		}
		box.WriteString(sample + "\n")
	}
	p := filepath.Join(put(t, map[string][]byte{"box": []byte(box.String())}), "box")
	_, out, _ := verify(t, "--json", p, p)
	got := objects(t, out)
	if len(got) != 600 {
		t.Fatalf("%d lines", len(got))
	}
	for i, g := range got {
		want := "valid"
		if i%300%3 == 0 {
			want = "not-signed"
		}
		if g["file"] != fmt.Sprintf("%s#%d", p, i%300+1) || g["verdict"] != want {
			t.Fatalf("line %d: %v %v", i, g["file"], g["verdict"])
		}
	}
	_, out, _ = verify(t, p, p)
	if !strings.HasSuffix(out, "\n600 messages: 400 valid, 200 not-signed\n") {
		t.Error(out[len(out)-200:])
	}
}

type failingWriter struct{ left int }

func (w *failingWriter) Write(p []byte) (int, error) {
	if w.left--; w.left < 0 {
		return 0, errors.New("the disk is full")
	}
	return len(p), nil
}

// Whoever does not read on, or interrupts, ends the command.
func TestVerifyEnds(t *testing.T) {
	var errs bytes.Buffer
	args := []string{"verify", samplesDir}
	if state := run(context.Background(), args, nil, &failingWriter{left: 3}, &errs); state != exitFailed || errs.String() != "pecgate: print: the disk is full\n" {
		t.Errorf("%d, %s", state, errs.String())
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	errs.Reset()
	var out bytes.Buffer
	if state := run(ctx, args, nil, &out, &errs); state != exitFailed || errs.String() != "pecgate: interrupted: what was printed is not all\n" || out.Len() > 0 {
		t.Errorf("%d, %s%s", state, out.String(), errs.String())
	}
}

// The command needs no configuration, and a broken one is nothing to it.
func TestVerifyNeedsNoConfiguration(t *testing.T) {
	bad := filepath.Join(put(t, map[string][]byte{"pecgate.yaml": []byte(": : :")}), "pecgate.yaml")
	for _, config := range []string{bad, bad + ".none"} {
		if state, out, errs := verify(t, "--config", config, filepath.Join(samplesDir, "02-acceptance-new.eml")); state != exitGood || errs != "" {
			t.Errorf("%d, %s%s", state, out, errs)
		}
	}
}
