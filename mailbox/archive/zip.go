package archive

import (
	"archive/zip"
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
)

// ratioFrom is how many bytes may be unpacked before Limits.Ratio counts: a
// single drawing of one colour shrinks to a thousandth.
const ratioFrom = 64 << 20

// zip walks over a .zip file in its own order. An error says that the file as a
// whole cannot be read, or no further.
func (w *walk) zip(name string, s *source) error {
	if s.size > w.lim.Total {
		return limitError{w.lim.Total}
	}
	g := &guard{r: s, left: w.lim.Entries}
	zr, err := zip.NewReader(g, s.size)
	switch {
	case g.full:
		return w.tooMany()
	case err != nil && !errors.Is(err, zip.ErrInsecurePath): // no path is ever opened
		return fmt.Errorf("a .zip that cannot be read: %w", err)
	case len(zr.File) > w.lim.Entries:
		return w.tooMany()
	}
	g.off = true
	z := &unzip{w: w, name: name, zip: s, maildir: maildirs(zr.File)}
	end := w.done + s.weight
	for _, f := range zr.File {
		if err := w.ctx.Err(); err != nil {
			return err
		}
		// Entries may claim to be any size; together they are no more than the file.
		z.weight = int64(min(f.CompressedSize64, uint64(end-w.done)))
		after := w.done + z.weight
		if err := z.entry(f); err != nil {
			return err
		}
		w.progress(after - w.done)
	}
	w.progress(end - w.done)
	return nil
}

func (w *walk) tooMany() error {
	return fmt.Errorf("a .zip of more than %d entries", w.lim.Entries)
}

// unzip is a .zip file while it is walked.
type unzip struct {
	w       *walk
	name    string
	zip     *source
	maildir map[string]bool
	total   int64 // unpacked so far
	weight  int64 // progress that the entry stands for
}

// maildirs finds the folders in the archive that are Maildirs.
func maildirs(files []*zip.File) map[string]bool {
	parts := map[string]folderParts{}
	for _, f := range files {
		dir := path.Dir(slashed(f.Name)) // of an entry for a folder itself: that folder
		if p := partOf(path.Base(dir)); p != 0 {
			parts[path.Dir(dir)] |= p
		}
	}
	found := map[string]bool{}
	for dir, p := range parts {
		if p.maildir() {
			found[dir] = true
		}
	}
	return found
}

// entry reads one entry. Its error ends the whole .zip.
func (z *unzip) entry(f *zip.File) error {
	p := slashed(f.Name)
	base, parent := path.Base(p), path.Base(path.Dir(p))
	inMaildir := z.maildir[path.Dir(path.Dir(p))]
	mail := inMaildir && partOf(parent)&(partCur|partNew) != 0
	label := z.name + "/" + strings.TrimPrefix(p, "/")
	switch {
	case strings.HasSuffix(p, "/"), inMaildir && parent == "tmp", strings.HasPrefix(base, "."):
		return nil
	case z.maildir[path.Dir(p)] && !isMessageName(p) && !isZipName(p): // notes of a server beside cur and new
		return nil
	case isZipName(p):
		return z.w.refuse(label, errors.New("an archive inside an archive is not looked into"))
	case f.Mode().Type()&fs.ModeSymlink != 0:
		return z.w.refuse(label, errors.New("a symbolic link that is not followed"))
	case !f.Mode().IsRegular():
		z.w.leaveAside(label)
		return nil
	}
	s, head, err := z.open(f, mail || isMessageName(p))
	var bomb bombError
	switch {
	case errors.As(err, &bomb):
		return err
	case err != nil:
		return z.w.survive(label, err)
	case s == nil:
		z.w.leaveAside(label)
		return nil
	}
	defer s.release() // what was only read has nothing to lose at closing
	if mail {
		return z.w.message(label, s, cameAt(base, f.Modified))
	}
	return z.w.survive(label, z.w.content(label, s, head))
}

// bombError says that a .zip unpacks to more than is reasonable.
type bombError string

func (e bombError) Error() string { return string(e) }

// open unpacks an entry if it holds messages, judged by its first bytes unless
// it is known to be one. Both results are nil if not.
func (z *unzip) open(f *zip.File, known bool) (s *source, head []byte, err error) {
	if f.Flags&1 != 0 {
		return nil, nil, errors.New("encrypted")
	}
	if f.Method != zip.Store && f.Method != zip.Deflate {
		return nil, nil, fmt.Errorf("packed in a way that is not known (method %d)", f.Method)
	}
	rc, err := f.Open()
	if err != nil {
		return nil, nil, unpackError(err)
	}
	defer func() {
		if cerr := rc.Close(); err == nil && cerr != nil {
			err = unpackError(cerr)
		}
	}()
	br := bufio.NewReaderSize(rc, headSize)
	head, err = br.Peek(headSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, unpackError(err)
	}
	head = bytes.Clone(head)
	limit := z.w.lim.Message
	switch looksLike(head) {
	case looksMbox:
		limit = max(limit, z.w.lim.Mailbox)
	case looksMessage:
	default:
		if !known {
			return nil, nil, nil
		}
	}
	if f.UncompressedSize64 > uint64(limit) {
		return nil, nil, limitError{limit}
	}
	left, bomb := z.left()
	s, err = spool(z.w.ctx, br, min(limit, left))
	if errors.As(err, new(limitError)) && left < limit {
		return nil, nil, bomb
	}
	if err != nil {
		return nil, nil, unpackError(err)
	}
	z.total += s.size
	s.weight = z.weight
	return s, head, nil
}

// left gives the bytes that may still be unpacked, and what to say if they do
// not do.
func (z *unzip) left() (int64, bombError) {
	total := bombError(fmt.Sprintf("a .zip that unpacks to more than %d MiB", z.w.lim.Total>>20))
	ratio := bombError(fmt.Sprintf("a .zip that unpacks to more than %d times its size", z.w.lim.Ratio))
	byRatio := int64(ratioFrom)
	if z.zip.size > byRatio/z.w.lim.Ratio {
		byRatio = z.zip.size * z.w.lim.Ratio
	}
	if byRatio < z.w.lim.Total {
		return byRatio - z.total, ratio
	}
	return z.w.lim.Total - z.total, total
}

func unpackError(err error) error {
	switch {
	case errors.Is(err, zip.ErrChecksum):
		return errors.New("damaged: the checksum is wrong")
	case errors.Is(err, zip.ErrFormat), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("damaged: %w", err)
	}
	return err
}

// slashed gives the path of an entry; some programs write backslashes.
func slashed(name string) string { return strings.ReplaceAll(name, `\`, "/") }

// guard counts the entries that the library is about to read, before it makes a
// structure of each: a directory of millions costs more memory than its bytes.
type guard struct {
	r    io.ReaderAt
	left int
	full bool // there were more
	off  bool // the directory was read
}

// directoryMark begins every entry of the directory.
const directoryMark = "PK\x01\x02"

// ReadAt implements io.ReaderAt. The directory is read from front to back.
func (g *guard) ReadAt(p []byte, off int64) (int, error) {
	n, err := g.r.ReadAt(p, off)
	if g.off {
		return n, err
	}
	if g.left -= bytes.Count(p[:n], []byte(directoryMark)); g.left < -directorySlack {
		g.full = true
		return 0, errors.New("too many entries")
	}
	return n, err
}

// directorySlack is how often the mark may be seen beside the entries, when the
// end of the file is searched for the directory.
const directorySlack = 2000
