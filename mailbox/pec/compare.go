package pec

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"pecgate/mailbox/mime"
)

// Likeness says how like two messages are.
type Likeness string

const (
	LikeSame    Likeness = "same"    // nothing differs but what a provider may change
	LikeHeader  Likeness = "header"  // the content is the same, header fields differ
	LikeBody    Likeness = "body"    // the content differs
	LikeUnknown Likeness = "unknown" // they cannot be compared
)

// Comparison is what comparing our own copy of a message with what a provider
// carried shows.
type Comparison struct {
	Likeness Likeness `json:"likeness"`
	// Differences are short sentences, at most maxDifferences. A "same" may have
	// some that change nothing, such as other line ends.
	Differences []string `json:"differences"`
	// BriefBy says over which bytes of an attachment the hashes of a brief receipt
	// were made: RFC 6109 leaves it open in practice. Empty without hashes.
	BriefBy string `json:"brief_by,omitempty"`
}

// maxDifferences bounds Comparison.Differences.
const maxDifferences = 50

// differ lowers the likeness to at most l and says why.
func (c *Comparison) differ(l Likeness, why string) {
	rank := func(l Likeness) int { return slices.Index([]Likeness{LikeSame, LikeHeader, LikeUnknown, LikeBody}, l) }
	if rank(l) > rank(c.Likeness) {
		c.Likeness = l
	}
	if len(c.Differences) < maxDifferences && !slices.Contains(c.Differences, why) {
		c.Differences = append(c.Differences, why)
	}
}

// onlyLineEnds says that two bodies are the same but for their line ends.
const onlyLineEnds = "the line ends are others"

// CompareComplete compares our own copy, as it went to the provider, with the
// inner message of a transport envelope or of a complete receipt. Header fields
// are compared by name and decoded value, in any order, the provider's own
// changes aside: its Message-ID and X-Riferimento-Message-ID, its trace fields
// on top, X-Namirial-*. The bodies are compared byte for byte and streamed; where
// they differ, once more without regard to line ends. An error is one of reading
// or of ctx.
func CompareComplete(ctx context.Context, own io.ReaderAt, ownSize int64, outer io.ReaderAt, in *Inner) (Comparison, error) {
	c := Comparison{Likeness: LikeSame, Differences: []string{}}
	a, b, err := c.heads(own, ownSize, outer, in, func(string) bool { return true })
	if err != nil || c.Likeness == LikeUnknown {
		return c, err
	}
	like, err := sameBytes(ctx, a.body, b.body)
	switch {
	case err != nil:
		return c, err
	case like == differing:
		c.differ(LikeBody, "the body is another")
	case like == lineEnds:
		c.differ(LikeSame, onlyLineEnds)
	}
	return c, nil
}

// heads reads both headers and compares those fields that are asked for.
func (c *Comparison) heads(own io.ReaderAt, ownSize int64, outer io.ReaderAt, in *Inner, ask func(name string) bool) (a, b innerHead, err error) {
	b, err = openInner(outer, in)
	if err == nil {
		a, err = openInner(own, &Inner{Size: ownSize})
	}
	if errors.Is(err, ErrNoOriginal) {
		c.differ(LikeUnknown, "a header is too long, or the inner message stands nowhere as it is")
		return a, b, nil
	}
	if err != nil {
		return a, b, fmt.Errorf("compare with our own copy: %w", err)
	}
	c.compareHeaders(a, b, ask)
	return a, b, nil
}

// compareHeaders names the fields in which a, ours, and b, the provider's,
// differ.
func (c *Comparison) compareHeaders(a, b innerHead, ask func(name string) bool) {
	ourID, theirID := "", ""
	ours, theirs := map[string]int{}, map[string]int{} // by name and value
	for i, f := range a.fields {
		if a.roles[i] == rolePECID {
			ourID = f.Body()
			continue
		}
		if name := strings.ToLower(f.Name); ask(name) {
			ours[fieldKey(name, f)]++
		}
	}
	var extra []string // what is the provider's by its role, unless we wrote it too
	for i, f := range b.fields {
		name := strings.ToLower(f.Name)
		switch b.roles[i] {
		case rolePECID:
		case roleReference:
			if theirID = f.Body(); ours[fieldKey(name, f)] > 0 && !SameID(theirID, ourID) {
				theirs[fieldKey(name, f)]++ // our own, since we gave no Message-ID
				theirID = ""
			}
		case roleTrace, roleKnown:
			extra = append(extra, fieldKey(name, f))
		default:
			if ask(name) {
				theirs[fieldKey(name, f)]++
			}
		}
	}
	for _, k := range extra {
		if theirs[k] < ours[k] {
			theirs[k]++
		}
	}
	switch {
	case ourID == "" && theirID == "", SameID(ourID, theirID):
	case theirID == "":
		c.differ(LikeHeader, "X-Riferimento-Message-ID is missing inside")
	default:
		c.differ(LikeHeader, "X-Riferimento-Message-ID inside is not our Message-ID")
	}
	missing, added := map[string]bool{}, map[string]bool{}
	for k, n := range ours {
		if theirs[k] < n {
			name, _, _ := strings.Cut(k, "\x00")
			missing[name] = true
		}
	}
	for k, n := range theirs {
		if ours[k] < n {
			name, _, _ := strings.Cut(k, "\x00")
			added[name] = true
		}
	}
	for _, name := range sortedKeys(missing, added) {
		shown := "header field " + clip(name)
		if name == "" {
			shown = "a header line that is no field"
		}
		switch {
		case !added[name]:
			shown += " is missing"
		case !missing[name]:
			shown += " was added"
		default:
			shown += " has another value"
		}
		c.differ(LikeHeader, shown)
	}
}

func sortedKeys(sets ...map[string]bool) []string {
	var all []string
	for _, s := range sets {
		for k := range s {
			all = append(all, k)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// fieldKey is what is compared of a field: its name in lower case, and its value
// decoded, with any run of blanks as one.
func fieldKey(name string, f mime.Field) string {
	return name + "\x00" + strings.Join(strings.Fields(mime.DecodeWords(f.Body())), " ")
}

// sameness is how like two runs of bytes are.
type sameness byte

const (
	differing sameness = iota
	lineEnds           // only CRLF against LF, or line ends at the end
	identical
)

// sameBytes compares two ranges, byte for byte and then without regard to line
// ends.
func sameBytes(ctx context.Context, a, b *io.SectionReader) (sameness, error) {
	if a.Size() == b.Size() {
		same, err := sameStream(ctx, io.NewSectionReader(a, 0, a.Size()), io.NewSectionReader(b, 0, b.Size()))
		if err != nil || same {
			return identical, err
		}
	}
	same, err := sameText(ctx, io.NewSectionReader(a, 0, a.Size()), io.NewSectionReader(b, 0, b.Size()))
	if err != nil || !same {
		return differing, err
	}
	return lineEnds, nil
}

// sameText compares two streams without regard to their line ends.
func sameText(ctx context.Context, a, b io.Reader) (bool, error) {
	return sameStream(ctx, newLFReader(a), newLFReader(b))
}

// sameStream compares two streams.
func sameStream(ctx context.Context, a, b io.Reader) (bool, error) {
	p, q := make([]byte, digestBlock), make([]byte, digestBlock)
	for {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		n, errA := fill(a, p)
		m, errB := fill(b, q)
		if errA != nil && errA != io.EOF {
			return false, errA
		}
		if errB != nil && errB != io.EOF {
			return false, errB
		}
		if !bytes.Equal(p[:n], q[:m]) {
			return false, nil
		}
		if errA == io.EOF && errB == io.EOF {
			return true, nil
		}
	}
}

// lfReader reads CRLF as LF and leaves out the line ends at the very end.
type lfReader struct {
	src  *bufio.Reader
	held int // line ends read, not yet given
	next int // byte behind them, -1 for none
	err  error
}

func newLFReader(r io.Reader) *lfReader {
	return &lfReader{src: bufio.NewReaderSize(r, 16<<10), next: -1}
}

func (l *lfReader) Read(p []byte) (n int, err error) {
	for n < len(p) {
		switch {
		case l.next >= 0 && l.held > 0:
			p[n] = '\n'
			l.held--
			n++
			continue
		case l.next >= 0:
			p[n] = byte(l.next)
			l.next = -1
			n++
			continue
		case l.err != nil:
			return n, l.err
		}
		c, err := l.src.ReadByte()
		if err != nil {
			l.err = err
			continue
		}
		if c == '\r' {
			if after, _ := l.src.Peek(1); len(after) == 1 && after[0] == '\n' {
				continue
			}
		}
		if c == '\n' {
			l.held++
			continue
		}
		l.next = int(c)
	}
	return n, nil
}
