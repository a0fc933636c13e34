package mailbox

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"pecgate/mailbox/kv"
)

// counters compares the store's own counters with the highest numbers seen.
func (x *fsck) counters() error {
	for _, name := range []string{"message", "folder", "person"} {
		b, err := x.tx.r.Get(key("n", name))
		if err != nil && !errors.Is(err, kv.ErrNotFound) {
			return err
		}
		have := uint64(0)
		if len(b) == 8 {
			have = binary.BigEndian.Uint64(b)
		}
		if most := x.top[name]; have < most {
			x.find(LowCounter, "numbers of: "+name, fmt.Sprintf("%d, and there is %d", have, most), func(tx *Tx) error {
				return tx.w.Put(key("n", name), binary.BigEndian.AppendUint64(nil, most))
			})
		}
	}
	b, err := x.tx.r.Get(key("n", "uidvalidity"))
	if err != nil && !errors.Is(err, kv.ErrNotFound) {
		return err
	}
	have := uint32(0)
	if len(b) == 4 {
		have = binary.BigEndian.Uint32(b)
	}
	if most := uint32(x.top["uidvalidity"]); have < most {
		x.find(LowCounter, "numbers of: uidvalidity", fmt.Sprintf("%d, and there is %d", have, most), func(tx *Tx) error {
			return tx.w.Put(key("n", "uidvalidity"), binary.BigEndian.AppendUint32(nil, most))
		})
	}
	return nil
}

// registerRun is the register whose numbers are being looked at.
type registerRun struct {
	prefix []byte // nil: none
	label  string
	last   uint64
}

// splitRegister reads a key of rn/ or rc/ up to the year.
func splitRegister(rest []byte) (box string, d Direction, year uint64, after []byte, ok bool) {
	b, rest, ok1 := bytes.Cut(rest, []byte{0})
	way, rest, ok2 := bytes.Cut(rest, []byte{0})
	if !ok1 || !ok2 || len(rest) < 8 {
		return "", "", 0, nil, false
	}
	return string(b), Direction(way), binary.BigEndian.Uint64(rest), rest[8:], true
}

func registerLabel(box string, d Direction, year uint64) string {
	return fmt.Sprintf("register of %s, %s %d", box, d, year)
}

func (x *fsck) registered(k, rest, v []byte) error {
	box, d, year, after, ok := splitRegister(rest)
	if !ok || len(after) != 8 {
		x.find(BadKey, "rn/", fmt.Sprintf("%d bytes", len(k)), nil)
		return nil
	}
	if prefix := k[:len(k)-8]; !bytes.Equal(prefix, x.reg.prefix) {
		if err := x.endRegister(); err != nil {
			return err
		}
		x.reg = registerRun{prefix: append([]byte(nil), prefix...), label: registerLabel(box, d, year)}
	}
	n := tailUint64(k)
	where := fmt.Sprintf("%s, number %d", x.reg.label, n)
	if n != x.reg.last+1 {
		x.find(RegisterGap, fmt.Sprintf("%s, number %d", x.reg.label, x.reg.last+1), fmt.Sprintf("%d are missing", n-x.reg.last-1), nil)
	}
	x.reg.last = n
	var r Registered
	if !x.decode(v, &r, where) {
		return nil
	}
	x.top["message"] = max(x.top["message"], uint64(r.Message))
	m, _, err := x.lookUp(r.Message)
	if err != nil || m == nil {
		return err // a number stays when its message goes
	}
	if m.Register == nil || uint64(m.Register.Year) != year || m.Register.Number != n || m.SHA256() != r.SHA256 {
		x.find(BadRegister, where, messageName(m.ID), nil)
	}
	return nil
}

// endRegister compares the last number of a register with its counter.
func (x *fsck) endRegister() error {
	r := x.reg
	x.reg = registerRun{}
	if r.prefix == nil {
		return nil
	}
	k := append([]byte("rc"), r.prefix[len("rn"):]...)
	b, err := x.tx.r.Get(k)
	if err != nil && !errors.Is(err, kv.ErrNotFound) {
		return err
	}
	have := uint64(0)
	if len(b) == 8 {
		have = binary.BigEndian.Uint64(b)
	}
	if have < r.last {
		x.find(LowCounter, r.label, fmt.Sprintf("%d, and there is %d", have, r.last), func(tx *Tx) error {
			return tx.w.Put(k, binary.BigEndian.AppendUint64(nil, r.last))
		})
	}
	return nil
}

func (x *fsck) registerLast(k, rest, v []byte) error {
	box, d, year, after, ok := splitRegister(rest)
	if !ok || len(after) != 0 || len(v) != 8 {
		x.find(BadRecord, "last number of a register", "", nil)
		return nil
	}
	have, last := binary.BigEndian.Uint64(v), uint64(0)
	err := x.tx.r.ScanBack(append([]byte("rn"), k[len("rc"):]...), func(k, _ []byte) (bool, error) {
		last = tailUint64(k)
		return false, nil
	})
	if err == nil && have > last {
		x.find(RegisterGap, fmt.Sprintf("%s, number %d", registerLabel(box, d, year), last+1), fmt.Sprintf("%d are missing", have-last), nil)
	}
	return err
}

func (x *fsck) hold(_, rest, v []byte) error {
	var h Hold
	where := fmt.Sprintf("hold %.100q", bytes.TrimSuffix(rest, []byte{0}))
	if json.Unmarshal(v, &h) != nil || string(rest) != h.ID+"\x00" {
		x.find(BadRecord, where, "", nil)
	}
	return nil
}

// heldMessage checks the mark of a hold on a message. Only one on a message
// that is gone may be taken away: a mark protects.
func (x *fsck) heldMessage(k, rest, _ []byte) error {
	id, name := MessageID(binary.BigEndian.Uint64(rest)), rest[8:]
	return x.mark(k, id, name, append(append([]byte("lx/"), name...), key("", id)[1:]...))
}

func (x *fsck) holdLine(k, rest, _ []byte) error {
	id, name := MessageID(tailUint64(rest)), rest[:len(rest)-8]
	return x.mark(k, id, name, append(key("lm", id), name...))
}

func (x *fsck) mark(k []byte, id MessageID, name, other []byte) error {
	there, err := x.tx.has(key("m", id))
	if err != nil {
		return err
	}
	if !there {
		x.dangling(k, messageName(id))
		return nil
	}
	where := fmt.Sprintf("hold %.100q, message %d", bytes.TrimSuffix(name, []byte{0}), id)
	hold, err := x.tx.has(append([]byte("lh/"), name...))
	if err != nil {
		return err
	}
	if !hold {
		x.find(NoHold, where, kindOf(k), nil)
	}
	pair, err := x.tx.has(other)
	if err == nil && !pair {
		x.find(MissingKey, where, kindOf(other), nil)
	}
	return err
}
