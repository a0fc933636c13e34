package mailbox

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"pecgate/mailbox/kv"
)

// RegisterNumber is a message's number in the register of its mailbox: without
// gaps in each year and direction, in the order of the transactions that gave
// it.
type RegisterNumber struct {
	Year   int    `json:"year"` // in Options.Zone
	Number uint64 `json:"number"`
}

// ErrNoRegister says that a message gets no register number: it was not sent
// or received through the mailbox while the gateway was there.
var ErrNoRegister = errors.New("mailbox: the register does not take this message")

// Registered is what a register remembers of a number. It stays when the
// message is removed.
type Registered struct {
	Message MessageID `json:"message"`
	SHA256  string    `json:"sha256"`
	At      time.Time `json:"at"`
}

func registerKey(prefix, box string, d Direction, year int) []byte {
	return key(prefix, strings.ToLower(box), string(d), uint64(year))
}

// Register returns the next register number of a mailbox for a direction (Out
// for what is handed over, In for what arrives) and a year; the first is 1.
// The number exists only if the transaction does: one that fails leaves no gap.
func (tx *Tx) Register(box string, d Direction, year int) (uint64, error) {
	if d != In && d != Out || year < 1 || box == "" {
		return 0, ErrNoRegister
	}
	n, err := tx.lastRegister(box, d, year)
	if err != nil {
		return 0, err
	}
	n++
	return n, tx.w.Put(registerKey("rc", box, d, year), binary.BigEndian.AppendUint64(nil, n))
}

// lastRegister is the last number given, 0 before the first.
func (tx *Tx) lastRegister(box string, d Direction, year int) (uint64, error) {
	b, err := tx.r.Get(registerKey("rc", box, d, year))
	if errors.Is(err, kv.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	if len(b) != 8 {
		return 0, fmt.Errorf("mailbox: a register counter has %d bytes", len(b))
	}
	return binary.BigEndian.Uint64(b), nil
}

// EnterRegister gives m a register number for what happened at a time: the
// hand-over of an Out message, the arrival of a transport envelope. Which kinds
// of messages are entered is for the caller to say; history never is. A message
// that has a number keeps it. The caller writes m.
func (tx *Tx) EnterRegister(m *Message, at time.Time) error {
	if m.Register != nil {
		return nil
	}
	if m.History {
		return ErrNoRegister
	}
	year := at.In(tx.s.opt.Zone).Year()
	n, err := tx.Register(m.Box, m.Direction, year)
	if err != nil {
		return err
	}
	m.Register = &RegisterNumber{Year: year, Number: n}
	k := append(registerKey("rn", m.Box, m.Direction, year), key("", n)[1:]...)
	return tx.putJSON(k, Registered{Message: m.ID, SHA256: m.SHA256(), At: at.UTC()})
}

// ScanRegister calls fn for the numbers of one register that were given by
// EnterRegister, ascending from a number on, until it returns false.
func (tx *Tx) ScanRegister(box string, d Direction, year int, from uint64, fn func(n uint64, r Registered) bool) error {
	prefix := registerKey("rn", box, d, year)
	return tx.r.Scan(prefix, append(prefix[:len(prefix):len(prefix)], key("", from)[1:]...), func(k, v []byte) (bool, error) {
		var r Registered
		if err := json.Unmarshal(v, &r); err != nil {
			return false, err
		}
		return fn(tailUint64(k), r), nil
	})
}
