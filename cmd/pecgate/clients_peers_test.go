//go:build peers

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

func (d *demoProcess) ca() string { return filepath.Join(d.dir, "tls", "ca.pem") }

// pinAndSMTP are Mario's PIN and where he submits over TLS.
func (d *demoProcess) pinAndSMTP(t *testing.T) (pin, smtps string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(d.dir, "accounts.txt"))
	if err != nil {
		t.Fatal(err)
	}
	p := regexp.MustCompile(`PIN  (\d+)`).FindSubmatch(b)
	s := regexp.MustCompile(`\(SMTP\):\s+server (\S+) port (\d+)`).FindSubmatch(b)
	if p == nil || s == nil {
		t.Fatalf("accounts.txt names no PIN or SMTP server:\n%s", b)
	}
	return string(p[1]), string(s[1]) + ":" + string(s[2])
}

// TestClientsSyncBothWays has real clients bring Mario's account to their disk
// and their changes back: flags, a draft, a move, a deletion. Who is in step
// transfers nothing, and what was sent is there once, whoever keeps a copy.
func TestClientsSyncBothWays(t *testing.T) {
	d := startDemo(t)
	for _, c := range []struct {
		name string
		run  func(*testing.T, *account)
	}{
		{"mbsync", syncWithMbsync},
		{"offlineimap", syncWithOfflineimap},
		{"neomutt", readWithNeomutt},
		{"curl", syncWithCurl},
		{"imaplib", syncWithImaplib},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, newAccount(t, d, c.name)) })
	}
}

// account is Mario's as one client has it: through a tap, with two folders of
// its own on the server.
type account struct {
	*demoProcess
	name, dir     string
	folder, moved string // own folders; a client moves a message from the first to the second
	tap           *wiretap
	far           *farSide
}

// What every client finds in its folder, and what becomes of it: the first is
// marked as seen and flagged, the second moved, the third deleted, the fourth
// stays.
const (
	subjectMarked  = "prima"
	subjectMoved   = "seconda"
	subjectDeleted = "terza"
	subjectStays   = "quarta"
	subjectLate    = "quinta" // arrives after the first sync
	subjectDraft   = "bozza"
)

func newAccount(t *testing.T, d *demoProcess, name string) *account {
	t.Helper()
	a := &account{demoProcess: d, name: name, dir: t.TempDir(), folder: "Pratiche-" + name, moved: "Chiuse-" + name, tap: newTap(t, d)}
	a.far = a.session(t)
	for _, f := range []string{a.folder, a.moved} {
		a.far.do(`CREATE "` + f + `"`)
	}
	for _, s := range []string{subjectMarked, subjectMoved, subjectDeleted, subjectStays} {
		a.far.put(a.folder, a.letter(s))
	}
	return a
}

// letter is a message of this client's, without line ends that a client could
// change.
func (a *account) letter(subject string) string {
	return "From: <" + demoBoxMario + ">\r\nTo: <" + demoBoxLucia + ">\r\nSubject: " + subject + "\r\nDate: Sat, 21 Nov 2026 10:00:00 +0100\r\n" +
		"Message-ID: <" + a.id(subject) + ">\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\nTesto della " + subject + ".\r\n"
}

func (a *account) id(subject string) string { return subject + "." + a.name + "@alfa.example" }

// farSide looks at the account on the server, past the tap.
type farSide struct {
	t *testing.T
	w *wire
}

func (a *account) session(t *testing.T) *farSide {
	t.Helper()
	w, err := dialWire(a.imap, a.tap.pool)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.close)
	if status, err := w.imapLogin("mario", a.password["mario"]); err != nil || status != "OK" {
		t.Fatalf("login: %s %q, %v", status, w.last, err)
	}
	return &farSide{t, w}
}

// do runs a command that must succeed and returns its untagged answers.
func (f *farSide) do(command string) string {
	f.t.Helper()
	answer, status, err := f.w.imap(command)
	if err != nil || status != "OK" {
		f.t.Fatalf("%.100s: %s %q, %v", command, status, f.w.last, err)
	}
	return answer
}

func (f *farSide) put(folder, text string) {
	f.t.Helper()
	f.do(fmt.Sprintf("APPEND %q {%d+}\r\n%s", folder, len(text), text))
}

// flags are those of the messages in a folder, by Message-ID; flags are sorted.
func (f *farSide) flags(folder string) map[string]string {
	f.t.Helper()
	f.do("EXAMINE " + strconv.Quote(folder))
	answer := f.do("UID FETCH 1:* (FLAGS BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])")
	f.do("UNSELECT")
	out := map[string]string{}
	for _, m := range regexp.MustCompile(`FLAGS \(([^)]*)\)[^{]*\{\d+\}\r\nMessage-ID: *<([^>]*)>`).FindAllStringSubmatch(answer, -1) {
		words := strings.Fields(m[1])
		slices.Sort(words)
		if _, twice := out[m[2]]; twice {
			f.t.Errorf("%s is in %s twice", m[2], folder)
		}
		out[m[2]] = strings.Join(words, " ")
	}
	if n := strings.Count(answer, " FETCH ("); n != len(out) {
		f.t.Errorf("%s: %d messages, %d with a Message-ID of their own", folder, n, len(out))
	}
	return out
}

// folders are all that hold messages, with how many, but for those that show
// the same messages once more.
func (f *farSide) folders() map[string]int {
	f.t.Helper()
	out := map[string]int{}
	for _, m := range regexp.MustCompile(`(?m)^\* STATUS "?([^"\r\n]*?)"? \(MESSAGES (\d+)\)\r$`).FindAllStringSubmatch(f.do(`LIST "" "*" RETURN (STATUS (MESSAGES))`), -1) {
		n, err := strconv.Atoi(m[2])
		if err != nil {
			f.t.Fatal(err)
		}
		if !shownTwice(m[1]) {
			out[m[1]] = n
		}
	}
	return out
}

// shownTwice tells of the folders whose messages are in other folders, too:
// nobody subscribes to them, and who syncs all folders leaves them out.
func shownTwice(folder string) bool {
	return strings.HasSuffix(folder, "/Contenuti") || strings.Contains(folder, "/Archivio")
}

// change is what happens on the server while the client is away: UID 4 is the
// one that stays.
func (a *account) change() {
	a.far.t.Helper()
	a.far.put(a.folder, a.letter(subjectLate))
	a.far.do("SELECT " + strconv.Quote(a.folder))
	a.far.do("UID STORE 4 +FLAGS.SILENT (\\Answered)")
	a.far.do("UNSELECT")
}

// arrived wants the client's changes on the server, and its own ones kept.
func (a *account) arrived(t *testing.T) {
	t.Helper()
	got := a.far.flags(a.folder)
	want := map[string]string{a.id(subjectMarked): `\Flagged \Seen`, a.id(subjectStays): `\Answered`, a.id(subjectLate): ""}
	for id, flags := range want {
		if g, ok := got[id]; !ok || !strings.Contains(g, flags) {
			t.Errorf("%s: %s has %q, there %t; want %q", a.folder, id, g, ok, flags)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%s holds %v", a.folder, got)
	}
	if got := a.far.flags(a.moved); len(got) != 1 || !has(got, a.id(subjectMoved)) {
		t.Errorf("%s holds %v", a.moved, got)
	}
	if !has(a.far.flags("Bozze"), a.id(subjectDraft)) {
		t.Errorf("Bozze holds %v", a.far.flags("Bozze"))
	}
}

func has(m map[string]string, key string) bool { _, ok := m[key]; return ok }

// sentFolder is where the sent copies of Mario's mailbox are.
const sentFolder = "PEC/" + demoBoxMario + "/Posta inviata"

// send submits a message of this client's and returns what the client submitted.
func (a *account) send(t *testing.T, subject string) string {
	t.Helper()
	pin, smtps := a.pinAndSMTP(t)
	text := strings.Replace(a.letter(subject), "Subject: "+subject, "Subject: "+subject+" [PIN:"+pin+"]", 1)
	w, err := dialWire(smtps, a.tap.pool)
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	if code, err := w.smtpLogin("mario", a.password["mario"]); err != nil || code != 235 {
		t.Fatalf("login: %d %q, %v", code, w.last, err)
	}
	if code, err := w.deliver(demoBoxMario, demoBoxLucia, text); err != nil || code != 250 {
		t.Fatalf("sending: %d %q, %v", code, w.last, err)
	}
	return text
}

// delivered waits until the last receipt has come and the outcome is told, so
// that nothing changes any more by itself.
func (a *account) delivered(subject string) {
	a.far.t.Helper()
	a.far.do(`EXAMINE "PEC/` + demoBoxMario + `/Esiti"`)
	until(a.far.t, "the outcome", func() bool {
		a.far.do("NOOP")
		return strings.Contains(a.far.do(`UID SEARCH HEADER References "`+a.id(subject)+`" HEADER X-PEC-Esito "A=1 C=1"`), "* SEARCH ")
	})
	a.far.do("UNSELECT")
}

// sentOnce wants a submission in both sent folders once. flags has looked for
// doubles.
func (a *account) sentOnce(t *testing.T, subject string, before map[string]int) {
	t.Helper()
	now := a.far.folders()
	for _, f := range []string{sentFolder, "Posta inviata"} {
		if !has(a.far.flags(f), a.id(subject)) {
			t.Errorf("%s: %s is not there", f, a.id(subject))
		}
		if now[f] != before[f]+1 {
			t.Errorf("%s: %d messages after %d", f, now[f], before[f])
		}
	}
}

// until waits for something that the gateway does by itself.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited for: %s", what)
		}
	}
}
