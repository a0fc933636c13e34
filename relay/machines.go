package relay

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"pecgate/mailbox/mime"
)

// Bounds of what machines send that refers to a message: two of them that answer each
// other, as if they did not, come to an end by it.
const (
	machineMost  = 10 // messages of one machine to the same people
	machineEvery = 24 * time.Hour
	machineKinds = 4096 // pairs that are counted; beyond them nothing of the kind leaves
)

// machines counts what machines send to whom. What was counted before a start is not
// known after it: it bounds a loop, and loses nothing.
type machines struct {
	now func() time.Time

	mu   sync.Mutex
	sent map[[32]byte]*machine
}

type machine struct {
	n     int
	since time.Time
}

// again counts a message by its header, and tells why it must not leave, or nothing.
func (m *machines) again(header []byte) string {
	sum := sha256.New()
	for _, f := range mime.Fields(header) {
		switch name := strings.ToLower(f.Name); name {
		case "from", "to", "cc":
			fmt.Fprintf(sum, "%s:%s\n", name, strings.ToLower(strings.Join(strings.Fields(f.Body()), " ")))
		}
	}
	var key [32]byte
	sum.Sum(key[:0])
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	old := func(x *machine) bool { age := now.Sub(x.since); return age < 0 || age >= machineEvery }
	one := m.sent[key]
	if one == nil || old(one) {
		if len(m.sent) >= machineKinds {
			maps.DeleteFunc(m.sent, func(_ [32]byte, x *machine) bool { return old(x) })
		}
		if len(m.sent) >= machineKinds {
			return "machines write to too many people"
		}
		one = &machine{since: now}
		m.sent[key] = one
	}
	if one.n++; one.n > machineMost {
		return fmt.Sprintf("a machine has written to the same people more than %d times in a day", machineMost)
	}
	return ""
}
