package archive

import (
	"io"
	"slices"
	"sort"
)

// quote is a line of a message that begins with ">From ".
type quote struct {
	off  int64 // of the first ">" in the message
	deep bool  // more than one ">"
}

// Unquoting is a way to undo what an mbox writer did to lines that look like the
// beginning of the next message.
type Unquoting string

const (
	// Mboxrd takes one ">" from every line that begins with any number of them and
	// "From ".
	Mboxrd Unquoting = "mboxrd"
	// Mboxo takes the ">" from lines that begin with ">From " only.
	Mboxo Unquoting = "mboxo"
)

// Unquotings are the ways that give this message other bytes than the archive
// has: none without quoted lines or with more than 100,000 of them, and one
// where both come to the same.
func (it Item) Unquotings() []Unquoting {
	deep, flat := false, false
	for _, q := range it.quotes {
		deep, flat = deep || q.deep, flat || !q.deep
	}
	switch {
	case deep && flat:
		return []Unquoting{Mboxrd, Mboxo}
	case deep, flat:
		return []Unquoting{Mboxrd}
	}
	return nil
}

// Unquoted reads the message with its quoting undone. It is good until Close.
func (it Item) Unquoted(u Unquoting) (r io.ReaderAt, size int64) {
	g := &gaps{r: it.ReaderAt, size: it.Size}
	for _, q := range it.quotes {
		if u == Mboxrd || !q.deep {
			g.at = append(g.at, q.off)
		}
	}
	g.at = slices.Clip(g.at)
	return g, it.Size - int64(len(g.at))
}

// gaps reads r without the bytes at the offsets given.
type gaps struct {
	r    io.ReaderAt
	size int64   // of r
	at   []int64 // ascending
}

// ReadAt implements io.ReaderAt.
func (g *gaps) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) {
		// The i-th gap stands before what lies at at[i]-i here.
		k := sort.Search(len(g.at), func(i int) bool { return g.at[i]-int64(i) > off })
		from, to := off+int64(k), g.size
		if k < len(g.at) {
			to = g.at[k]
		}
		if from >= g.size {
			return n, io.EOF
		}
		want := int(min(int64(len(p)-n), to-from))
		got, err := g.r.ReadAt(p[n:n+want], from)
		n, off = n+got, off+int64(got)
		if got < want {
			if err == nil {
				err = io.ErrUnexpectedEOF
			}
			return n, err
		}
	}
	return n, nil
}
