//go:build peers

package main

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// syncWithCurl is a script's sync: curl gives one command a call, and the
// script remembers the UID that would come next.
func syncWithCurl(t *testing.T, a *account) {
	base := "imaps://localhost:" + a.tap.port + "/"
	file := func(text string) string {
		t.Helper()
		name := filepath.Join(a.dir, "message")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	curl := func(args ...string) string {
		t.Helper()
		args = append([]string{"--silent", "--show-error", "--cacert", a.ca(), "--user", "mario:" + a.password["mario"]}, args...)
		return peer(t, nil, "curl", args...)
	}
	in := func(folder, command string) string {
		t.Helper()
		return curl(base+url.PathEscape(folder), "-X", command)
	}
	have := map[string]string{} // what the script keeps: folder and UID, message
	next := map[string]int{}
	sync := func() {
		t.Helper()
		list := curl(base)
		for _, m := range regexp.MustCompile(`(?m)^\* LIST \(([^)]*)\) "/" "?([^"\r\n]*?)"?\r?$`).FindAllStringSubmatch(list, -1) {
			if strings.Contains(strings.ToLower(m[1]), `\noselect`) || shownTwice(m[2]) {
				continue
			}
			folder := m[2]
			for _, w := range strings.Fields(strings.TrimPrefix(strings.TrimSpace(in(folder, fmt.Sprintf("UID SEARCH UID %d:*", max(next[folder], 1)))), "* SEARCH")) {
				uid, err := strconv.Atoi(w)
				if err != nil {
					t.Fatalf("%s: %v", folder, err)
				}
				if uid < next[folder] {
					continue // "n:*" always has the last one
				}
				have[folder+" "+w] = curl(base + url.PathEscape(folder) + ";UID=" + w)
				next[folder] = uid + 1
			}
		}
	}
	count := func() (n int) {
		for _, k := range a.far.folders() {
			n += k
		}
		return n
	}
	sync()
	if len(have) != count() {
		t.Errorf("curl has %d messages, the server %d", len(have), count())
	}
	a.tap.take()
	sync()
	a.tap.take().quiet(t, "second sync")

	in(a.folder, `STORE 1 +FLAGS (\Seen \Flagged)`)
	in(a.folder, `UID MOVE 2 "`+a.moved+`"`)
	in(a.folder, `UID STORE 3 +FLAGS.SILENT (\Deleted)`)
	in(a.folder, "UID EXPUNGE 3")
	curl(base+"Bozze", "-T", file(a.letter(subjectDraft)))
	a.change()
	before := len(have)
	sync()
	a.arrived(t)
	if got := have[a.folder+" 5"]; got != a.letter(subjectLate) || len(have) != before+3 {
		t.Errorf("%d messages more, the late one is %q", len(have)-before, got)
	}
	a.tap.take()
	sync()
	a.tap.take().quiet(t, "sync after the changes")

	// Sending with curl, and its copy.
	pin, smtps := a.pinAndSMTP(t)
	text := strings.Replace(a.letter("inviata"), "Subject: inviata", "Subject: inviata [PIN:"+pin+"]", 1)
	was := a.far.folders()
	curl("smtps://localhost"+smtps[strings.LastIndexByte(smtps, ':'):], "--mail-from", demoBoxMario, "--mail-rcpt", demoBoxLucia, "-T", file(text))
	curl(base+url.PathEscape(sentFolder), "-T", file(text))
	a.delivered("inviata")
	a.sentOnce(t, "inviata", was)
}
