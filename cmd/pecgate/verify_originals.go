package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"pecgate/mailbox/pec"
)

// recoveredEnd ends the name of every file that --originals writes.
const recoveredEnd = ".recovered.eml"

// originals is the folder of --originals: the messages as their senders submitted
// them, recovered from what providers made of them. A file bears the SHA-256 of
// its bytes as name, so what a message says of itself never names one, and the
// receipts of several recipients give one file. Nothing there is overwritten.
type originals struct {
	dir  string   // as given
	root *os.Root // whoever opens it closes it

	mu    sync.Mutex // held while a file is written: two messages may give the same
	there map[[sha256.Size]byte]bool
}

// openOriginals opens or makes the folder, which must not lie in one that is
// read: what is written would be found there.
func openOriginals(dir string, files []string) (*originals, error) {
	if dir == "" {
		return nil, errors.New("--originals needs a folder")
	}
	inside, err := liesIn(dir, files)
	if err != nil {
		return nil, fmt.Errorf("--originals: %w", err)
	}
	if inside != "" {
		return nil, fmt.Errorf("--originals %s lies in %s, which is read: it needs a folder outside", dir, inside)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("--originals: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("--originals: %w", err)
	}
	return &originals{dir: dir, root: root, there: map[[sha256.Size]byte]bool{}}, nil
}

// liesIn gives the first of the folders that dir is or lies in, or "".
func liesIn(dir string, folders []string) (string, error) {
	at, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	for ; ; at = filepath.Dir(at) { // what is not there yet lies where its parent does
		real, err := filepath.EvalSymlinks(at)
		if err == nil {
			at = real
			break
		}
		if !errors.Is(err, fs.ErrNotExist) || at == filepath.Dir(at) {
			return "", err
		}
	}
	for ; ; at = filepath.Dir(at) {
		up, err := os.Stat(at)
		if err != nil {
			return "", err
		}
		for _, f := range folders {
			if st, err := os.Stat(f); err == nil && st.IsDir() && os.SameFile(st, up) {
				return f, nil
			}
		}
		if at == filepath.Dir(at) {
			return "", nil
		}
	}
}

// original is what became of the original of one message: recovered, or the
// reason why not. With neither none was to be expected.
type original struct {
	*recovered
	none string
	err  error // it could not be written
}

// recovered is an original that lies in its file.
type recovered struct {
	File    string   `json:"file"`
	SHA256  string   `json:"sha256"`
	Size    int64    `json:"size"`
	MsgID   string   `json:"msgid"`   // the client's, put back
	Dropped []string `json:"dropped"` // fields of the provider, taken out
	Added   []string `json:"added"`   // fields that providers are known to add, left inside
	Assumed []string `json:"assumed"` // never empty
}

// save writes the original of the message in r, if it carries one and its
// signature is good.
func (o *originals) save(ctx context.Context, r io.ReaderAt, rep *pec.Report) (got original) {
	if rep.Kind != pec.Transport && rep.Kind != pec.Delivery {
		return original{}
	}
	if got.none = noOriginal(rep); got.none != "" {
		return got
	}
	from, err := pec.Original(r, rep.Inner)
	if errors.Is(err, pec.ErrNoOriginal) {
		return original{none: "the message inside cannot be read as it is"}
	}
	if err != nil {
		return original{err: err}
	}
	h := sha256.New()
	lf := &lineEnds{}
	if _, err := io.Copy(io.MultiWriter(h, lf), &untilDone{ctx, from.Reader()}); err != nil {
		return original{err: err}
	}
	sum := [sha256.Size]byte(h.Sum(nil))
	name := hex.EncodeToString(sum[:]) + recoveredEnd
	if err := o.write(ctx, name, sum, from); err != nil {
		return original{err: err}
	}
	rec := &recovered{File: filepath.Join(o.dir, name), SHA256: hex.EncodeToString(sum[:]), Size: from.Size, MsgID: from.MessageID,
		Dropped: from.Dropped, Added: from.Added, Assumed: from.Assumed}
	if lf.bare && !lf.crlf {
		rec.Assumed = append(rec.Assumed, "lines end in LF as in the file that was read; mail has CRLF")
	}
	return original{recovered: rec}
}

// noOriginal says why an envelope or delivery receipt gives no original.
func noOriginal(rep *pec.Report) string {
	switch {
	case !proven(rep):
		return "its signature is not known to be good"
	case rep.Kind == pec.Delivery && rep.Receipt == pec.Brief:
		return "a brief receipt has hashes in place of the attachments"
	case rep.Kind == pec.Delivery && rep.Receipt == pec.Synthetic:
		return "a synthetic receipt does not carry the message"
	case rep.Kind == pec.Delivery && rep.Receipt != pec.Complete:
		return "the receipt does not say that it is complete"
	case rep.Inner == nil, rep.Inner.Size == 0 && rep.Inner.Encoding == "":
		return "there is no message inside"
	}
	return ""
}

// write makes the file name with the bytes of from, whose sum was taken, or
// finds it made.
func (o *originals) write(ctx context.Context, name string, sum [sha256.Size]byte, from *pec.Recovered) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.there[sum] {
		return nil
	}
	f, err := o.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	switch {
	case errors.Is(err, fs.ErrExist):
		err = o.check(ctx, name, sum)
	case err == nil:
		h := sha256.New()
		_, err = io.Copy(io.MultiWriter(f, h), &untilDone{ctx, from.Reader()})
		if err == nil {
			err = sameSum(h, sum, "the file that is read changed meanwhile")
		}
		if err = errors.Join(err, f.Close()); err != nil {
			err = errors.Join(err, o.root.Remove(name)) // no half of it
		}
	}
	if err == nil {
		o.there[sum] = true
	}
	return err
}

// check reads a file that was there before.
func (o *originals) check(ctx context.Context, name string, sum [sha256.Size]byte) error {
	other := name + " is there already and holds something else"
	if st, err := o.root.Lstat(name); err != nil || !st.Mode().IsRegular() {
		return errors.Join(err, errors.New(other))
	}
	f, err := o.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close() // nothing was written
	h := sha256.New()
	if _, err := io.Copy(h, &untilDone{ctx, f}); err != nil {
		return err
	}
	return sameSum(h, sum, other)
}

func sameSum(h hash.Hash, sum [sha256.Size]byte, otherwise string) error {
	if !bytes.Equal(h.Sum(nil), sum[:]) {
		return errors.New(otherwise)
	}
	return nil
}

// lineEnds learns from what is written to it how its lines end.
type lineEnds struct {
	cr         bool // the last byte
	bare, crlf bool
}

func (l *lineEnds) Write(p []byte) (int, error) {
	for rest := p; !l.crlf; {
		i := bytes.IndexByte(rest, '\n')
		if i < 0 {
			break
		}
		if i > 0 {
			l.cr = rest[i-1] == '\r'
		}
		l.crlf, l.bare = l.crlf || l.cr, l.bare || !l.cr
		l.cr, rest = false, rest[i+1:]
	}
	if len(p) > 0 {
		l.cr = p[len(p)-1] == '\r'
	}
	return len(p), nil
}

// untilDone reads until ctx ends.
type untilDone struct {
	ctx context.Context
	r   io.Reader
}

func (u *untilDone) Read(p []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.r.Read(p)
}
