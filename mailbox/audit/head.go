package audit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note" // signed notes: a text, and a line per Ed25519 signature
	"golang.org/x/mod/sumdb/tlog" // the Merkle tree of RFC 6962 and its proofs, as small as it can be

	"pecgate/mailbox/kv"
)

// ErrHead: a note that is not a tree head signed by a known key.
var ErrHead = errors.New("audit: not a signed tree head")

const maxNote = 4 << 10 // bytes of a signed head

// Head is a signed tree head: so many entries with this root stood in the log
// at this time.
type Head struct {
	Name   string // of the key, and so of the log
	Number int64  // heads count from 0
	Size   int64  // entries
	Root   tlog.Hash
	At     time.Time
	Note   string // the signed note, from which all the rest is read

	key string // which signed it: name and hash
}

// OpenHead reads a signed note. It is believed if one of these public keys
// (as Key.Public writes them) signed it. Errors: ErrHead, ErrKey.
func OpenHead(text string, keys ...string) (Head, error) {
	known, err := verifiers(keys)
	if err != nil {
		return Head{}, err
	}
	return openHead(text, known)
}

func openHead(text string, known note.Verifiers) (h Head, err error) {
	if len(text) > maxNote {
		return h, fmt.Errorf("a note of %d bytes: %w", len(text), ErrHead)
	}
	n, err := note.Open([]byte(text), known)
	var unknown *note.UnverifiedNoteError
	var invalid *note.InvalidSignatureError
	switch {
	case errors.As(err, &unknown):
		return h, fmt.Errorf("its key is not known: %w", ErrHead)
	case errors.As(err, &invalid):
		return h, fmt.Errorf("its signature is not valid: %w", ErrHead)
	case err != nil:
		return h, fmt.Errorf("not a signed note: %w", ErrHead)
	}
	if h, err = parseHead(n.Text); err != nil {
		return h, err
	}
	for _, s := range n.Sigs {
		if s.Name == h.Name {
			h.Note, h.key = text, keyName(s.Name, s.Hash)
			return h, nil
		}
	}
	return h, fmt.Errorf("it was signed for another log: %w", ErrHead)
}

// keyName is the beginning of a public key as Key.Public writes it: enough to
// tell one from another.
func keyName(name string, hash uint32) string { return fmt.Sprintf("%s+%08x", name, hash) }

// headText is the text of a head; see doc.go.
func headText(h Head) string {
	return fmt.Sprintf("%s\n%d\n%s\ntime %s\nhead %d\n", h.Name, h.Size, h.Root, h.At.Format(timeLayout), h.Number)
}

func parseHead(text string) (h Head, err error) {
	lines := strings.Split(text, "\n")
	if len(lines) != 6 {
		return h, fmt.Errorf("a head of %d lines: %w", len(lines)-1, ErrHead)
	}
	at, hasTime := strings.CutPrefix(lines[3], "time ")
	number, hasNumber := strings.CutPrefix(lines[4], "head ")
	h.Name = lines[0]
	var errs [4]error
	h.Size, errs[0] = strconv.ParseInt(lines[1], 10, 64)
	h.Root, errs[1] = tlog.ParseHash(lines[2])
	h.At, errs[2] = time.Parse(timeLayout, at)
	h.Number, errs[3] = strconv.ParseInt(number, 10, 64)
	if !hasTime || !hasNumber || errors.Join(errs[:]...) != nil || headText(h) != text ||
		h.Size < 0 || h.Size > maxSize || h.Number < 0 || h.Number > maxSize {
		return Head{}, fmt.Errorf("a malformed head: %w", ErrHead)
	}
	return h, nil
}

// Start compares the file of heads with the records, so that a log that was
// rolled back or cut is found before anything is added to it, and writes into
// the file what a crash kept from it. It reads the newest head only: Verify
// checks all. Without a file it does nothing.
//
// Errors: ErrRolledBack, ErrHeadsMissing, ErrDamaged, ErrHead.
func (l *Log) Start(ctx context.Context, s Store) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.start(ctx, s)
}

func (l *Log) start(ctx context.Context, s Store) error {
	if l.started || l.opt.File == "" {
		l.started = true
		return nil
	}
	notes, err := readHeads(l.opt.File)
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		return fmt.Errorf("read the file of heads: %w", err)
	}
	err = s.View(ctx, func(r kv.Reader) error {
		st, err := l.state(r)
		switch {
		case err != nil:
			return err
		case missing && st.heads > 0:
			return fmt.Errorf("%s: %w", l.opt.File, ErrHeadsMissing)
		case len(notes) == 0:
			return nil
		}
		return l.compare(r, st, notes)
	})
	if err != nil {
		return err
	}
	if missing {
		if err := makeHeads(l.opt.File, nil); err != nil {
			return fmt.Errorf("make the file of heads: %w", err)
		}
	}
	l.inFile = int64(len(notes))
	if err := l.catchUp(ctx, s); err != nil {
		return err
	}
	l.started = true
	return nil
}

// compare holds the newest head of the file against the records.
func (l *Log) compare(r kv.Reader, st state, notes []string) error {
	h, err := openHead(notes[len(notes)-1], l.known)
	if err != nil {
		return fmt.Errorf("line %d of the file of heads: %w", len(notes), err)
	}
	switch {
	case h.Number != int64(len(notes))-1:
		return fmt.Errorf("line %d of the file of heads is head %d: %w", len(notes), h.Number, ErrRolledBack)
	case st.size < h.Size || st.heads <= h.Number:
		return fmt.Errorf("%d entries and %d heads are there, the file of heads counted %d and %d: %w",
			st.size, st.heads, h.Size, h.Number+1, ErrRolledBack)
	}
	root, err := l.root(r, h.Size)
	if err != nil {
		return err
	}
	if root != h.Root {
		return fmt.Errorf("the first %d entries are not those of head %d: %w", h.Size, h.Number, ErrRolledBack)
	}
	return nil
}

// catchUp writes into the file the heads that only the records have.
func (l *Log) catchUp(ctx context.Context, s Store) error {
	for {
		var notes []string
		err := s.View(ctx, func(r kv.Reader) error {
			notes = nil
			return r.Scan(l.prefix[kindHead], l.key(kindHead, l.inFile), func(k, v []byte) (bool, error) {
				n, ok := l.number(kindHead, k)
				if !ok || n != l.inFile+int64(len(notes)) {
					return false, fmt.Errorf("head %d is missing: %w", l.inFile+int64(len(notes)), ErrDamaged)
				}
				notes = append(notes, string(v))
				return len(notes) < 1000, nil
			})
		})
		if err != nil || len(notes) == 0 {
			return err
		}
		if err := addHeads(l.opt.File, notes); err != nil {
			l.started = false // some lines may stand there: to be read anew
			return fmt.Errorf("write the file of heads: %w", err)
		}
		l.inFile += int64(len(notes))
	}
}

// Renew writes the file of heads anew from the records: for a restored backup,
// whose records are older by intent, after a person has looked. The file that
// was there is kept beside it, named with the time.
func (l *Log) Renew(ctx context.Context, s Store) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.opt.File == "" {
		return nil
	}
	l.inFile, l.started = 0, false
	old := l.opt.File + "." + l.opt.Now().UTC().Format("20060102T150405.000000Z")
	if err := os.Rename(l.opt.File, old); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("keep the old file of heads: %w", err)
	}
	if err := makeHeads(l.opt.File, nil); err != nil {
		return fmt.Errorf("make the file of heads: %w", err)
	}
	if err := l.catchUp(ctx, s); err != nil {
		return err
	}
	l.started = true
	return nil
}

// Head signs the tree as it stands, keeps the head in the records and then in
// the file. When nothing was added since the newest head, that one is the
// answer. It calls Start if nobody has. Errors: those of Start and of s, ErrKey.
func (l *Log) Head(ctx context.Context, s Store) (Head, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.opt.Key == nil {
		return Head{}, fmt.Errorf("there is no key to sign with: %w", ErrKey)
	}
	if err := l.start(ctx, s); err != nil {
		return Head{}, err
	}
	var h Head
	err := s.Update(ctx, func(tx kv.Txn) (err error) { h, err = l.sign(tx); return err })
	if err != nil {
		return Head{}, err
	}
	if l.opt.File != "" {
		// The file comes second: it may never know of a head that no record has.
		if err := l.catchUp(ctx, s); err != nil {
			return Head{}, err
		}
	}
	return h, nil
}

func (l *Log) sign(tx kv.Txn) (Head, error) {
	st, err := l.state(tx)
	if err != nil {
		return Head{}, err
	}
	if st.heads > 0 {
		b, err := tx.Get(l.key(kindHead, st.heads-1))
		if err != nil {
			return Head{}, fmt.Errorf("read head %d: %w", st.heads-1, err)
		}
		// Another key, or damage, is no reason not to sign: Verify will name it.
		if h, err := OpenHead(string(b), l.opt.Key.public); err == nil && h.Size == st.size {
			return h, nil
		}
	}
	signer := l.opt.Key.signer
	h := Head{key: keyName(signer.Name(), signer.KeyHash()), Name: signer.Name(), Number: st.heads, Size: st.size, At: l.opt.Now().UTC().Truncate(time.Microsecond)}
	if h.Root, err = l.root(tx, st.size); err != nil {
		return Head{}, err
	}
	b, err := note.Sign(&note.Note{Text: headText(h)}, l.opt.Key.signer)
	if err != nil {
		return Head{}, fmt.Errorf("sign the head: %w", err)
	}
	h.Note = string(b)
	at := l.key(kindHead, h.Number)
	if _, err := tx.Get(at); !errors.Is(err, kv.ErrNotFound) {
		if err == nil {
			err = fmt.Errorf("head %d is there already: %w", h.Number, ErrDamaged)
		}
		return Head{}, err
	}
	st.heads++
	if err := tx.Put(at, b); err != nil {
		return Head{}, err
	}
	return h, tx.Put(l.prefix[kindState], st.bytes())
}

// Newest is the newest head in the records; kv.ErrNotFound if none was signed.
func (l *Log) Newest(r kv.Reader) (Head, error) {
	st, err := l.state(r)
	if err != nil {
		return Head{}, err
	}
	if st.heads == 0 {
		return Head{}, fmt.Errorf("no head was signed yet: %w", kv.ErrNotFound)
	}
	b, err := r.Get(l.key(kindHead, st.heads-1))
	if err != nil {
		return Head{}, err
	}
	return openHead(string(b), l.known)
}
