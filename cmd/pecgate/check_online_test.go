package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pecgate/mailbox"
	"pecgate/relay"
)

// online runs `pecgate check --online --json` and gives what came of each service.
func (h *house) online(want int) (all []relay.Online) {
	h.t.Helper()
	state, out, errs := h.built("check", "--online", "--json")
	if state != want || (state == exitGood) != (errs == "") {
		h.t.Errorf("check --online: %d\n%s%s", state, out, errs)
	}
	for line := range strings.Lines(out) {
		var o relay.Online
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			h.t.Fatalf("%s: %v", line, err)
		}
		if o.Mailbox != "" { // else it is a warning of the configuration
			all = append(all, o)
		}
	}
	return all
}

// TestB10_CheckOnlineCommand: before the first start, while the appliance runs and
// while it does not, every service is told of with what is known of its TLS, and a
// login that was refused is not sent again.
func TestB10_CheckOnlineCommand(t *testing.T) {
	h := newHouse(t, mailboxText(boxA, false, "", "mario"), byPOP3(mailboxText(boxB, false, "", "lucia")),
		strings.ReplaceAll(mailboxText("spenta@pec.alfa.example", false, "    active: false\n", "mario"), "secrets/spenta@pec.alfa.example", "secrets/"+boxA))
	words := func(all []relay.Online) string {
		t.Helper()
		var out []string
		for _, o := range all {
			out = append(out, o.Service+" "+o.Login)
			if o.TLS != "TLS 1.3" || o.CertificateExpires == nil || o.Host == "" || (o.Error == "") != (o.Login == relay.LoginTaken) {
				t.Errorf("%+v", o)
			}
		}
		return strings.Join(out, ", ")
	}
	const good = "SMTP taken, IMAP taken, SMTP taken, POP3 taken"
	data := filepath.Join(h.dir, "data")
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	for _, made := range []bool{false, true} {
		if made {
			if err := os.Mkdir(data, 0o700); err != nil { // as a package does
				t.Fatal(err)
			}
		}
		if got := words(h.online(exitGood)); got != good {
			t.Errorf("before the first start: %s", got)
		}
		if left, err := os.ReadDir(data); len(left) != 0 || made != (err == nil) {
			t.Errorf("it made %v, %v", left, err)
		}
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) != 0 {
		t.Errorf("it left %v, %v", left, err)
	}
	h.start()
	h.until("both are fetched", func() bool { return h.fetched(boxA) && h.fetched(boxB) })
	state, out, errs := h.built("check", "--online")
	table := strings.Split(strings.TrimSpace(out), "\n")
	if state != exitGood || errs != "" || len(table) < 5 || strings.Join(strings.Fields(table[len(table)-5]), " ") != "MAILBOX SERVICE HOST TLS CERTIFICATE UNTIL LOGIN QUOTA TROUBLE" ||
		!strings.HasPrefix(table[len(table)-1], boxB) || !strings.Contains(table[len(table)-1], "POP3") || !strings.HasSuffix(table[len(table)-1], "  none") {
		t.Errorf("%d\n%s%s", state, out, errs)
	}
	h.stop()
	if got := words(h.online(exitGood)); got != good {
		t.Errorf("while it does not run: %s", got)
	}
	// A wrong password is sent once in all.
	before := h.loginsOf(boxA)
	h.write("secrets/"+boxA, "wrong\n")
	if got := words(h.online(exitFailed)); got != "SMTP refused, IMAP suspended, SMTP taken, POP3 taken" {
		t.Error(got)
	}
	h.start()
	h.until("it is suspended from the start", func() bool { return h.suspended(boxA) != "" })
	if got := words(h.online(exitFailed)); got != "SMTP suspended, IMAP suspended, SMTP taken, POP3 taken" {
		t.Error(got)
	}
	state, out, errs = h.built("check", "--online")
	if state != exitFailed || errs != "pecgate: 2 services at the providers did not answer as they should\n" || strings.Count(out, "SMTP login refused: ") != 2 {
		t.Errorf("%d\n%s%s", state, out, errs)
	}
	if n := h.loginsOf(boxA) - before; n != 1 {
		t.Errorf("%d logins with the wrong password", n)
	}
	h.stop()
	asked := h.audit("check --online")
	if !slices.ContainsFunc(asked, func(l mailbox.AuditLine) bool {
		return l.Actor == "control socket" && l.Box == boxA && l.Result == "given"
	}) {
		t.Errorf("no audit line of it: %+v", asked)
	}
	// Wrong usage, and a configuration at which nobody logs in.
	for _, args := range [][]string{{"check", "--online", boxA}, {"check", "--on-line"}} {
		if state, out, errs := h.built(args...); state != exitUsage || out != "" || strings.Count(errs, "\n") != 1 {
			t.Errorf("%q: %d\n%s%s", args, state, out, errs)
		}
	}
	before = len(h.provider.Logins())
	h.writePolicy(h.policy + "    surprise: true\n")
	if state, out, errs := h.built("check", "--online"); state != exitUsage || !strings.Contains(out, "surprise") || strings.Contains(out, "MAILBOX") || len(h.provider.Logins()) != before {
		t.Errorf("%d\n%s%s", state, out, errs)
	}
}
