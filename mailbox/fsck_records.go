package mailbox

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"pecgate/mailbox/mime"
	"pecgate/mailbox/segment"
)

// fsckKind checks the records of one kind of the key plan.
type fsckKind struct {
	prefix string
	least  int // bytes of a key behind the prefix
	exact  bool
	look   func(x *fsck, k, rest, v []byte) error // rest: the key behind the prefix
	end    func(x *fsck) error                    // after the last one; x.tx is set
}

// fsckKinds are all kinds of the key plan, in the order in which they are
// checked: keys that others are judged by come first.
func fsckKinds() []fsckKind {
	wire := func(p string) fsckKind { return fsckKind{p, 12, true, (*fsck).beside, nil} }
	return []fsckKind{
		{"m", 8, true, (*fsck).message, nil},
		{"mi", 8, true, (*fsck).messageIndex, nil},
		{"mf", 8, true, (*fsck).messageFacts, nil},
		{"mh", 40, true, (*fsck).messageHash, nil},
		{"mb", 24, true, (*fsck).messagePlace, nil},
		{"mx", 16, true, (*fsck).doomed, nil},
		{"ms", 10, false, (*fsck).messageByID, nil},
		{"mo", 5, false, (*fsck).ownCopyRecord, nil},
		{"fk", 8, false, (*fsck).folderName, nil},
		{"f", 8, true, (*fsck).folder, nil},
		{"e", 12, true, (*fsck).entry, (*fsck).endEntries},
		{"c", 16, true, (*fsck).change, (*fsck).endChanges},
		{"ad", 9, false, (*fsck).archiveLine, (*fsck).endArchive},
		{"mp", 20, true, (*fsck).messageEntry, nil},
		{"mr", 12, true, (*fsck).readBy, nil},
		wire(wireEnvelope), wire(wireStructure), wire(wireBody), wire(wireWords), wire(wireFields), wire("gc"),
		{"gp", 16, true, (*fsck).personal, nil},
		{"h", 16, true, (*fsck).personal, nil},
		{"v", 12, true, (*fsck).sight, nil},
		{"av", 12, true, (*fsck).sight, nil},
		{"p", 1, false, (*fsck).login, nil},
		{"pi", 4, true, (*fsck).person, nil},
		{"po", 6, false, (*fsck).leftPerson, nil},
		{"ap", 36, true, (*fsck).appPassword, nil},
		{"su", 5, false, nil, nil},
		{"rn", 18, false, (*fsck).registered, (*fsck).endRegister},
		{"rc", 10, false, (*fsck).registerLast, nil},
		{"lh", 1, false, (*fsck).hold, nil},
		{"lm", 9, false, (*fsck).heldMessage, nil},
		{"lx", 9, false, (*fsck).holdLine, nil},
		{"q", 1, false, (*fsck).usageRecord, nil},
		{"r", 1, false, (*fsck).roomRecord, nil},
		{"n", 1, false, nil, (*fsck).counters},
		{"a", 0, false, nil, nil}, // by auditLog
	}
}

// records checks all records.
func (x *fsck) records() error {
	kinds := fsckKinds()
	for i, kind := range kinds {
		x.done = i
		x.o.Progress(recordsFrom + (auditFrom-recordsFrom)*int64(i)/int64(len(kinds)))
		prefix := key(kind.prefix)
		if kind.look != nil {
			err := x.scan(prefix, func(k, v []byte) error {
				rest := k[len(prefix):]
				if len(rest) < kind.least || kind.exact && len(rest) > kind.least {
					x.find(BadKey, kind.prefix+"/", fmt.Sprintf("%d bytes", len(k)), nil)
					return nil
				}
				return kind.look(x, k, rest, v)
			})
			if err != nil {
				return fmt.Errorf("check the records under %s/: %w", kind.prefix, err)
			}
		}
		if kind.end != nil {
			if err := x.view(func() error { return kind.end(x) }); err != nil {
				return fmt.Errorf("check the records under %s/: %w", kind.prefix, err)
			}
		}
	}
	return x.unknown(kinds)
}

// unknown looks for keys of no kind, one for each beginning.
func (x *fsck) unknown(kinds []fsckKind) error {
	known := map[string]bool{}
	for _, k := range kinds {
		known[k.prefix] = true
	}
	return x.view(func() error {
		for from, more, reported := []byte(nil), true, 0; more && reported < maxFindings; {
			more = false
			err := x.tx.r.Scan(nil, from, func(k, _ []byte) (bool, error) {
				more = true
				name, _, whole := bytes.Cut(k, []byte("/"))
				if !whole || !known[string(name)] {
					reported++
					x.find(UnknownKind, fmt.Sprintf("%.20q", name), "", nil)
				}
				from = append(append([]byte(nil), name...), '/'+1)
				if !whole {
					from = append(append([]byte(nil), k...), 0)
				}
				return false, nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// Progress within the records of messages, which are in the order of their numbers.
func (x *fsck) at(id uint64) {
	const step = 1 << 12
	if id%step != 0 {
		return
	}
	last, err := x.tx.number("message")
	if err != nil || last == 0 {
		return // the counters are checked by themselves
	}
	share := int64(auditFrom-recordsFrom) / int64(len(fsckKinds()))
	x.o.Progress(recordsFrom + share*int64(x.done) + share*int64(min(id, last))/int64(last))
}

// lookUp reads the record of a message. known: it is there; m is nil where it
// cannot be read, which the check of the records themselves tells.
func (x *fsck) lookUp(id MessageID) (m *Message, known bool, err error) {
	m, err = x.tx.Message(id)
	switch {
	case errors.Is(err, ErrNotFound):
		return nil, false, nil
	case unreadable(err):
		return nil, true, nil
	case err != nil:
		return nil, false, err
	}
	return m, true, nil
}

// unreadable tells an error of what a record says from one of reading it.
func unreadable(err error) bool {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	return errors.As(err, &syntax) || errors.As(err, &kind) || errors.Is(err, segment.ErrCorrupt)
}

// decode reads a record; false: it was reported.
func (x *fsck) decode(v []byte, into any, where string) bool {
	if err := json.Unmarshal(v, into); err != nil {
		x.find(BadRecord, where, "", nil)
		return false
	}
	return true
}

func messageName(id MessageID) string { return fmt.Sprintf("message %d", id) }

func (x *fsck) message(k, rest, v []byte) error {
	id := MessageID(tailUint64(rest))
	x.r.Messages++
	x.top["message"] = max(x.top["message"], uint64(id))
	x.at(uint64(id))
	var m Message
	if !x.decode(v, &m, messageName(id)) {
		x.unsure = true
		return nil
	}
	if m.ID != id {
		x.find(BadRecord, messageName(id), fmt.Sprintf("it is that of message %d", m.ID), nil)
		x.unsure = true
		return nil
	}
	if x.s.bytes != nil {
		r, err := x.s.bytes.Open(m.Ref)
		if err == nil {
			err = r.Close()
		}
		if err != nil {
			x.find(NoBytes, messageName(id), err.Error(), nil)
		}
	}
	want := [][]byte{key("mi", id), key("mh", m.Ref.Sum[:], id), append(placeKey(m.Ref), key("", id)[1:]...)}
	if m.MessageID != "" {
		want = append(want, msgidKey(&m))
	}
	if m.Register != nil {
		want = append(want, append(registerKey("rn", m.Box, m.Direction, m.Register.Year), key("", m.Register.Number)[1:]...))
	}
	for _, k := range want {
		has, err := x.tx.has(k)
		if err != nil {
			return err
		}
		if !has {
			x.find(MissingKey, messageName(id), kindOf(k), nil)
			x.unsure = x.unsure || kindOf(k) == "mb/"
		}
	}
	return nil
}

// kindOf is the beginning of a key up to its kind.
func kindOf(k []byte) string {
	kind, _, _ := bytes.Cut(k, []byte("/"))
	return string(kind) + "/"
}

// dangling reports an index key that points to nothing.
func (x *fsck) dangling(k []byte, where string) { x.find(Dangling, where, kindOf(k), gone(k)) }

func (x *fsck) messageIndex(k, rest, v []byte) error {
	id := MessageID(tailUint64(rest))
	x.at(uint64(id))
	switch has, err := x.tx.has(key("m", id)); {
	case err != nil:
		return err
	case !has:
		x.dangling(k, messageName(id))
		return nil
	}
	if err := new(mime.Index).UnmarshalBinary(v); err != nil {
		x.find(BadRecord, messageName(id), kindOf(k), nil)
	}
	return nil
}

// pointer checks a key whose end names a message, of which right must be true.
func (x *fsck) pointer(k, rest []byte, right func(*Message) bool) (wrong bool, err error) {
	id := MessageID(tailUint64(rest))
	m, known, err := x.lookUp(id)
	if err != nil || known && (m == nil || right(m)) {
		return false, err
	}
	x.dangling(k, messageName(id))
	return true, nil
}

func (x *fsck) messageHash(k, rest, _ []byte) error {
	_, err := x.pointer(k, rest, func(m *Message) bool { return bytes.Equal(m.Ref.Sum[:], rest[:32]) })
	return err
}

func (x *fsck) messagePlace(k, rest, _ []byte) error {
	wrong, err := x.pointer(k, rest, func(m *Message) bool { return bytes.HasPrefix(k, placeKey(m.Ref)) })
	x.unsure = x.unsure || wrong && !x.o.Repair
	return err
}

func (x *fsck) messageByID(k, rest, _ []byte) error {
	_, err := x.pointer(k, rest, func(m *Message) bool { return m.MessageID != "" && bytes.Equal(msgidKey(m), k) })
	return err
}

// doomed checks the note of a removal under way: the next start would go on
// with it.
func (x *fsck) doomed(k, rest, v []byte) error {
	where := fmt.Sprintf("segment %d, offset %d", binary.BigEndian.Uint64(rest), binary.BigEndian.Uint64(rest[8:]))
	var ref segment.Ref
	if err := ref.UnmarshalBinary(v); err != nil {
		x.find(BadRecord, where, kindOf(k), nil)
		return nil
	}
	ids, err := x.tx.named(ref)
	if err != nil {
		return err
	}
	for _, id := range ids {
		m, _, err := x.lookUp(id)
		if err != nil {
			return err
		}
		if m != nil && m.Ref == ref {
			x.find(DoomedBytes, messageName(id), where, gone(k))
			return nil
		}
	}
	return nil
}

// readBy checks that a person has read a message; it may outlive the message by
// a stop.
func (x *fsck) readBy(k, rest, _ []byte) error {
	id := MessageID(binary.BigEndian.Uint64(rest))
	has, err := x.tx.has(key("m", id))
	if err == nil && !has {
		x.find(LeftOver, messageName(id), kindOf(k), gone(k))
	}
	return err
}

func (x *fsck) ownCopyRecord(_, rest, v []byte) error {
	x.decode(v, new(OwnCopy), fmt.Sprintf("own copies of person %d", binary.BigEndian.Uint32(rest)))
	return nil
}

func (x *fsck) login(_, rest, v []byte) error {
	login, whole := bytes.CutSuffix(rest, []byte{0})
	where := fmt.Sprintf("login %.100q", login)
	if !whole || len(v) != 4 {
		x.find(BadRecord, where, "", nil)
		return nil
	}
	p := Person(binary.BigEndian.Uint32(v))
	x.top["person"] = max(x.top["person"], uint64(p))
	name, err := x.tx.Login(p)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	if name != string(login) {
		x.find(BadPerson, where, fmt.Sprintf("person %d", p), nil)
	}
	return nil
}

func (x *fsck) person(_, rest, v []byte) error {
	p := Person(binary.BigEndian.Uint32(rest))
	x.top["person"] = max(x.top["person"], uint64(p))
	has, err := x.tx.has(key("p", string(v)))
	if err == nil && !has {
		has, err = x.tx.has(leftKey(string(v), p))
	}
	if err == nil && !has {
		x.find(BadPerson, fmt.Sprintf("person %d", p), fmt.Sprintf("login %.100q", v), nil)
	}
	return err
}

func (x *fsck) appPassword(_, rest, v []byte) error {
	p := Person(binary.BigEndian.Uint32(rest))
	where := fmt.Sprintf("app password of person %d", p)
	x.decode(v, new(AppPassword), where)
	has, err := x.tx.has(key("pi", p))
	if err == nil && !has {
		x.find(BadPerson, where, "", nil)
	}
	return err
}

func (x *fsck) usageRecord(k, rest, v []byte) error {
	if _, err := readUsage(v); err != nil {
		x.unsure = true // Recount reads it
		x.find(BadRecord, mailboxName(string(bytes.TrimSuffix(rest, []byte{0}))), kindOf(k), nil)
	}
	return nil
}

// roomRecord looks at what other rooms keep: where a record says which message
// it is about, that message may have gone.
func (x *fsck) roomRecord(_, rest, v []byte) error {
	var about struct {
		Message uint64 `json:"message"`
	}
	if json.Unmarshal(v, &about) != nil || about.Message == 0 {
		return nil // it is the room's own affair
	}
	room, _, _ := bytes.Cut(rest, []byte{0})
	has, err := x.tx.has(key("m", about.Message))
	if err == nil && !has {
		x.find(GoneMessage, messageName(MessageID(about.Message)), fmt.Sprintf("room %.20q", room), nil)
	}
	return err
}
