package audit

import (
	"cmp"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/tlog" // the Merkle tree of RFC 6962 and its proofs, as small as it can be
)

// claim is what a signed head says of the log.
type claim struct {
	number, size int64
	root         tlog.Hash
	file         bool // only the file of heads has it
}

// readHeads checks the signed heads by themselves, those of the records and
// those of the file, and keeps what they say for when its entry comes.
func (c *check) readHeads(file *[]string) error {
	notes := map[int64]string{} // of the records
	var next, size int64
	var at time.Time
	var before Head
	for {
		list, err := c.read(kindHead, next, maxSize, chunk)
		if err != nil {
			return err
		}
		for _, rec := range list {
			if rec.n > next {
				c.fault(size, "heads %d to %d are missing", next, rec.n-1)
			}
			if c.counted && rec.n >= c.st.heads {
				c.fault(size, "head %d stands behind the last one, the log counted %d heads", rec.n, c.st.heads)
			}
			next = rec.n + 1
			notes[rec.n] = string(rec.value)
			h, err := openHead(string(rec.value), c.l.known)
			if err == nil && h.Number != rec.n {
				err = ErrHead
			}
			if err != nil {
				c.fault(size, "head %d is not good: %v", rec.n, err)
				continue
			}
			if h.Size < size {
				c.fault(h.Size, "head %d signs %d entries, one before it %d", h.Number, h.Size, size)
			}
			if before.key != "" && h.key != before.key {
				c.finding(size, "from head %d on another key signs: %s, up to head %d it was %s; "+
					"so it is where a backup was restored or the key was lost, both keys are in the file of public keys", h.Number, h.key, before.Number, before.key)
			}
			before = h
			if h.At.Before(at) {
				c.finding(h.Size, "head %d: the clock went back by %s", h.Number, at.Sub(h.At))
			}
			size, at = max(size, h.Size), h.At
			c.heads = append(c.heads, claim{h.Number, h.Size, h.Root, false})
		}
		if len(list) < chunk {
			break
		}
	}
	if c.counted && next < c.st.heads {
		c.fault(size, "heads %d to %d are missing, the log counted %d", next, c.st.heads-1, c.st.heads)
	}
	c.headFile(file, notes, size)
	slices.SortStableFunc(c.heads, func(a, b claim) int { return cmp.Compare(a.size, b.size) })
	return nil
}

// headFile holds the file of heads against the heads of the records.
func (c *check) headFile(file *[]string, notes map[int64]string, size int64) {
	if c.l.opt.File == "" {
		return
	}
	if file == nil {
		if len(notes) > 0 {
			c.fault(size, "the file of heads is missing")
		}
		return
	}
	for i, text := range *file {
		if kept, ok := notes[int64(i)]; ok && kept == text {
			c.InFile++
			continue
		}
		h, err := openHead(text, c.l.known)
		if err != nil {
			c.fault(size, "line %d of the file of heads is not good: %v", i+1, err)
			continue
		}
		if h.Number != int64(i) {
			c.fault(h.Size, "line %d of the file of heads is head %d", i+1, h.Number)
			continue
		}
		c.fault(h.Size, "head %d of the file of heads is not in the records: they were rolled back or changed", h.Number)
		c.heads = append(c.heads, claim{h.Number, h.Size, h.Root, true})
	}
	if n := len(*file); n < len(notes) {
		c.finding(size, "the file of heads ends after %d heads of %d", n, len(notes))
	}
}

// headsHere compares the heads over exactly the entries seen so far.
func (c *check) headsHere() {
	for len(c.heads) > 0 && c.heads[0].size <= c.next {
		h := c.heads[0]
		c.heads = c.heads[1:]
		switch {
		case c.lost: // there is nothing to compare with
		case c.root() == h.root:
			c.Covered, c.strayed = h.size, false
			if !h.file {
				c.Heads++
			}
		case c.strayed: // said once
		case c.Covered == h.size:
			c.fault(h.size, "head %d signs another log than a head before it", h.number)
			c.strayed = true
		default:
			at := c.Covered
			for _, f := range c.Faults { // one that is known between the two heads says where
				if f.Entry >= c.Covered && f.Entry < h.size {
					at = f.Entry
					break
				}
			}
			c.fault(at, "%s: not all are as head %d signed them", span(c.Covered, h.size-1), h.number)
			c.strayed = true
		}
	}
}

// headsBehind tells of heads over more entries than there are.
func (c *check) headsBehind() {
	for _, h := range c.heads {
		c.fault(c.next, "%s: missing, head %d signs %d entries", span(c.next, h.size-1), h.number, h.size)
	}
}
