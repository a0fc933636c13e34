package main

import (
	"bufio"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pecgate/mailbox"
	"pecgate/relay/submit"
)

// imap says commands as a person and wants OK to each.
func (h *house) imap(login string, commands ...string) {
	h.t.Helper()
	if err := h.tryIMAP(login, commands...); err != nil {
		h.t.Fatal(err)
	}
}

// tryIMAP is imap whose error is the first answer that is not OK.
func (h *house) tryIMAP(login string, commands ...string) error {
	h.t.Helper()
	host, _, err := splitPort(h.imaps)
	if err != nil {
		h.t.Fatal(err)
	}
	c, err := tls.Dial("tcp", h.imaps, &tls.Config{ServerName: host, RootCAs: h.roots()})
	if err != nil {
		h.t.Fatal(err)
	}
	defer c.Close() // LOGOUT was answered
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		h.t.Fatal(err)
	}
	r := bufio.NewReader(c)
	for i, cmd := range append(append([]string{"LOGIN " + login + " " + login + login}, commands...), "LOGOUT") {
		tag := fmt.Sprint("t", i, " ")
		if _, err := c.Write([]byte(tag + cmd + "\r\n")); err != nil {
			h.t.Fatal(err)
		}
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				h.t.Fatalf("%s: %v", cmd, err)
			}
			if answer, ok := strings.CutPrefix(line, tag); ok {
				if !strings.HasPrefix(answer, "OK") {
					return fmt.Errorf("%s: %s", cmd, answer)
				}
				break
			}
		}
	}
	return nil
}

// sumOf is the SHA-256 of a file of the configuration.
func (h *house) sumOf(name string) string {
	h.t.Helper()
	b, err := os.ReadFile(filepath.Join(h.dir, name))
	if err != nil {
		h.t.Fatal(err)
	}
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// TestS7_WhoDidWhat: people log in well and badly, send with a wrong and a
// right PIN, read and delete, and somebody changes the policy; the audit log
// tells exactly that, and every line of it stands.
func TestS7_WhoDidWhat(t *testing.T) {
	h := newHouse(t)
	stop := h.serving()
	send := func(password, pin, id string) submit.Result {
		return h.send("mario", password, boxA, []string{boxB}, mail(boxA, boxB, "parola-segreta "+pin, id))
	}
	if r := send("wrong-password", "", "m0@alfa.example"); r.Class != submit.AuthRefused {
		t.Fatalf("%+v", r)
	}
	if r := send("mariomario", "[PIN:000000]", "m1@alfa.example"); r.Code != 550 {
		t.Fatalf("%+v", r)
	}
	if r := send("mariomario", "[PIN:"+pinMario+"]", "m2@alfa.example"); r.Class != submit.HandedOver {
		t.Fatalf("%+v", r)
	}
	inbox := treeB + "Posta in arrivo"
	h.until("the message has arrived", func() bool { return strings.Contains(h.log.String(), `"kind":"transport"`) })
	h.imap("lucia", `SELECT "`+inbox+`"`, "FETCH 1 (FLAGS BODY.PEEK[HEADER])", "FETCH 1 BODY.PEEK[]", "FETCH 1 BODY[TEXT]",
		`STORE 1 +FLAGS (\Deleted)`, "EXPUNGE")
	before, config := h.sumOf("policy.yaml"), h.sumOf("pecgate.yaml")
	h.writePolicy(h.policy + "    surprise: true\n")
	h.until("the faulty policy is refused", func() bool { return strings.Contains(h.log.String(), "configuration not reloaded") })
	h.writePolicy(strings.Replace(h.policy, "{user: mario}", "{user: mario, send: false}", 1))
	after := h.sumOf("policy.yaml")
	h.until("the policy is changed", func() bool { return strings.Contains(h.log.String(), "configuration reloaded") })
	verify := func() {
		t.Helper()
		state, out, errs := program(t, "", "audit", "verify", "--config", h.config())
		if state != exitGood || !strings.Contains(out, "every line is as it was written") || errs != "" {
			t.Fatalf("%d, %s%s", state, out, errs)
		}
	}
	verify()
	stop()
	verify()

	plain := func(l mailbox.AuditLine) string {
		return strings.Join(strings.Fields(strings.Join([]string{l.Actor, l.From, l.Box, l.Result, l.Reason}, " ")), " ")
	}
	for event, want := range map[string][]string{
		// The two good logins of mario are one line and a sum, or two periods.
		"login":    {"mario 127.0.0.1 refused password", "mario 127.0.0.1 good", "mario 127.0.0.1 good", "lucia 127.0.0.1 good"},
		"pin":      {"mario 127.0.0.1 " + boxA + " wrong", "mario 127.0.0.1 " + boxA + " right"},
		"reading":  {"lucia 127.0.0.1 " + boxB + " first"},
		"deletion": {"lucia 127.0.0.1 " + boxB + " hidden"},
		"submission": {"mario 127.0.0.1 " + boxA + " refused pin-wrong",
			"mario 127.0.0.1 " + boxA + " queued"},
		"configuration": {"gateway loaded", "gateway refused the changed files are faulty, those of before stay in use", "gateway reloaded"},
	} {
		var got []string
		for _, l := range h.audit(event) {
			n := 1
			if c := l.More["count"]; c != "" {
				n, _ = strconv.Atoi(c)
			}
			got = append(got, slices.Repeat([]string{plain(l)}, n)...)
			if all := fmt.Sprint(l); strings.Contains(all, "parola-segreta") || strings.Contains(all, pinMario) || strings.Contains(all, "000000]") || strings.Contains(all, "wrong-password") {
				t.Errorf("content or a secret in %s", all)
			}
		}
		slices.Sort(got)
		if slices.Sort(want); !slices.Equal(got, want) {
			t.Errorf("%s:\n%s\nwant\n%s", event, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	lines := h.audit("configuration") // newest first
	if len(lines) != 3 {
		t.Fatalf("%d lines", len(lines))
	}
	for i, want := range []map[string]string{
		{"policy_before": before, "policy_after": after, "config_before": config, "config_after": config},
		{"policy_before": before, "policy_after": before, "config_before": config, "config_after": config},
		{"policy_before": "", "policy_after": before, "config_before": "", "config_after": config},
	} {
		for k, v := range want {
			if lines[i].More[k] != v {
				t.Errorf("%s: %s is %q, want %q", lines[i].Result, k, lines[i].More[k], v)
			}
		}
	}
}
