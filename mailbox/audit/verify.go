package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"golang.org/x/mod/sumdb/tlog" // the Merkle tree of RFC 6962 and its proofs, as small as it can be

	"pecgate/mailbox/kv"
)

// chunk is how many entries are read at a time.
const chunk = 1024

// Verify checks the whole log: every text against its leaf and its form, the
// chain from entry to entry, every node of the tree, that numbers have no gap
// and no double, that texts went only by a removal that the log names, every
// signed head against the tree, and the file of heads against the records. A
// clock that went back is a finding, no fault.
//
// It reads one state of the store; the appliance may go on. progress, which
// may be nil, is called now and then with the entries checked and, as far as
// known, their whole number. The error is one of reading; faults are in the
// report.
func (l *Log) Verify(ctx context.Context, s Store, progress func(done, total int64)) (*Report, error) {
	// The file first, and no head meanwhile: else it knows more than the state.
	l.mu.Lock()
	unlock := sync.OnceFunc(l.mu.Unlock)
	defer unlock()
	var file *[]string
	if l.opt.File != "" {
		notes, err := readHeads(l.opt.File)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("read the file of heads: %w", err)
		}
		if err == nil {
			file = &notes
		}
	}
	var report *Report
	err := s.View(ctx, func(r kv.Reader) (err error) {
		unlock()
		report, err = l.verify(ctx, r, file, progress)
		return err
	})
	return report, err
}

// check is one run of Verify.
type check struct {
	*Report
	l        *Log
	ctx      context.Context
	r        kv.Reader
	progress func(done, total int64)
	st       state
	counted  bool    // there is a state
	heads    []claim // by size
	strayed  bool    // the newest head that was compared does not fit

	next  int64       // number of the entry that comes next
	last  *tlog.Hash  // leaf of the entry before it; nil if unknown
	edge  []tlog.Hash // roots of the complete subtrees so far, the largest first
	lost  bool        // a leaf is unknown, and so the tree from there on
	gone  []run       // entries without a text
	told  []run       // entries whose text a removal names
	stood []run       // entries with a text
}

// verify is Verify with the notes of the file of heads; nil if it is missing.
func (l *Log) verify(ctx context.Context, r kv.Reader, file *[]string, progress func(done, total int64)) (*Report, error) {
	if progress == nil {
		progress = func(int64, int64) {}
	}
	c := &check{Report: &Report{Faults: []Note{}, Findings: []Note{}}, l: l, ctx: ctx, r: r, progress: progress}
	b, err := r.Get(l.prefix[kindState])
	if err != nil && !errors.Is(err, kv.ErrNotFound) {
		return nil, err
	}
	if err == nil {
		if c.st, err = parseState(b); err != nil {
			c.fault(0, "the state of the log is malformed")
		}
		c.counted = err == nil
	}
	if err := c.readHeads(file); err != nil {
		return nil, err
	}
	if err := c.entries(); err != nil {
		return nil, err
	}
	c.end()
	return c.Report, nil
}

// record is a record of a numbered kind.
type record struct {
	n     int64
	value []byte
}

// read gives up to max records of a kind from a number on and below another.
// Keys that are none of the log's are seen in the gap where they stand.
func (c *check) read(kind byte, from, below int64, max int) (out []record, err error) {
	behind := func(n int64) []byte { return append(c.l.key(kind, n), 0) }
	var start, stop []byte
	if from > 0 {
		start = behind(from - 1)
	}
	if below < maxSize {
		stop = behind(below - 1)
	}
	err = c.r.Scan(c.l.prefix[kind], start, func(k, v []byte) (bool, error) {
		if stop != nil && bytes.Compare(k, stop) >= 0 {
			return false, nil
		}
		n, ok := c.l.number(kind, k)
		if !ok {
			at := from
			if len(out) > 0 {
				at = out[len(out)-1].n + 1
			}
			c.fault(at, "a record that is none of the log's stands at number %d", at)
			return true, nil
		}
		out = append(out, record{n, bytes.Clone(v)})
		return len(out) < max, nil
	})
	return out, err
}

// entries goes through hashes and texts side by side.
func (c *check) entries() error {
	for from := int64(0); ; {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		hashes, err := c.read(kindHash, from, maxSize, chunk)
		if err != nil {
			return err
		}
		below := int64(maxSize)
		if len(hashes) == chunk {
			below = hashes[chunk-1].n + 1
		}
		texts, err := c.read(kindEntry, from, below, 2*chunk)
		if err != nil {
			return err
		}
		if len(texts) == 2*chunk { // more texts than hashes: the rest comes later
			below = texts[len(texts)-1].n + 1
		}
		if len(hashes) == 0 && len(texts) == 0 {
			return nil
		}
		for len(hashes) > 0 && hashes[0].n < below || len(texts) > 0 {
			var h, t []byte
			n := int64(maxSize)
			if len(hashes) > 0 && hashes[0].n < below {
				n = hashes[0].n
			}
			if len(texts) > 0 {
				n = min(n, texts[0].n)
			}
			if len(hashes) > 0 && hashes[0].n == n {
				h, hashes = hashes[0].value, hashes[1:]
			}
			if len(texts) > 0 && texts[0].n == n {
				t, texts = texts[0].value, texts[1:]
			}
			c.entry(n, h, t)
		}
		if below == maxSize {
			return nil
		}
		from = below
		c.progress(c.Size, max(c.st.size, c.Size))
	}
}

// entry checks one entry; hashes or text may be nil, not both.
func (c *check) entry(n int64, hashes, text []byte) {
	c.headsHere()
	if n > c.next {
		c.fault(c.next, "%s: nothing is there", span(c.next, n-1))
		c.lost, c.last = true, nil
	}
	c.next = n + 1
	c.Size++
	var own, at *tlog.Hash // the leaf by the text, and the one that stands
	if text != nil {
		c.Texts++
		c.stood = grow(c.stood, n)
		own = c.text(n, text)
	} else {
		c.gone = grow(c.gone, n)
	}
	switch {
	case len(hashes) >= tlog.HashSize:
		at = new(tlog.Hash)
		copy(at[:], hashes)
		if own != nil && *at != *own {
			c.fault(n, "entry %d: the text does not match its leaf", n)
		}
	case hashes == nil:
		c.fault(n, "entry %d: its hashes are missing", n)
		at = own
	default:
		c.fault(n, "entry %d: its hashes are malformed", n)
		at = own
	}
	c.tree(n, at, hashes)
	c.last = at
}

// text checks a text by itself and against the entry before it. It gives the
// leaf that it makes; nil if it is too short for one.
func (c *check) text(n int64, record []byte) *tlog.Hash {
	if len(record) < saltSize {
		c.fault(n, "entry %d: the text is malformed", n)
		return nil
	}
	own := leaf(record[:saltSize], record[saltSize:])
	w, err := parse(record[saltSize:])
	if err != nil {
		c.fault(n, "entry %d: the text is malformed: %v", n, err)
		return &own
	}
	if w.N != n {
		c.fault(n, "entry %d: the text is that of entry %d", n, w.N)
	}
	prev, known := "", n == 0
	if n > 0 && c.last != nil {
		prev, known = c.last.String(), true
	}
	if known && w.Prev != prev {
		c.fault(n, "entry %d: it does not follow the entry before it, one of the two was changed", n)
	}
	if c.From.IsZero() {
		c.From = w.Entry.At
	} else if w.Entry.At.Before(c.To) {
		c.finding(n, "entry %d: the clock went back by %s", n, c.To.Sub(w.Entry.At))
	}
	c.To = w.Entry.At
	if w.Event == removal {
		list, err := parseRuns(w.More[numbersKey], n)
		if err != nil {
			c.fault(n, "entry %d: the list of removed texts is malformed", n)
		}
		c.told = append(c.told, list...)
	}
	return &own
}

// tree adds a leaf and compares the nodes that it completes.
func (c *check) tree(n int64, at *tlog.Hash, stored []byte) {
	if c.lost = c.lost || at == nil; c.lost {
		return
	}
	h, rest := *at, stored
	compare := func(level int) {
		if len(stored) < tlog.HashSize { // said before
			return
		}
		if len(rest) < tlog.HashSize || !bytes.Equal(rest[:tlog.HashSize], h[:]) {
			c.fault(n, "entry %d: the tree's hash at level %d does not fit", n, level)
		}
		rest = rest[min(len(rest), tlog.HashSize):]
	}
	compare(0)
	level := 0
	for i := n; i&1 == 1; i >>= 1 {
		level++
		h = tlog.NodeHash(c.edge[len(c.edge)-1], h)
		c.edge = c.edge[:len(c.edge)-1]
		compare(level)
	}
	c.edge = append(c.edge, h)
	if len(rest) > 0 {
		c.fault(n, "entry %d: there are more hashes than it has", n)
	}
}

// root is that of the tree so far.
func (c *check) root() tlog.Hash {
	if len(c.edge) == 0 {
		h, _ := tlog.TreeHash(0, nil) // reads nothing for no entries
		return h
	}
	h := c.edge[len(c.edge)-1]
	for i := len(c.edge) - 2; i >= 0; i-- {
		h = tlog.NodeHash(c.edge[i], h)
	}
	return h
}

// end checks what is known only when all was seen.
func (c *check) end() {
	c.headsHere()
	c.headsBehind()
	if !c.lost {
		c.Root = c.root()
	}
	switch {
	case !c.counted && c.Size == 0 && c.Heads == 0 && c.Faulty == 0: // nothing was ever logged
	case !c.counted:
		c.fault(c.next, "the count of entries is missing")
	case c.st.size > c.next:
		c.fault(c.next, "%s: missing at the end, the log counted %d entries", span(c.next, c.st.size-1), c.st.size)
	case c.st.size < c.next:
		c.fault(c.st.size, "%s: behind the end, the log counted %d entries", span(c.st.size, c.next-1), c.st.size)
	case c.last != nil && *c.last != c.st.last:
		c.fault(c.next-1, "entry %d: it is not the last one that was appended", c.next-1)
	case c.next == 0 && c.st.last != tlog.Hash{}:
		c.fault(0, "the state of the log is malformed")
	}
	told := join(c.told)
	c.Removed = c.Size - c.Texts
	for _, r := range without(c.gone, told) {
		c.fault(r.first, "%s: the text is missing and no removal names it", span(r.first, r.last))
		c.Removed -= r.last - r.first + 1
	}
	for _, r := range without(told, without(told, c.stood)) { // told and stood
		c.finding(r.first, "%s: the text was removed and is there", span(r.first, r.last))
	}
	c.progress(c.Size, c.Size)
}

// grow adds a number that is above all others.
func grow(list []run, n int64) []run {
	if last := len(list) - 1; last >= 0 && list[last].last+1 == n {
		list[last].last = n
		return list
	}
	return append(list, run{n, n})
}

func span(first, last int64) string {
	if first == last {
		return fmt.Sprintf("entry %d", first)
	}
	return fmt.Sprintf("entries %d to %d", first, last)
}
