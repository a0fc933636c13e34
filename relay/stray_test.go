package relay

import (
	"fmt"
	"io"
	"strings"
	"testing"
)

// What has no sender stands in the administrator's INBOX as it came; a day has room
// for so many, and the first of the rest is told once. Nothing of it is forwarded.
func TestStrays(t *testing.T) {
	i := newIntake(t)
	i.withMail() // with an administrator
	file := func(text string) {
		t.Helper()
		in, err := i.store.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(in, text); err != nil {
			t.Fatal(err)
		}
		if err := i.s.FileStray(t.Context(), in, int64(len(text)), Stray{Relay: "exchange", Remote: "192.0.2.10", Recipients: []string{"a@example.org"}}); err != nil {
			t.Fatal(err)
		}
	}
	admins := i.s.admins()
	if len(admins) != 1 {
		t.Fatalf("%d administrators", len(admins))
	}
	inbox := func() int { t.Helper(); return len(i.inbox(admins[0].user)) }
	for n := range MaxStrays {
		file(fmt.Sprintf("From: a@example.org\r\nSubject: bounce %d\r\n\r\nx\r\n", n))
	}
	if got := inbox(); got != MaxStrays {
		t.Fatalf("%d in the INBOX", got)
	}
	for range 5 {
		file("From: a@example.org\r\n\r\n" + strings.Repeat("x", 100) + "\r\n")
	}
	if got := inbox(); got != MaxStrays+1 {
		t.Errorf("%d in the INBOX, want one notice more", got)
	}
	for _, m := range i.mailed() {
		if !strings.HasPrefix(m, "notice ") {
			t.Errorf("forwarded: %s", m)
		}
	}
	if n := len(i.mailed()); n > 1 {
		t.Errorf("%d forwarded", n)
	}
}
