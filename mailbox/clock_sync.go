package mailbox

import (
	"bufio"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix" // adjtimex: whether the kernel's clock is synchronised
)

// ClockFact is the name under which a line of the audit log says whether the clock
// was synchronised when it was written.
const ClockFact = "clock"

// What Options.Clock answers.
const (
	ClockSynchronised   = "synchronised"
	ClockUnsynchronised = "not synchronised"
)

// Clock tells whether the clock is synchronised: ClockSynchronised,
// ClockUnsynchronised, or empty where that is not known.
func (s *Store) Clock() string {
	if s.opt.Clock == nil {
		return ""
	}
	return s.opt.Clock()
}

// proves tells of which events the time matters to somebody outside: their lines say
// whether the clock was synchronised.
func proves(event string) bool {
	switch event {
	case "submission", "arrival", "state", "evidence", "pin", "approval":
		return true
	}
	return false
}

// clockEvery is how long an answer about the clock stands.
const clockEvery = time.Minute

// SystemClock returns what tells of the machine's clock. It asks the kernel
// (adjtimex(2), which reads without any right). Where a filter of system calls is
// set, which may end the process for that call, the mark of systemd-timesyncd is
// looked for in its place; without one it is not known.
func SystemClock() func() string {
	var mu sync.Mutex
	var last string
	var at time.Time
	filtered := seccompFilter("/proc/self/status")
	return func() string {
		mu.Lock()
		defer mu.Unlock()
		if at.IsZero() || time.Since(at) >= clockEvery {
			last, at = readClock(filtered, "/run/systemd/timesync/synchronized"), time.Now()
		}
		return last
	}
}

func readClock(filtered bool, mark string) string {
	if !filtered {
		var t unix.Timex
		state, err := unix.Adjtimex(&t)
		switch {
		case err != nil:
		case state == unix.TIME_ERROR || t.Status&unix.STA_UNSYNC != 0:
			return ClockUnsynchronised
		default:
			return ClockSynchronised
		}
	}
	if _, err := os.Stat(mark); err == nil {
		return ClockSynchronised
	}
	return ""
}

// seccompFilter tells whether the process runs under a filter of system calls; what
// cannot be read is taken for one.
func seccompFilter(status string) bool {
	f, err := os.Open(status)
	if err != nil {
		return true
	}
	defer f.Close() // nothing was written
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if mode, ok := strings.CutPrefix(sc.Text(), "Seccomp:"); ok {
			return strings.TrimSpace(mode) != "0"
		}
	}
	return true
}
