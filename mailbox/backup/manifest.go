package backup

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"pecgate/mailbox/segment"
)

// Errors that callers tell apart; all are wrapped with what was attempted.
var (
	// ErrNone: there is no backup in the folder.
	ErrNone = errors.New("there is no backup here")
	// ErrNewer: the backup was written by a newer pecgate.
	ErrNewer = errors.New("the backup was written by a newer pecgate, which is needed to read it")
	// ErrOther: the folder holds the backup of another store.
	ErrOther = errors.New("the folder holds the backup of another store, or of this one before it was restored: give another folder")
	// ErrForeign: the folder holds something else.
	ErrForeign = errors.New("the folder holds something that is no backup: give an empty one")
	// ErrKeys: the backup is encrypted and no key fits, or the other way round.
	ErrKeys = errors.New("the backup is encrypted")
	// ErrDamaged: parts are missing or not what was written; see Damage.
	ErrDamaged = errors.New("the backup is damaged")
	// ErrInUse: another run writes into the folder.
	ErrInUse = errors.New("another backup into this folder is under way")
	// ErrStream: what the appliance sent ends too early or makes no sense.
	ErrStream = errors.New("what the appliance sent is not a whole backup")
)

const (
	format       = 1
	manifestName = "backup.json"
	lockName     = "LOCK"
	newSuffix    = ".new"
	ageSuffix    = ".age"
	encryptedAge = "age"

	maxManifest = 256 << 20 // bytes; a part takes about 200
)

// The kinds of parts.
const (
	KindKeys    = "keys"
	KindHeads   = "heads"
	KindRecords = "records"
	KindSegment = "segment"
)

// folders are those below the folder of a backup.
var folders = [...]string{"audit", "records", "segments"}

// Manifest says which files make a backup.
type Manifest struct {
	Format     int       `json:"format"`
	Store      string    `json:"store"` // which store it is of: a random number
	Token      string    `json:"token"` // by which the store knows this run again
	Run        uint64    `json:"run"`   // counts from 1
	At         time.Time `json:"at"`    // when the run began: the state it holds
	Encryption string    `json:"encryption,omitempty"`
	Recipients string    `json:"recipients,omitempty"` // which ones it is encrypted for: a sum over their keys
	Position   uint64    `json:"position"`             // of the records, for the next run
	Parts      []Part    `json:"parts"`
	Sum        string    `json:"sha256"` // of the manifest with this field empty
}

// Part is a file of a backup.
type Part struct {
	Kind    string `json:"kind"`
	Name    string `json:"name"` // below the folder, with slashes
	Size    int64  `json:"size"` // of the file, in bytes
	SHA256  string `json:"sha256"`
	Segment uint64 `json:"segment,omitempty"` // of a segment: its number,
	From    int64  `json:"from,omitempty"`    // and which of its bytes these are, before encryption
	To      int64  `json:"to,omitempty"`
	Since   uint64 `json:"since,omitempty"` // of records: the position after which they are; 0: all
	Next    uint64 `json:"next,omitempty"`  // of records: the position they reach
}

// piece is the name of a part that a run makes.
func piece(kind string, number, run uint64, encrypted bool) string {
	var name string
	switch kind {
	case KindKeys, KindHeads:
		name = fmt.Sprintf("audit/%06d.%s", run, kind)
	case KindRecords:
		name = fmt.Sprintf("records/%06d.kv", run)
	default:
		name = fmt.Sprintf("segments/%016d-%06d.tar", number, run)
	}
	if encrypted {
		name += ageSuffix
	}
	return name
}

// encode gives the bytes of the manifest, with their sum.
func (m *Manifest) encode() ([]byte, error) {
	m.Sum = ""
	b, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(b)
	m.Sum = hex.EncodeToString(sum[:])
	if b, err = json.MarshalIndent(m, "", " "); err != nil {
		return nil, err
	}
	return append(b, '\n'), nil
}

// decode reads a manifest and checks that it makes sense. Names in it lead
// nowhere but into the folder.
func decode(b []byte) (*Manifest, error) {
	m := new(Manifest)
	// The form first: nothing else of a newer one need be as here.
	var form struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(b, &form); err != nil || form.Format < 1 {
		return nil, fmt.Errorf("%s cannot be read: %w", manifestName, ErrDamaged)
	}
	if form.Format > format {
		return nil, fmt.Errorf("%w (format %d, this one knows %d)", ErrNewer, form.Format, format)
	}
	if err := json.Unmarshal(b, m); err != nil {
		return nil, fmt.Errorf("%s cannot be read: %w", manifestName, ErrDamaged)
	}
	again := *m
	if whole, err := again.encode(); err != nil || again.Sum != m.Sum || !bytes.Equal(whole, b) {
		return nil, fmt.Errorf("%s was changed since it was written: %w", manifestName, ErrDamaged)
	}
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", manifestName, err, ErrDamaged)
	}
	return m, nil
}

// check makes sure that the parts fit together: one file of keys and of heads,
// a chain of records, and segments without a gap.
func (m *Manifest) check() error {
	if m.Run == 0 || m.Store == "" || m.Encryption != "" && m.Encryption != encryptedAge {
		return errors.New("its beginning makes no sense")
	}
	count := map[string]int{}
	names := map[string]bool{}
	var position, last uint64
	var end int64
	for _, p := range m.Parts {
		if names[p.Name] || !p.named(m.Encryption != "", m.Run) {
			return errors.New("a part has a name it cannot have")
		}
		names[p.Name] = true
		count[p.Kind]++
		switch p.Kind {
		case KindRecords:
			if first := count[p.Kind] == 1; first != (p.Since == 0) || !first && p.Since != position {
				return fmt.Errorf("part %s does not follow the one before it", p.Name)
			}
			position = p.Next
		case KindSegment:
			if p.Segment != last {
				end = 0
			}
			if p.Segment < last || p.From != end || p.To <= p.From {
				return fmt.Errorf("part %s does not follow the one before it", p.Name)
			}
			last, end = p.Segment, p.To
		}
	}
	if count[KindKeys] != 1 || count[KindHeads] != 1 || count[KindRecords] < 1 || position != m.Position {
		return errors.New("parts are missing in it")
	}
	return nil
}

// named says whether a part has the name that some run up to this one gave it.
func (p *Part) named(encrypted bool, run uint64) bool {
	digits := strings.TrimSuffix(p.Name, ageSuffix)
	digits = strings.TrimSuffix(digits, filepath.Ext(digits))
	digits = digits[strings.LastIndexAny(digits, "-/")+1:]
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || n == 0 || n > run {
		return false
	}
	switch p.Kind {
	case KindKeys, KindHeads, KindRecords, KindSegment:
		return p.Size >= 0 && len(p.SHA256) == 2*sha256.Size && p.Name == piece(p.Kind, p.Segment, n, encrypted)
	}
	return false
}

// parts are those of a kind, in order.
func (m *Manifest) parts(kind string) (out []Part) {
	for _, p := range m.Parts {
		if p.Kind == kind {
			out = append(out, p)
		}
	}
	return out
}

// Bytes is the size of all parts together.
func (m *Manifest) Bytes() (sum int64) {
	for _, p := range m.Parts {
		sum += p.Size
	}
	return sum
}

// Extents says how much of each segment the backup has, ascending.
func (m *Manifest) Extents() []segment.Extent {
	var out []segment.Extent
	for _, p := range m.parts(KindSegment) {
		if last := len(out) - 1; last >= 0 && out[last].Segment == p.Segment {
			out[last].Size = p.To
			continue
		}
		out = append(out, segment.Extent{Segment: p.Segment, Size: p.To})
	}
	return out
}

// readManifest reads the manifest of a folder; ErrNone if there is none.
func readManifest(fsys segment.FS, dir string) (*Manifest, error) {
	names, err := fsys.List(dir)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(names, manifestName) {
		return nil, ErrNone
	}
	f, err := fsys.Open(filepath.Join(dir, manifestName))
	if err != nil {
		return nil, err
	}
	b, err := readAll(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("read %s: %w", manifestName, err)
	}
	return decode(b)
}

func readAll(f segment.File) ([]byte, error) {
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size > maxManifest {
		return nil, fmt.Errorf("it has more than %d bytes: %w", int64(maxManifest), ErrDamaged)
	}
	b := make([]byte, size)
	_, err = io.ReadFull(io.NewSectionReader(f, 0, size), b)
	return b, err
}
