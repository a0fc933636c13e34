package export

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"
)

// record is what is kept of a message until its part stands.
type record struct {
	file    int32 // in part.files
	box     int32 // in part.boxes
	quoted  int32 // lines
	ended   bool  // got an end of its last line
	kind    string
	arrived int64 // seconds
	size    int64
	sum     [sha256.Size]byte
}

// file is one file of a part.
type file struct {
	name string
	size int64
	sum  [sha256.Size]byte
}

// part is a part under way.
type part struct {
	o       Options
	path    string
	box     func(string) string
	to      target
	records []record
	files   []file
	boxes   []string
	bytes   int64 // of the messages
	quoted  int   // messages

	// mbox: the file under way.
	mbox   io.Writer
	sum    hash.Hash
	length int64
}

func (w *writing) begin() (*part, error) {
	p := &part{o: w.o, path: partName(w.o.Out, len(w.done)+1), box: w.boxName}
	if err := absent(p.path); err != nil {
		return nil, err
	}
	var err error
	if w.zipped {
		p.to, err = newZipFile(p.path)
	} else {
		p.to, err = newTree(p.path)
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

// abort takes away what does not stand.
func (p *part) abort() { p.to.abort() }

// counted sums what passes.
type counted struct {
	w    io.Writer
	sum  hash.Hash
	size int64
}

func (c *counted) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.size += int64(n)
	c.sum.Write(b[:n])
	return n, err
}

func (p *part) add(ctx context.Context, m Message) error {
	body, err := m.Open(ctx)
	if err != nil {
		return err
	}
	err = p.put(ctx, m, body)
	return errors.Join(err, body.Close())
}

func (p *part) put(ctx context.Context, m Message, body io.Reader) error {
	r := record{kind: m.Kind, arrived: m.Arrived.Unix(), size: m.Size, sum: m.SHA256}
	if n := len(p.boxes); n == 0 || p.boxes[n-1] != m.Mailbox {
		if slices.Contains(p.boxes, m.Mailbox) {
			return errors.New("the messages of a mailbox must come one after the other")
		}
		p.closeMbox()
		p.boxes = append(p.boxes, m.Mailbox)
		if err := p.openBox(m.Mailbox); err != nil {
			return err
		}
	}
	r.box = int32(len(p.boxes) - 1)
	in := &counted{w: io.Discard, sum: sha256.New()}
	body = io.TeeReader(io.LimitReader(&interrupted{ctx, body}, m.Size+1), in)
	if p.o.Format == Mbox {
		if err := p.putMbox(&r, body); err != nil {
			return err
		}
	} else {
		name := p.name(m, len(p.records)+1)
		w, err := p.to.create(name)
		if err != nil {
			return err
		}
		if _, err := io.Copy(w, body); err != nil {
			return err
		}
		p.files = append(p.files, file{name, m.Size, m.SHA256})
	}
	if in.size != m.Size || [sha256.Size]byte(in.sum.Sum(nil)) != m.SHA256 {
		return errors.New("its bytes have not the hash that they were stored under: `pecgate fsck --deep` says what is damaged")
	}
	r.file = int32(len(p.files) - 1)
	p.records = append(p.records, r)
	p.bytes += m.Size
	if r.quoted > 0 {
		p.quoted++
	}
	return nil
}

// interrupted reads until a context ends.
type interrupted struct {
	ctx context.Context
	r   io.Reader
}

func (i *interrupted) Read(b []byte) (int, error) {
	if err := i.ctx.Err(); err != nil {
		return 0, err
	}
	return i.r.Read(b)
}

// openBox begins what stands for a mailbox.
func (p *part) openBox(box string) error {
	name := p.box(box)
	switch p.o.Format {
	case Maildir:
		for _, sub := range []string{"cur/", "new/", "tmp/"} {
			if err := p.to.folder(name + "/" + sub); err != nil {
				return err
			}
		}
	case Mbox:
		w, err := p.to.create(name + ".mbox")
		if err != nil {
			return err
		}
		p.files = append(p.files, file{name: name + ".mbox"})
		p.sum, p.length = sha256.New(), 0
		p.mbox = io.MultiWriter(w, p.sum)
	}
	return nil
}

func (p *part) closeMbox() {
	if p.mbox == nil {
		return
	}
	f := &p.files[len(p.files)-1]
	f.size, f.sum = p.length, [sha256.Size]byte(p.sum.Sum(nil))
	p.mbox = nil
}

// name is that of a message's own file.
func (p *part) name(m Message, n int) string {
	at := m.Arrived.UTC()
	box := p.box(m.Mailbox)
	if p.o.Format == Maildir {
		flags := ""
		if m.Seen {
			flags = "S"
		}
		return fmt.Sprintf("%s/cur/%d.%06d_%x.pecgate,S=%d:2,%s", box, at.Unix(), n, m.SHA256[:4], m.Size, flags)
	}
	return fmt.Sprintf("%s/%04d/%02d/%s/%06d-%x.eml", box, min(max(at.Year(), 0), 9999), at.Month(), m.Kind, n, m.SHA256[:8])
}

// separator is the line before a message (RFC 4155, appendix A). The sender is left
// out: an address is a stranger's word.
func separator(arrived int64) string {
	return "From MAILER-DAEMON " + time.Unix(arrived, 0).UTC().Format(time.ANSIC) + "\n"
}

func (p *part) putMbox(r *record, body io.Reader) error {
	out := &counted{w: p.mbox, sum: sha256.New()}
	if _, err := io.WriteString(out, separator(r.arrived)); err != nil {
		return err
	}
	q := newQuoter(out, false)
	if _, err := io.Copy(q, body); err != nil {
		return err
	}
	if err := q.Close(); err != nil {
		return err
	}
	end := "\n"
	if r.ended = q.last != '\n' && r.size > 0; r.ended {
		end = "\n\n"
	}
	r.quoted = int32(q.lines)
	_, err := io.WriteString(out, end)
	p.length += out.size
	return err
}

// listed is a message in manifest.json.
type listed struct {
	File    string    `json:"file"`
	Number  int       `json:"number,omitempty"` // in an mbox, from 1
	Mailbox string    `json:"mailbox"`
	Kind    string    `json:"kind"`
	Arrived time.Time `json:"arrived"`
	Size    int64     `json:"size"`
	SHA256  string    `json:"sha256"`
	Quoted  int       `json:"quoted_lines,omitempty"`
	Ended   bool      `json:"line_end_added,omitempty"`
}

// The files beside the messages.
const (
	manifestName = "manifest.json"
	sumsName     = "SHA256SUMS"
)

// beside writes the two files beside the messages, and returns the hash of the second.
func (p *part) beside() (sums [sha256.Size]byte, err error) {
	w, err := p.to.create(manifestName)
	if err != nil {
		return sums, err
	}
	out := &counted{w: w, sum: sha256.New()}
	if _, err := fmt.Fprintf(out, "{\"format\":%q,\"messages\":[", p.o.Format); err != nil {
		return sums, err
	}
	number := 0
	for i, r := range p.records {
		number++
		if i == 0 || p.records[i-1].file != r.file {
			number = 1
		}
		l := listed{
			File: p.files[r.file].name, Mailbox: p.boxes[r.box], Kind: r.kind, Arrived: time.Unix(r.arrived, 0).UTC(),
			Size: r.size, SHA256: fmt.Sprintf("%x", r.sum), Quoted: int(r.quoted), Ended: r.ended,
		}
		if p.o.Format == Mbox {
			l.Number = number
		}
		b, err := json.Marshal(l)
		if err != nil {
			return sums, err
		}
		before := ",\n"
		if i == 0 {
			before = "\n"
		}
		if _, err := out.Write(append([]byte(before), b...)); err != nil {
			return sums, err
		}
	}
	if _, err := io.WriteString(out, "\n]}\n"); err != nil {
		return sums, err
	}
	p.files = append(p.files, file{manifestName, out.size, [sha256.Size]byte(out.sum.Sum(nil))})
	if w, err = p.to.create(sumsName); err != nil {
		return sums, err
	}
	all := &counted{w: w, sum: sha256.New()}
	var b bytes.Buffer
	for _, f := range p.files {
		b.Reset()
		fmt.Fprintf(&b, "%x  %s\n", f.sum, f.name)
		if _, err := all.Write(b.Bytes()); err != nil {
			return sums, err
		}
	}
	sums = [sha256.Size]byte(all.sum.Sum(nil))
	p.files = append(p.files, file{sumsName, all.size, sums})
	return sums, nil
}

// finish writes the rest, syncs, reads all back, and gives the part its name.
func (p *part) finish(ctx context.Context) (out Part, err error) {
	p.closeMbox()
	sums, err := p.beside()
	if err != nil {
		return out, err
	}
	if err := p.to.sync(); err != nil {
		return out, err
	}
	out = Part{Path: p.path, Messages: len(p.records), Bytes: p.bytes, SHA256: fmt.Sprintf("%x", sums), Quoted: p.quoted}
	if err := p.readBack(ctx); err != nil {
		return out, fmt.Errorf("read back: %w", err)
	}
	if z, ok := p.to.(*zipFile); ok {
		if out.Bytes, out.SHA256, err = z.whole(ctx); err != nil {
			return out, err
		}
	}
	if err := absent(p.path); err != nil { // a name that came meanwhile
		return out, err
	}
	return out, p.to.rename()
}

// syncDir makes names in a folder durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// hidden is the name of a file before it stands.
func hidden(p string) string {
	return filepath.Join(filepath.Dir(p), "."+path.Base(filepath.ToSlash(p))+".part")
}
