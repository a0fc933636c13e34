package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pecgate/relay"
)

// TestOperatorWithAFaultyPolicy: a mistake in policy.yaml, with which the
// appliance runs on, keeps nobody from looking at it and from changing what
// waits. Only what cannot be known without that file asks for it.
func TestOperatorWithAFaultyPolicy(t *testing.T) {
	down := strings.Replace(mailboxText(boxA, false, "", "lucia", "mario, receive: false"), "SMTPPORT", "1", 1)
	h := newHouse(t, down)
	h.start()
	const id = "faulty.a@pec.alfa.example"
	if r := h.send("mario", "mariomario", boxA, []string{boxB}, mail(boxA, boxB, "Prova", id)); r.Err != nil {
		t.Fatal(r.Err)
	}
	h.settled(id, relay.Queued)
	good := h.policy
	h.writePolicy(good + "\nnonsense: [\n")
	if err := os.Remove(filepath.Join(filepath.Dir(h.config()), "tls", "key.pem")); err != nil {
		t.Fatal(err)
	}
	backup := filepath.Join(t.TempDir(), "backup")
	type ask struct {
		args []string
		want string
	}
	run := func(state int, asks ...ask) {
		t.Helper()
		for _, c := range asks {
			got, out, errs := program(t, "", append([]string{"--config", h.config()}, c.args...)...)
			if got != state || !strings.Contains(out+errs, c.want) {
				t.Errorf("%q: status %d, want %d with %q\n%s%s", c.args, got, state, c.want, out, errs)
			}
		}
	}
	// The attempt that is under way just now holds nobody up for long.
	for _, c := range []ask{{[]string{"queue", "hold", id}, "held"}, {[]string{"queue", "retry", id}, "queued"}, {[]string{"queue", "cancel", id}, "cancelled"}} {
		h.until(strings.Join(c.args, " "), func() bool {
			state, out, _ := program(t, "", append([]string{"--config", h.config()}, c.args...)...)
			return state == exitGood && strings.Contains(out, c.want)
		})
	}
	run(exitGood,
		ask{[]string{"status"}, boxA}, ask{[]string{"queue", "list", "--state", "all"}, boxA}, ask{[]string{"queue", "show", id}, boxA},
		ask{[]string{"show", id}, boxA}, ask{[]string{"audit", "verify"}, ""}, ask{[]string{"user", "list"}, "nobody left"},
		ask{[]string{"password", "--list"}, "no app password"}, ask{[]string{"password", "--app", "phone", "--user", "mario"}, "mario"},
		ask{[]string{"pin", "--unlock", "mario"}, "can be used again"}, ask{[]string{"backup", backup}, ""},
		ask{[]string{"provider", "copies", boxA}, "copies"}, ask{[]string{"reconcile", boxA}, "In the store"}, ask{[]string{"queue", "forwards"}, "Nothing waits"})
	run(exitFailed,
		ask{[]string{"password", "--app", "phone", "--user", "nobody"}, "has no such user"},
		ask{[]string{"provider", "resume", boxA}, "is not suspended"}, ask{[]string{"reconcile", boxB}, "is no PEC mailbox"},
		ask{[]string{"queue", "forwards", "drop", "f1-0"}, "f1-0"},
		ask{[]string{"pin", "--unlock", "lucia"}, "neither a pin nor one-time codes"},
		ask{[]string{"user", "adopt", "mario"}, "nobody left this login"})
	h.stop()
	run(exitGood,
		ask{[]string{"queue", "list", "--state", "cancelled"}, boxA}, ask{[]string{"show", id}, boxA}, ask{[]string{"password", "--list"}, "phone"},
		ask{[]string{"audit", "verify"}, ""}, ask{[]string{"user", "list"}, "nobody left"}, ask{[]string{"fsck"}, ""}, ask{[]string{"backup", backup}, ""},
		ask{[]string{"queue", "forwards"}, "Nothing waits"})
	run(exitUsage,
		ask{[]string{"status"}, "policy.yaml:"}, ask{[]string{"reconcile", boxA}, "policy.yaml:"}, ask{[]string{"provider", "copies", boxA}, "policy.yaml:"}, ask{[]string{"queue", "retry", id}, "policy.yaml:"},
		ask{[]string{"password", "--app", "x", "--user", "mario"}, "policy.yaml:"}, ask{[]string{"pin", "--unlock", "mario"}, "policy.yaml:"})
}
