package export

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// Format is how messages are written.
type Format string

// The formats.
const (
	Mbox    Format = "mbox"    // one mbox for each mailbox, in a .zip
	Maildir Format = "maildir" // one Maildir for each mailbox, in a .zip
	Eml     Format = "eml"     // mailbox/year/month/kind/*.eml, in a .zip or a folder
)

// Bounds of a part. They keep it within what mailbox/archive unpacks.
const (
	DefaultPart = 2_000_000_000 // bytes
	MinPart     = 1_000_000
	MaxPart     = 4_000_000_000
	MaxMessages = 50_000
)

// Message is a message to be written.
type Message struct {
	Mailbox string // its address
	// Kind is a word of lower-case letters and "-" that the caller's program chose,
	// never one out of the message: transport, delivery, sent.
	Kind    string
	Arrived time.Time // gives the year and month, in UTC
	Seen    bool      // for Maildir
	SHA256  [sha256.Size]byte
	Size    int64
	// Open gives its bytes.
	Open func(context.Context) (io.ReadCloser, error)
}

// Options say where an export goes.
type Options struct {
	Format Format
	// Out is the file, NAME.zip; further parts are NAME-2.zip, NAME-3.zip. With Eml a
	// name that does not end in .zip is a folder, which has no parts. None may be there.
	Out string
	// Part is the bytes of messages in one part; 0: DefaultPart. A larger message has
	// a part of its own.
	Part int64
	// Wrote is called when a message is in the file, and again (verified) when it was
	// read back: n bytes. An error breaks the export off. nil: nobody listens.
	Wrote func(n int64, verified bool) error
}

// Part is a file that stands.
type Part struct {
	Path     string `json:"path"` // of a folder: the folder
	Messages int    `json:"messages"`
	Bytes    int64  `json:"bytes"`  // of the file; of a folder: of the messages
	SHA256   string `json:"sha256"` // of the file; of a folder: of its SHA256SUMS
	Quoted   int    `json:"quoted"` // messages of which mbox changed lines
}

// ErrExists says that a file or folder is there already.
var ErrExists = errors.New("is there already: an export replaces nothing, give another name")

// kinds are the words that may name a folder.
var kinds = regexp.MustCompile(`^[a-z]([a-z-]{0,30}[a-z])?$`)

// Write writes the messages, those of one mailbox one after the other, and returns the
// parts that stand, verified; with an error too: these are whole. An export of no
// message writes nothing.
func Write(ctx context.Context, o Options, all iter.Seq2[Message, error]) ([]Part, error) {
	if o.Part == 0 {
		o.Part = DefaultPart
	}
	if o.Wrote == nil {
		o.Wrote = func(int64, bool) error { return nil }
	}
	zipped := strings.EqualFold(filepath.Ext(o.Out), ".zip")
	switch {
	case o.Format != Mbox && o.Format != Maildir && o.Format != Eml:
		return nil, fmt.Errorf("no format %q: mbox, maildir or eml", o.Format)
	case o.Format != Eml && !zipped:
		return nil, fmt.Errorf("the name of the file must end in .zip: %s", o.Out)
	case zipped && (o.Part < MinPart || o.Part > MaxPart):
		return nil, fmt.Errorf("a part has %d MB to %d GB", MinPart/1_000_000, MaxPart/1_000_000_000)
	}
	w := &writing{ctx: ctx, o: o, zipped: zipped, boxes: map[string]int{}}
	err := w.all(all)
	if w.part != nil {
		w.part.abort()
	}
	return w.done, err
}

// writing is one Write.
type writing struct {
	ctx    context.Context
	o      Options
	zipped bool
	boxes  map[string]int // numbers of mailboxes, the same in all parts
	part   *part          // under way
	done   []Part
}

func (w *writing) all(all iter.Seq2[Message, error]) error {
	for m, err := range all {
		if err == nil {
			err = w.ctx.Err()
		}
		if err == nil {
			err = w.one(m)
		}
		if err != nil {
			return err
		}
	}
	return w.finish()
}

func (w *writing) one(m Message) error {
	if !kinds.MatchString(m.Kind) {
		return fmt.Errorf("kind %q cannot name a folder", m.Kind)
	}
	if p := w.part; p != nil && w.zipped && (p.bytes+m.Size > w.o.Part || len(p.records) == MaxMessages) {
		if err := w.finish(); err != nil {
			return err
		}
	}
	if w.part == nil {
		p, err := w.begin()
		if err != nil {
			return err
		}
		w.part = p
	}
	if err := w.part.add(w.ctx, m); err != nil {
		return fmt.Errorf("message %x of %s: %w", m.SHA256[:8], m.Mailbox, err)
	}
	return w.o.Wrote(m.Size, false)
}

// finish makes the part under way stand.
func (w *writing) finish() error {
	if w.part == nil {
		return nil
	}
	p, err := w.part.finish(w.ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", w.part.path, err)
	}
	w.part = nil
	w.done = append(w.done, p)
	return nil
}

// partName is the name of the n-th part, from 1.
func partName(out string, n int) string {
	if n == 1 {
		return out
	}
	ext := filepath.Ext(out)
	return fmt.Sprintf("%s-%d%s", strings.TrimSuffix(out, ext), n, ext)
}

// boxName names a mailbox's file or folder: its number makes it one of its own,
// whatever the address holds.
func (w *writing) boxName(box string) string {
	box = strings.ToLower(box)
	n, ok := w.boxes[box]
	if !ok {
		n = len(w.boxes) + 1
		w.boxes[box] = n
	}
	safe := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || strings.ContainsRune("@.-_", r) {
			return r
		}
		return '_'
	}, box)
	return fmt.Sprintf("%02d-%s", n, strings.TrimRight(safe[:min(len(safe), 80)], "."))
}

// absent tells that nothing has the name.
func absent(path string) error {
	_, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err == nil:
		err = ErrExists
	}
	return fmt.Errorf("%s: %w", path, err)
}
