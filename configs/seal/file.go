package seal

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/crypto/chacha20poly1305" // see seal.go
)

// A key file is text: lines that begin with # say something to people, each other line is a key, `pecgate-seal-1 ` and 32
// octets in base64. The last key seals, all open.

const (
	mark    = "pecgate-seal-1 "
	maxFile = 64 << 10
	head    = "# Keys of pecgate for what is sealed in policy.yaml. The last one seals, all of them open. Who has this file and\n" +
		"# policy.yaml has every password in it: keep a copy, and keep it apart from those of policy.yaml.\n"
)

// MaxFile is the largest key file, in octets.
const MaxFile = maxFile

// Parse reads the text of a key file. An error names a line and holds nothing of it.
func Parse(text []byte) (*Ring, error) {
	r := &Ring{}
	n := 0
	for line := range bytes.Lines(text) {
		n++
		s := strings.TrimRight(string(line), " \t\r\n")
		if s == "" || s[0] == '#' {
			continue
		}
		b64, ok := strings.CutPrefix(s, mark)
		secret, err := base64.StdEncoding.Strict().DecodeString(b64)
		if !ok || err != nil || len(secret) != chacha20poly1305.KeySize {
			return nil, fmt.Errorf("line %d is not a key that pecgate made", n)
		}
		k, err := newKey(secret)
		if err != nil {
			return nil, err
		}
		for _, other := range r.keys {
			if other.id == k.id {
				return nil, fmt.Errorf("line %d: this key stands there already", n)
			}
		}
		r.keys = append(r.keys, k)
	}
	if len(r.keys) == 0 {
		return nil, errors.New("it holds no key")
	}
	return r, nil
}

// newLine is a new key as a line of a key file.
func newLine() (string, error) {
	secret := make([]byte, chacha20poly1305.KeySize)
	if _, err := rand.Read(secret); err != nil {
		return "", fmt.Errorf("random key: %w", err)
	}
	return mark + base64.StdEncoding.EncodeToString(secret) + "\n", nil
}

// Make writes a key file with one new key, mode 0600. Who may read the file like, which is that of the sealed texts, may
// read it too where like is given to another owner or group by root: root makes the key, and the service opens with it.
// fs.ErrExist where the file is there already: it is left as it is. It waits as Hold does.
func Make(ctx context.Context, file, like string) error {
	h, err := Hold(ctx, file)
	if err != nil {
		return err
	}
	line, err := newLine()
	if err == nil {
		err = write(file, []byte(head+line), like, nil)
	}
	return errors.Join(err, h.Free())
}

// Add is Held.Add for who changes nothing else. It waits as Hold does.
func Add(ctx context.Context, file string) error {
	h, err := Hold(ctx, file)
	if err != nil {
		return err
	}
	return errors.Join(h.Add(), h.Free())
}

// Add appends a new key to the key file, whole or not at all. Owner, group and mode stay.
func (h *Held) Add() error {
	file := h.file
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if _, err := Parse(b); err != nil {
		return err
	}
	line, err := newLine()
	if err != nil {
		return err
	}
	if len(b) > 0 && b[len(b)-1] != '\n' {
		b = append(b, '\n')
	}
	if len(b)+len(line) > maxFile {
		return errors.New("it holds too many keys: take the first ones out")
	}
	return Replace(file, append(bytes.Clone(b), line...), func() error {
		now, err := os.ReadFile(file)
		if err == nil && !bytes.Equal(now, b) { // by hand: an editor does not wait for us
			err = errors.New("it was changed meanwhile, and was left as it is: run this again")
		}
		return err
	})
}

// Replace puts a text in the place of a file, whole or not at all, through symbolic links. Owner, group and mode stay. It
// asks still when all but the last step is done; an error of still leaves the file as it is.
func Replace(file string, text []byte, still func() error) error {
	name, err := filepath.EvalSymlinks(file)
	if err != nil {
		return err
	}
	return write(name, text, name, still)
}

// write makes a file by way of another beside it, so that nobody sees half of it. With still it takes the place of one
// that is there, and has its rights.
func write(name string, text []byte, like string, still func() error) (err error) {
	replace := still != nil
	dir := filepath.Dir(name)
	f, err := os.CreateTemp(dir, "."+filepath.Base(name)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, ignoreGone(f.Close()), ignoreGone(os.Remove(f.Name())))
		}
	}()
	if err := rightsLike(f, like, replace); err != nil {
		return err
	}
	if _, err := f.Write(text); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if replace {
		if err := still(); err != nil {
			return err
		}
		err = os.Rename(f.Name(), name)
	} else if err = os.Link(f.Name(), name); err == nil { // not over another's: two may make it at once
		err = os.Remove(f.Name())
	}
	if err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func ignoreGone(err error) error {
	if errors.Is(err, os.ErrClosed) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// rightsLike gives a new file the owner and group of another, and of its mode what is no right of others: all of it where
// whole, else reading by a group that is not that of this process.
func rightsLike(f *os.File, like string, whole bool) error {
	info, err := os.Stat(like)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) && !whole {
			return nil
		}
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	uid, gid := int(st.Uid), int(st.Gid)
	if uid != os.Geteuid() || gid != os.Getegid() {
		if err := f.Chown(uid, gid); err != nil {
			if !whole { // who is not root keeps it to themselves
				return nil
			}
			return fmt.Errorf("give it the owner that it had: %w", err)
		}
	}
	switch {
	case whole:
		return f.Chmod(info.Mode().Perm())
	case gid != os.Getegid():
		return f.Chmod(0o600 | info.Mode().Perm()&0o040)
	}
	return nil
}
