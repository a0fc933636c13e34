package archive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"
)

// Options say how to walk. The zero value is good.
type Options struct {
	Limits Limits
	// Progress is told how many bytes of the files are behind, out of total. Its
	// calls come from Walk itself, done never falls and ends at total. Nil saves the
	// look at every file's size beforehand.
	Progress func(done, total int64)
	// LeftAside is told the name of each file that holds no message, such as a
	// certificate beside the messages. Hidden files are not mentioned.
	LeftAside func(name string)
}

// Limits bound what is unpacked from a .zip file. A field that is zero takes the
// value given beside it.
type Limits struct {
	Entries int   // entries of one .zip; 100,000
	Message int64 // bytes of one message unpacked; 150 MiB
	Mailbox int64 // bytes of one mbox unpacked; 4 GiB
	Total   int64 // bytes that one .zip may unpack to, and its own size; 16 GiB
	Ratio   int64 // bytes unpacked for each byte of the .zip, looked at above 64 MiB; 200
}

func (l Limits) withDefaults() Limits {
	return Limits{
		Entries: cmp.Or(l.Entries, 100_000),
		Message: cmp.Or(l.Message, 150<<20),
		Mailbox: cmp.Or(l.Mailbox, 4<<30),
		Total:   cmp.Or(l.Total, 16<<30),
		Ratio:   cmp.Or(l.Ratio, 200),
	}
}

// Item is one message of an archive, or one entry that could not be read.
type Item struct {
	// Name is the path given to Walk, then the entry: dir/cur/1, box.mbox#3,
	// all.zip/sent.mbox#3. It is fit to be shown on a terminal, and no path to open.
	// Messages of an mbox are numbered from 1, but not the only one in an .eml.
	Name string
	// ReaderAt gives the message's bytes, Size of them, until Close. Nil with Err.
	io.ReaderAt
	Size int64
	// Quoted counts the lines of an mbox message that begin with ">From ", with
	// one ">" or more: the writer may have put one there (see Unquoted).
	Quoted int
	// Date is when a message of a Maildir came, as far as its file tells: the earlier
	// of its time and of that in its name. Zero: not told.
	Date time.Time
	// Err says why the entry could not be read.
	Err error

	quotes []quote
	source *source
	closed *atomic.Bool
}

// Close gives back what the Item holds. Whoever got the Item closes it, at any
// time and from any goroutine. It may be called again.
func (it Item) Close() error {
	if it.source == nil || it.closed.Swap(true) {
		return nil
	}
	return it.source.release()
}

// Walk calls fn for every message that path holds, one after the other. The
// Item is fn's to close. An error of fn ends the walk and is returned as it is;
// so does the end of ctx. Else an error says that path itself could not be read,
// or that it holds no message at all.
func Walk(ctx context.Context, path string, o Options, fn func(Item) error) error {
	w := &walk{ctx: ctx, o: o, lim: o.Limits.withDefaults(), fn: fn}
	st, err := os.Stat(path)
	if err != nil {
		return bare(err)
	}
	if st.IsDir() {
		err = w.folder(path)
	} else {
		err = w.named(path)
	}
	if err != nil {
		return err
	}
	w.progress(w.total - w.done)
	if w.items == 0 {
		what := "the file"
		if st.IsDir() {
			what = "the folder"
		}
		return fmt.Errorf("%s holds no message: looked for .eml files, mbox, Maildir and .zip", what)
	}
	return nil
}

// walk is one Walk.
type walk struct {
	ctx         context.Context
	o           Options
	lim         Limits
	fn          func(Item) error
	items       int
	stopped     bool // by fn or the end of ctx: nothing more is said
	done, total int64
}

// give hands a message over. It takes a hold of s for the Item.
func (w *walk) give(it Item, s *source) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	w.items++
	if it.Err == nil {
		it.source, it.closed = s.hold(), new(atomic.Bool)
	} else {
		it.Err = bare(it.Err)
	}
	it.Name = shown(it.Name)
	err := w.fn(it)
	w.stopped = w.stopped || err != nil
	return err
}

// refuse hands over an entry that cannot be read.
func (w *walk) refuse(name string, err error) error {
	return w.give(Item{Name: name, Err: err}, nil)
}

// survive turns a failure to read the entry name into an Item, so that the walk
// goes on.
func (w *walk) survive(name string, err error) error {
	if err == nil || w.stopped || w.ctx.Err() != nil {
		return err
	}
	return w.refuse(name, err)
}

func (w *walk) leaveAside(name string) {
	if w.o.LeftAside != nil {
		w.o.LeftAside(shown(name))
	}
}

func (w *walk) progress(n int64) {
	if w.o.Progress == nil || n <= 0 {
		return
	}
	w.done = min(w.done+n, w.total)
	w.o.Progress(w.done, w.total)
}

// errNoMessage says that a file that somebody named is something else.
var errNoMessage = errors.New("this is no message: it begins without a header, and is no mbox and no .zip")

// named reads a file that somebody named: it is meant, if it can be a message at
// all.
func (w *walk) named(path string) error {
	s, err := openFile(w.ctx, path, w.lim.Message)
	if err != nil {
		return bare(err)
	}
	defer s.release() // what was only read has nothing to lose at closing
	w.total = s.size
	head, err := s.head()
	if err != nil {
		return bare(err)
	}
	switch looksLike(head) {
	case looksZip:
		return w.zip(path, s)
	case looksOther:
		if !maybeMessage(head) {
			return errNoMessage
		}
	}
	return w.content(path, s, head)
}

// content reads what is no archive of files: an mbox or a single message.
func (w *walk) content(name string, s *source, head []byte) error {
	if looksLike(head) == looksMbox {
		return w.mbox(name, s)
	}
	return w.message(name, s, time.Time{})
}

func (w *walk) message(name string, s *source, at time.Time) error {
	if err := w.give(Item{Name: name, ReaderAt: s, Size: s.size, Date: at}, s); err != nil {
		return err
	}
	w.progress(s.weight)
	return nil
}

func (w *walk) mbox(name string, s *source) error {
	number := true
	if isMessageName(name) {
		one, err := single(w.ctx, s, s.size)
		if err != nil {
			return err
		}
		number = !one // it only bears the line of the mbox that it was taken from
	}
	n, before := 0, w.done
	return split(w.ctx, s, s.size, func(m span) error {
		n++
		label := name
		if number {
			label += "#" + strconv.Itoa(n)
		}
		err := w.give(Item{Name: label, ReaderAt: io.NewSectionReader(s, m.off, m.size), Size: m.size,
			Quoted: m.quoted, quotes: m.quotes}, s)
		part := float64(m.off+m.size) / float64(s.size)
		w.progress(before + int64(part*float64(s.weight)) - w.done)
		return err
	})
}

// cameAt is Item.Date of a Maildir's file. A copy may have lost the time of the file,
// and a message that was moved between folders bears a late one in its name.
func cameAt(base string, modified time.Time) (at time.Time) {
	word, _, _ := strings.Cut(base, ".")
	named := time.Time{}
	if n, err := strconv.ParseInt(word, 10, 64); err == nil {
		named = time.Unix(n, 0)
	}
	for _, t := range []time.Time{modified, named} {
		// The first second of a .zip and of Unix are no times of mail.
		if y := t.UTC().Year(); y > 1980 && y <= 9999 && (at.IsZero() || t.Before(at)) {
			at = t.UTC()
		}
	}
	return at
}

// bare takes the operation and path out of an error of the file system: the
// name stands beside it already.
func bare(err error) error {
	if p, ok := err.(*fs.PathError); ok {
		return p.Err
	}
	return err
}

// shown makes a name fit for a terminal: valid UTF-8, no control character and
// none that turns the direction of writing.
func shown(name string) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(name, "?"))
}
