//go:build peers

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// readWithNeomutt types into the real program on a terminal. It works on the
// server and keeps headers and messages in a cache.
func readWithNeomutt(t *testing.T, a *account) {
	_, smtps := a.pinAndSMTP(t)
	for _, d := range []string{"headers", "messages", "tmp"} {
		if err := os.Mkdir(filepath.Join(a.dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	rc := filepath.Join(a.dir, "neomuttrc")
	conf := fmt.Sprintf(`set folder="imaps://mario@localhost:%s/"
set imap_user="mario" imap_pass="%s"
set smtp_url="smtps://mario@localhost:%s" smtp_pass="%s"
set ssl_force_tls=yes certificate_file="%s" ssl_ca_certificates_file="%s"
set from="%s" realname="Mario Rossi" use_from=yes envelope_from_address="%s"
set header_cache="%s/headers" message_cachedir="%s/messages" tmpdir="%s/tmp"
set spoolfile="+INBOX" postponed="+Bozze" record="+%s"
set sort=mailbox-order confirmappend=no confirmcreate=no delete=yes quit=yes move=no mark_old=no
set editor="/bin/true" autoedit=yes abort_unmodified=no abort_noattach=no recall=no wait_key=no
set pager_stop=yes wrap_search=yes mail_check=0 timeout=1 hostname=client.example
`, a.tap.port, a.password["mario"], smtps[strings.LastIndexByte(smtps, ':')+1:], a.password["mario"], a.ca(), a.ca(),
		demoBoxMario, demoBoxMario, a.dir, a.dir, a.dir, sentFolder)
	if err := os.WriteFile(rc, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	typed := func(folder, keys string, more ...string) heard {
		t.Helper()
		args := []string{"-F", rc, "-f", "+" + folder, "-e", `push "` + keys + `"`}
		onTerminal(t, a.dir, "neomutt", append(args, more...)...)
		return a.tap.take()
	}
	named := func(subject string) string { return "my_hdr Message-ID: <" + a.id(subject) + ">" }
	find := func(subject string) string { return "<search>~s " + subject + "<enter>" }
	// Every message is opened once, so that the cache has it.
	read := "<first-entry><display-message><next-undeleted><next-undeleted><next-undeleted><exit><sync-mailbox><quit>"

	if n := typed(a.folder, read).contents(); n < 8 {
		t.Errorf("%d contents came: 4 headers and 4 messages were expected", n)
	}
	typed(a.folder, read).quiet(t, "second reading")

	typed(a.folder, find(subjectMarked)+"<flag-message>"+find(subjectMoved)+"<save-message>="+a.moved+"<enter>"+
		find(subjectDeleted)+"<delete-message><sync-mailbox><quit>")
	a.change()
	typed(a.folder, "<mail>"+demoBoxLucia+"<enter>"+subjectDraft+"<enter><postpone-message><quit>", "-e", named(subjectDraft))
	a.arrived(t)
	typed(a.folder, read)
	typed(a.folder, read).quiet(t, "reading after the changes")

	before := a.far.folders()
	pin, _ := a.pinAndSMTP(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "neomutt", "-F", rc, "-e", named("inviata"), "-s", "inviata [PIN:"+pin+"]", "--", demoBoxLucia)
	cmd.Stdin = strings.NewReader("Testo.\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("sending: %v\n%s", err, out)
	}
	a.delivered("inviata")
	a.sentOnce(t, "inviata", before)
}

// onTerminal runs a program on a pseudo terminal until it ends.
func onTerminal(t *testing.T, home, name string, args ...string) {
	t.Helper()
	keyboard, tty := terminal(t)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.Env = append(os.Environ(), "TERM=xterm", "HOME="+home, "LC_ALL=C.UTF-8", "LINES=40", "COLUMNS=120")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var shown bytes.Buffer
	read := make(chan struct{})
	go func() {
		_, _ = io.Copy(&shown, keyboard) // it ends with an error when the program does
		close(read)
	}()
	err := cmd.Wait()
	_ = tty.Close() // the last one who has it open
	<-read
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, tail(shown.String(), 3000))
	}
}
