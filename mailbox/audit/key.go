package audit

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/note" // signed notes: Ed25519 keys with a name, readable with any Ed25519
)

// ErrKey: the key of the appliance cannot be used.
var ErrKey = errors.New("audit: bad key")

// maxKeyFile bounds the files of keys, in bytes.
const maxKeyFile = 64 << 10

// Key signs tree heads. It stands in a file of mode 0600, which must never be
// copied into a backup, and its public half in a file beside it, which should.
type Key struct {
	signer note.Signer
	public string
	all    []string
	made   bool
}

// OpenKey reads the key in file, or makes one with this name when there is no
// such file. The name is that of the appliance (its host name: no space and no
// plus sign); a key keeps the name it was made with.
//
// file.pub has a line for every public key that was ever made here, the newest
// last: the heads of a lost key are still believed.
//
// Errors: ErrKey when the file is no key, or others may write it or all the
// world may read it.
func OpenKey(file, name string) (*Key, error) {
	k := new(Key)
	secret, err := readKeyFile(file, true)
	if errors.Is(err, fs.ErrNotExist) {
		if secret, _, err = note.GenerateKey(rand.Reader, name); err != nil {
			return nil, fmt.Errorf("make the audit key: %w", err)
		}
		if _, err = note.NewSigner(secret); err != nil {
			return nil, fmt.Errorf("a key cannot be named %q: %w", name, ErrKey)
		}
		k.made, err = true, writeFile(file, []byte(secret+"\n"))
	}
	if err != nil {
		return nil, fmt.Errorf("audit key: %w", err)
	}
	if k.signer, err = note.NewSigner(strings.TrimSuffix(secret, "\n")); err != nil {
		return nil, fmt.Errorf("%s is not a signing key: %w", file, ErrKey) // the cause might show some of it
	}
	if k.public, err = publicOf(k.signer.Name(), strings.TrimSuffix(secret, "\n")); err != nil {
		return nil, fmt.Errorf("%s is not a signing key: %w", file, ErrKey)
	}
	if err := k.publish(file + ".pub"); err != nil {
		return nil, fmt.Errorf("public audit keys: %w", err)
	}
	return k, nil
}

// Public is the public key in one line, as doc.go describes it.
func (k *Key) Public() string { return k.public }

// All are the public keys ever used here, the present one last.
func (k *Key) All() []string { return slices.Clone(k.all) }

// Made tells that the key was made now: worth an entry and a line of the log.
func (k *Key) Made() bool { return k.made }

// publicOf gives the public half of a secret that note has accepted:
// PRIVATE+KEY+name+hash+base64 of a byte for the algorithm and the seed.
func publicOf(name, secret string) (string, error) {
	parts := strings.SplitN(secret, "+", 5) // base64 has plus signs of its own
	seed, err := base64.StdEncoding.DecodeString(parts[len(parts)-1])
	if err != nil || len(seed) != 1+ed25519.SeedSize {
		return "", ErrKey
	}
	pub, _ := ed25519.NewKeyFromSeed(seed[1:]).Public().(ed25519.PublicKey)
	return note.NewEd25519VerifierKey(name, pub)
}

// publish reads the public keys and adds the present one.
func (k *Key) publish(file string) error {
	b, err := readKeyFile(file, false)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for line := range strings.Lines(b) {
		line = strings.TrimSuffix(line, "\n")
		if _, err := note.NewVerifier(line); err != nil {
			return fmt.Errorf("%s has a line that is no public key: %w", file, ErrKey)
		}
		if line != k.public {
			k.all = append(k.all, line)
		}
	}
	k.all = append(k.all, k.public)
	if want := strings.Join(k.all, "\n") + "\n"; b != want {
		return writeFile(file, []byte(want))
	}
	return nil
}

func readKeyFile(file string, secret bool) (string, error) {
	st, err := os.Stat(file)
	if err != nil {
		return "", err
	}
	forbidden := fs.FileMode(0o022)
	if secret {
		forbidden |= 0o004
	}
	switch mode := st.Mode(); {
	case !mode.IsRegular() || st.Size() > maxKeyFile:
		return "", fmt.Errorf("%s is not a file of keys: %w", file, ErrKey)
	case mode.Perm()&forbidden != 0:
		return "", fmt.Errorf("%s has mode %04o, chmod 600 it: %w", file, mode.Perm(), ErrKey)
	}
	b, err := os.ReadFile(file)
	return string(b), err
}

// writeFile makes a file durable under its name, whole or not at all.
func writeFile(file string, b []byte) error {
	tmp := file + ".tmp" // one left by a crash is written over
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, file); err != nil {
		return err
	}
	return syncDir(filepath.Dir(file))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	return errors.Join(err, d.Close())
}

// verifiers makes the set of keys that heads are checked with.
func verifiers(keys []string) (note.Verifiers, error) {
	var list []note.Verifier
	for i, k := range keys {
		if slices.Contains(keys[:i], k) {
			continue
		}
		v, err := note.NewVerifier(k)
		if err != nil {
			return nil, fmt.Errorf("public key %q: %w: %w", k, err, ErrKey)
		}
		list = append(list, v)
	}
	return note.VerifierList(list...), nil
}
