package archive

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// maxDepth bounds the folders in one another that are looked into.
const maxDepth = 32

// folder walks over a folder. All is opened below root, which lets no symbolic
// link lead out of it.
func (w *walk) folder(name string) error {
	root, err := os.OpenRoot(name)
	if err != nil {
		return bare(err)
	}
	defer root.Close() // nothing was written
	t := &tree{w: w, root: root, name: name}
	// A cur or new that is given by itself is that of a Maildir.
	mail := partOf(filepath.Base(filepath.Clean(name)))&(partCur|partNew) != 0
	if w.o.Progress != nil {
		t.visit = func(_ string, _ bool, st fs.FileInfo) error {
			w.total += st.Size()
			return w.ctx.Err()
		}
		t.quiet = true
		if err := t.dir(".", mail, 0); err != nil {
			return err
		}
	}
	t.visit, t.quiet = t.file, false
	return t.dir(".", mail, 0)
}

// tree is a folder while it is walked.
type tree struct {
	w     *walk
	root  *os.Root
	name  string // as given
	quiet bool   // only count: say nothing of what cannot be read
	// visit is called for every file, its path with slashes. mail says that the
	// place alone makes it a message.
	visit func(p string, mail bool, st fs.FileInfo) error
}

// folderParts are the subfolders of a folder that make it a Maildir.
type folderParts uint8

const (
	partCur folderParts = 1 << iota
	partNew
	partTmp
)

func partOf(name string) folderParts {
	switch name {
	case "cur":
		return partCur
	case "new":
		return partNew
	case "tmp":
		return partTmp
	}
	return 0
}

// maildir allows for one that was copied without its empty folders.
func (p folderParts) maildir() bool { return p&partCur != 0 && p&(partNew|partTmp) != 0 }

func (t *tree) label(p string) string {
	if p == "." {
		return t.name
	}
	return filepath.Join(t.name, filepath.FromSlash(p))
}

func (t *tree) refuse(p string, err error) error {
	if t.quiet {
		return nil
	}
	return t.w.refuse(t.label(p), err)
}

// dir walks over the folder p; mail tells that it is the cur or new of a
// Maildir. Maildir has its messages in cur and new, what is
// being delivered in tmp, notes of the server beside them, and its subfolders
// beside them too: ".Sent" (Maildir++) or "Sent".
func (t *tree) dir(p string, mail bool, depth int) error {
	if depth > maxDepth {
		return t.refuse(p, fmt.Errorf("more than %d folders in one another", maxDepth))
	}
	list, err := t.list(p)
	if err != nil {
		if err := t.refuse(p, err); err != nil {
			return err
		}
	}
	maildir := isMaildir(list)
	for _, e := range list {
		if err := t.w.ctx.Err(); err != nil {
			return err
		}
		at := path.Join(p, e.Name())
		switch {
		case e.IsDir() && maildir && e.Name() == "tmp":
		case e.IsDir():
			err = t.sub(at, maildir && partOf(e.Name()) != 0, depth)
		case strings.HasPrefix(e.Name(), "."), maildir && !isMessageName(at) && !isZipName(at):
		default:
			err = t.leaf(at, mail, e)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// list reads a folder, by name. What was read counts, even with an error.
func (t *tree) list(p string) ([]fs.DirEntry, error) {
	d, err := t.root.Open(filepath.FromSlash(p))
	if err != nil {
		return nil, err
	}
	list, err := d.ReadDir(-1)
	slices.SortFunc(list, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return list, errors.Join(err, d.Close())
}

func isMaildir(list []fs.DirEntry) bool {
	var parts folderParts
	for _, e := range list {
		if e.IsDir() {
			parts |= partOf(e.Name())
		}
	}
	return parts.maildir()
}

// sub walks over a subfolder. A hidden one counts only if it is a Maildir.
func (t *tree) sub(p string, mail bool, depth int) error {
	if strings.HasPrefix(path.Base(p), ".") {
		if list, err := t.list(p); err != nil || !isMaildir(list) {
			return nil
		}
	}
	return t.dir(p, mail, depth+1)
}

// leaf looks at an entry that is no folder.
func (t *tree) leaf(p string, mail bool, e fs.DirEntry) error {
	st, err := t.root.Stat(filepath.FromSlash(p)) // follows a link, but not out of root
	switch {
	case err != nil && e.Type()&fs.ModeSymlink != 0:
		return t.refuse(p, fmt.Errorf("a symbolic link that is not followed: %w", bare(err)))
	case err != nil:
		return t.refuse(p, err)
	case !st.Mode().IsRegular():
		if !t.quiet {
			t.w.leaveAside(t.label(p))
		}
		return nil
	}
	return t.visit(p, mail, st)
}

// file reads the messages of a file in a folder.
func (t *tree) file(p string, mail bool, st fs.FileInfo) error {
	w, label := t.w, t.label(p)
	behind := w.done + st.Size()
	defer func() { w.progress(behind - w.done) }()
	// What was a file a moment ago may be a pipe now, which must not block.
	f, err := t.root.OpenFile(filepath.FromSlash(p), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return w.refuse(label, err)
	}
	if st, err = f.Stat(); err == nil && !st.Mode().IsRegular() {
		err = errors.New("no regular file any more")
	}
	if err != nil {
		return errors.Join(w.refuse(label, err), f.Close())
	}
	s := newSource(f, st.Size(), f.Close)
	defer s.release() // what was only read has nothing to lose at closing
	head, err := s.head()
	if err != nil {
		return w.refuse(label, err)
	}
	l := looksLike(head)
	switch {
	case mail:
		return w.message(label, s, cameAt(path.Base(p), st.ModTime()))
	case l == looksZip && isZipName(p):
		return w.survive(label, w.zip(label, s))
	case l == looksMbox, l == looksMessage, isMessageName(p):
		return w.survive(label, w.content(label, s, head))
	}
	w.leaveAside(label)
	return nil
}

func isZipName(p string) bool     { return strings.EqualFold(path.Ext(p), ".zip") }
func isMessageName(p string) bool { return strings.EqualFold(path.Ext(p), ".eml") }
