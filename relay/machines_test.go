package relay

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// What a ticket system writes leaves, and two machines that take each other's answers for
// what they are not come to an end.
func TestMachinesComeToAnEnd(t *testing.T) {
	i := newIntake(t)
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	i.s.machines.now = func() time.Time { return now }
	ticket := func(to string, n int) string {
		return i.s.Looped(fmt.Appendf(nil, "Auto-Submitted: auto-generated\r\nFrom: Ticket\r\n <ticket@example.org>\r\nTo: %s\r\nIn-Reply-To: <%d@x.example>\r\nReferences: <%d@x.example>\r\nSubject: [PEC] Ticket %d\r\n\r\n", to, n, n, n))
	}
	for n := range 30 {
		if why := ticket("a@pec.example", n); (why != "") != (n >= machineMost) || why != "" && !strings.Contains(why, "more than 10 times in a day") {
			t.Errorf("message %d: %q", n, why)
		}
	}
	if why := ticket("b@pec.example", 1); why != "" {
		t.Errorf("to somebody else: %s", why)
	}
	for n := range 30 { // what refers to nothing, and what a person writes, is not counted
		if why := i.s.Looped([]byte("Auto-Submitted: auto-generated\r\nFrom: x@example.org\r\n\r\n")) + i.s.Looped([]byte("From: x@example.org\r\nIn-Reply-To: <a@b.example>\r\n\r\n")); why != "" {
			t.Errorf("%d: %s", n, why)
		}
	}
	now = now.Add(machineEvery)
	if why := ticket("a@pec.example", 1); why != "" {
		t.Errorf("a day later: %s", why)
	}
	now = now.Add(-2 * machineEvery)
	if why := ticket("a@pec.example", 1); why != "" {
		t.Errorf("with the clock put back: %s", why)
	}
	for n := range machineKinds {
		_ = ticket(fmt.Sprintf("a%d@pec.example", n), 1)
	}
	if why := ticket("c@pec.example", 1); why == "" || len(i.s.machines.sent) > machineKinds {
		t.Errorf("%d are counted, %q", len(i.s.machines.sent), why)
	}
}
