package export

import (
	"archive/zip"
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// target is where the files of a part go. One is written at a time.
type target interface {
	create(name string) (io.Writer, error)
	folder(name string) error
	sync() error // ends the writing
	open(name string) (io.ReadCloser, error)
	rename() error
	abort()
}

// noTime is the time of every entry: the first that a .zip can hold, so that the same
// messages give the same bytes.
func noTime() time.Time { return time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC) }

// zipFile is a .zip.
type zipFile struct {
	path string
	f    *os.File
	buf  *bufio.Writer
	zip  *zip.Writer
	back map[string]*zip.File // after sync
}

func newZipFile(path string) (*zipFile, error) {
	// What a process that was killed left behind is nobody's.
	if err := os.Remove(hidden(path)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	f, err := os.OpenFile(hidden(path), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	z := &zipFile{path: path, f: f, buf: bufio.NewWriterSize(f, 1<<18)}
	z.zip = zip.NewWriter(z.buf)
	return z, nil
}

func (z *zipFile) create(name string) (io.Writer, error) {
	h := &zip.FileHeader{Name: name, Method: zip.Store, Modified: noTime()}
	h.SetMode(0o600)
	return z.zip.CreateHeader(h)
}

func (z *zipFile) folder(name string) error {
	h := &zip.FileHeader{Name: name, Modified: noTime()}
	h.SetMode(os.ModeDir | 0o700)
	_, err := z.zip.CreateHeader(h)
	return err
}

func (z *zipFile) sync() error {
	if err := errors.Join(z.zip.Close(), z.buf.Flush()); err != nil {
		return err
	}
	if err := z.f.Sync(); err != nil {
		return err
	}
	size, err := z.f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	r, err := zip.NewReader(z.f, size)
	if err != nil {
		return err
	}
	z.back = make(map[string]*zip.File, len(r.File))
	for _, f := range r.File {
		z.back[f.Name] = f
	}
	return nil
}

func (z *zipFile) open(name string) (io.ReadCloser, error) {
	f := z.back[name]
	if f == nil {
		return nil, fmt.Errorf("%s is not in it", name)
	}
	return f.Open()
}

// whole gives the size and hash of the file.
func (z *zipFile) whole(ctx context.Context) (int64, string, error) {
	if _, err := z.f.Seek(0, io.SeekStart); err != nil {
		return 0, "", err
	}
	h := sha256.New()
	n, err := io.Copy(h, &interrupted{ctx, z.f})
	return n, fmt.Sprintf("%x", h.Sum(nil)), err
}

func (z *zipFile) rename() error {
	// A link fails where the name is taken; a rename would replace.
	err := os.Link(hidden(z.path), z.path)
	switch {
	case errors.Is(err, os.ErrExist):
		return fmt.Errorf("%s: %w", z.path, ErrExists)
	case err == nil:
		err = os.Remove(hidden(z.path))
	default: // a file system without links
		err = os.Rename(hidden(z.path), z.path)
	}
	return errors.Join(err, syncDir(filepath.Dir(z.path)), z.f.Close())
}

func (z *zipFile) abort() {
	_ = z.f.Close() // what was written does not count
	_ = os.Remove(hidden(z.path))
}

// tree is a folder of files.
type tree struct {
	path string
	root *os.Root // of the hidden folder
	f    *os.File // under way
	buf  *bufio.Writer
	dirs map[string]bool
}

func newTree(path string) (*tree, error) {
	path = filepath.Clean(path)
	if err := os.RemoveAll(hidden(path)); err != nil { // of a process that was killed
		return nil, err
	}
	if err := os.Mkdir(hidden(path), 0o700); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(hidden(path))
	if err != nil {
		return nil, err
	}
	return &tree{path: path, root: root, dirs: map[string]bool{".": true}}, nil
}

func (t *tree) create(name string) (io.Writer, error) {
	if err := t.end(); err != nil {
		return nil, err
	}
	if err := t.folder(filepath.Dir(filepath.FromSlash(name))); err != nil {
		return nil, err
	}
	f, err := t.root.OpenFile(filepath.FromSlash(name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	t.f, t.buf = f, bufio.NewWriter(f)
	return t.buf, nil
}

func (t *tree) folder(name string) error {
	if name = filepath.Clean(name); t.dirs[name] {
		return nil
	}
	if err := t.folder(filepath.Dir(name)); err != nil {
		return err
	}
	t.dirs[name] = true
	return t.root.Mkdir(name, 0o700)
}

// end makes the file under way durable.
func (t *tree) end() error {
	if t.f == nil {
		return nil
	}
	err := errors.Join(t.buf.Flush(), t.f.Sync(), t.f.Close())
	t.f = nil
	return err
}

func (t *tree) sync() error {
	if err := t.end(); err != nil {
		return err
	}
	for dir := range t.dirs {
		d, err := t.root.Open(dir)
		if err != nil {
			return err
		}
		if err := errors.Join(d.Sync(), d.Close()); err != nil {
			return err
		}
	}
	return nil
}

func (t *tree) open(name string) (io.ReadCloser, error) { return t.root.Open(filepath.FromSlash(name)) }

func (t *tree) rename() error {
	err := os.Rename(hidden(t.path), t.path) // over nothing but an empty folder
	return errors.Join(err, syncDir(filepath.Dir(t.path)), t.root.Close())
}

func (t *tree) abort() {
	if t.f != nil {
		_ = t.f.Close() // what was written does not count
	}
	_ = t.root.Close()
	_ = os.RemoveAll(hidden(t.path))
}
