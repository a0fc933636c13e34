package audit

import (
	"encoding/json"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog" // the Merkle tree of RFC 6962 and its proofs, as small as it can be

	"pecgate/mailbox/kv"
)

// ErrProof: a proof that does not prove what it says, or cannot be made.
var ErrProof = errors.New("audit: not proven")

// MaxProven is how many entries one Proof may hold, MaxProof its size in bytes
// as JSON.
const (
	MaxProven = 10_000
	MaxProof  = 128 << 20
)

// Proof is an extract of the log that stands by itself: with a public key it
// shows, without the log, that these entries stand at these numbers of the log
// that the head signs. As JSON it is of format version 1.
type Proof struct {
	Version int      `json:"version"`
	Head    string   `json:"head"` // signed note
	Entries []Proven `json:"entries"`
}

// Proven is one entry with its way to the root.
type Proven struct {
	Number int64       `json:"number"`
	Salt   []byte      `json:"salt,omitempty"` // base64, 16 bytes
	Text   string      `json:"text,omitempty"` // canonical; without one only Leaf is proven
	Leaf   tlog.Hash   `json:"leaf"`
	Path   []tlog.Hash `json:"path"` // RFC 6962 section 2.1.1, the leaf's sibling first
}

// Prove makes the proof that these entries stand in the log that h signs.
// Errors: ErrProof for numbers that h does not cover or more than MaxProven;
// ErrDamaged.
func (l *Log) Prove(r kv.Reader, h Head, numbers ...int64) (*Proof, error) {
	if len(numbers) > MaxProven {
		return nil, fmt.Errorf("%d entries at once: %w", len(numbers), ErrProof)
	}
	p := &Proof{Version: version, Head: h.Note, Entries: make([]Proven, 0, len(numbers))}
	hashes := l.hashes(r)
	for _, n := range numbers {
		if n < 0 || n >= h.Size {
			return nil, fmt.Errorf("entry %d is not below head %d of %d entries: %w", n, h.Number, h.Size, ErrProof)
		}
		leaves, err := hashes.ReadHashes([]int64{tlog.StoredHashIndex(0, n)})
		if err != nil {
			return nil, err
		}
		path, err := tlog.ProveRecord(h.Size, n, hashes)
		if err != nil {
			return nil, err
		}
		e := Proven{Number: n, Leaf: leaves[0], Path: path}
		b, err := r.Get(l.key(kindEntry, n))
		switch {
		case errors.Is(err, kv.ErrNotFound):
		case err != nil:
			return nil, err
		case len(b) < saltSize:
			return nil, fmt.Errorf("entry %d: %w", n, ErrDamaged)
		default:
			e.Salt, e.Text = b[:saltSize], string(b[saltSize:])
		}
		if err := e.check(h); err != nil {
			return nil, fmt.Errorf("%w: %w", err, ErrDamaged)
		}
		p.Entries = append(p.Entries, e)
	}
	return p, nil
}

// ProveRange is Prove for the entries from first to last.
func (l *Log) ProveRange(r kv.Reader, h Head, first, last int64) (*Proof, error) {
	if first < 0 || last < first || last-first >= MaxProven {
		return nil, fmt.Errorf("entries %d to %d: %w", first, last, ErrProof)
	}
	var numbers []int64
	for n := first; n <= last; n++ {
		numbers = append(numbers, n)
	}
	return l.Prove(r, h, numbers...)
}

// ReadProof reads the JSON of a Proof. It says nothing of its truth: Check does.
func ReadProof(b []byte) (*Proof, error) {
	p := new(Proof)
	return p, readJSON(b, p)
}

func readJSON(b []byte, v any) error {
	if len(b) > MaxProof {
		return fmt.Errorf("a proof of %d bytes: %w", len(b), ErrProof)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("the proof is not JSON of one: %w", ErrProof)
	}
	return nil
}

// Check tells whether the proof holds, given the public keys that are believed
// (as Key.Public writes them). It returns the head and the entries in the order
// of the proof; those without a text have no event. It needs nothing else.
// Errors: ErrProof with the first entry that fails; ErrHead; ErrKey.
func (p *Proof) Check(keys ...string) (Head, []Line, error) {
	if p.Version != version {
		return Head{}, nil, fmt.Errorf("version %d of proofs is not known: %w", p.Version, ErrProof)
	}
	if len(p.Entries) > MaxProven {
		return Head{}, nil, fmt.Errorf("%d entries at once: %w", len(p.Entries), ErrProof)
	}
	h, err := OpenHead(p.Head, keys...)
	if err != nil {
		return Head{}, nil, err
	}
	lines := make([]Line, 0, len(p.Entries))
	for _, e := range p.Entries {
		if err := e.check(h); err != nil {
			return Head{}, nil, err
		}
		line := Line{Number: e.Number}
		if e.Text != "" {
			w, err := parse([]byte(e.Text))
			if err != nil {
				return Head{}, nil, fmt.Errorf("entry %d: %w: %w", e.Number, err, ErrProof)
			}
			if w.N != e.Number {
				return Head{}, nil, fmt.Errorf("entry %d says that it is %d: %w", e.Number, w.N, ErrProof)
			}
			line.Entry = w.Entry
		}
		lines = append(lines, line)
	}
	return h, lines, nil
}

func (e *Proven) check(h Head) error {
	if e.Text == "" {
		if len(e.Salt) > 0 {
			return fmt.Errorf("entry %d has a salt and no text: %w", e.Number, ErrProof)
		}
	} else if len(e.Salt) != saltSize || leaf(e.Salt, []byte(e.Text)) != e.Leaf {
		return fmt.Errorf("the text of entry %d does not match its leaf: %w", e.Number, ErrProof)
	}
	if tlog.CheckRecord(e.Path, h.Size, h.Root, e.Number, e.Leaf) != nil {
		return fmt.Errorf("entry %d does not stand in the log of head %d: %w", e.Number, h.Number, ErrProof)
	}
	return nil
}

// Growth proves that an older head's log is the beginning of a newer one's.
type Growth struct {
	Version int         `json:"version"`
	Old     string      `json:"old"` // signed notes
	New     string      `json:"new"`
	Path    []tlog.Hash `json:"path"` // RFC 6962 section 2.1.2
}

// ProveGrowth makes the proof that nothing below the old head was changed
// until the new one. Errors: ErrProof, ErrDamaged.
func (l *Log) ProveGrowth(r kv.Reader, old, new Head) (*Growth, error) {
	g := &Growth{Version: version, Old: old.Note, New: new.Note, Path: []tlog.Hash{}}
	if old.Size > 0 && old.Size <= new.Size {
		path, err := tlog.ProveTree(new.Size, old.Size, l.hashes(r))
		if err != nil {
			return nil, err
		}
		g.Path = path
	}
	return g, g.check(old, new)
}

// ReadGrowth reads the JSON of a Growth. It says nothing of its truth: Check
// does.
func ReadGrowth(b []byte) (*Growth, error) {
	g := new(Growth)
	return g, readJSON(b, g)
}

// Check tells whether the proof holds, as Proof.Check does.
func (g *Growth) Check(keys ...string) (old, new Head, err error) {
	if g.Version != version {
		return old, new, fmt.Errorf("version %d of proofs is not known: %w", g.Version, ErrProof)
	}
	if old, err = OpenHead(g.Old, keys...); err != nil {
		return Head{}, Head{}, fmt.Errorf("the older head: %w", err)
	}
	if new, err = OpenHead(g.New, keys...); err != nil {
		return Head{}, Head{}, fmt.Errorf("the newer head: %w", err)
	}
	return old, new, g.check(old, new)
}

func (g *Growth) check(old, new Head) error {
	var err error
	switch {
	case old.Size > new.Size:
		err = ErrProof
	case old.Size > 0:
		err = tlog.CheckTree(g.Path, new.Size, new.Root, old.Size, old.Root)
	case len(g.Path) > 0:
		err = ErrProof
	default:
		var empty tlog.Hash
		if empty, err = tlog.TreeHash(0, nil); err == nil && empty != old.Root {
			err = ErrProof
		}
	}
	if err != nil {
		return fmt.Errorf("head %d does not continue head %d: %w", new.Number, old.Number, ErrProof)
	}
	return nil
}
