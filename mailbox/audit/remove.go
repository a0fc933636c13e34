package audit

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"pecgate/mailbox/kv"
)

// Bounds of one removal. maxRemoved keeps it below the bound of one Update,
// maxLooked bounds how long one Outdated reads.
const (
	maxRemoved = 500
	maxLooked  = 10_000
	numbersKey = "numbers"
	countKey   = "count"
)

// ErrRemoval: texts that cannot be removed together, or at all.
var ErrRemoval = errors.New("audit: not removable")

// run is the numbers from first to last.
type run struct{ first, last int64 }

// Outdated picks, from a number on, the entries whose text has outlived its
// retention: those for which gone answers true. next is where to go on; it is
// the log's size at the end. It picks no more than one Remove takes and looks at
// no more than 10,000 entries. What says which texts were removed is never
// picked.
func (l *Log) Outdated(r kv.Reader, from int64, gone func(Line) bool) (numbers []int64, next int64, err error) {
	size, err := l.Size(r)
	if err != nil {
		return nil, from, err
	}
	next, looked := size, 0
	err = l.Scan(r, from, func(line Line) bool {
		if looked++; looked > maxLooked {
			next = line.Number
			return false
		}
		if line.Event == removal || !gone(line) {
			return true
		}
		if len(numbers) == maxRemoved || len(writeRuns(runs(append(numbers, line.Number)))) > maxValue {
			next = line.Number
			return false
		}
		numbers = append(numbers, line.Number)
		return true
	})
	return numbers, next, err
}

// Remove takes the texts of these entries, in ascending order, out of the
// records, with their salts, and appends an entry that says so: by is who and
// why; its event is set here. A text that is gone already is no error. It
// returns the number of that entry.
//
// Errors: ErrRemoval for numbers that Outdated would not have given together.
func (l *Log) Remove(tx kv.Txn, numbers []int64, by Entry) (int64, error) {
	size, err := l.Size(tx)
	if err != nil {
		return 0, err
	}
	list := writeRuns(runs(numbers))
	if len(numbers) == 0 || len(numbers) > maxRemoved || len(list) > maxValue {
		return 0, fmt.Errorf("%d texts at once: %w", len(numbers), ErrRemoval)
	}
	for i, n := range numbers {
		if n < 0 || n >= size || i > 0 && n <= numbers[i-1] {
			return 0, fmt.Errorf("number %d: %w", n, ErrRemoval)
		}
		e, err := l.Get(tx, n)
		switch {
		case errors.Is(err, kv.ErrNotFound):
		case err != nil:
			return 0, err // a damaged text is evidence
		case e.Event == removal:
			return 0, fmt.Errorf("entry %d says which texts were removed: %w", n, ErrRemoval)
		}
	}
	for _, n := range numbers {
		if err := tx.Delete(l.key(kindEntry, n)); err != nil {
			return 0, err
		}
	}
	more := map[string]string{numbersKey: list, countKey: strconv.Itoa(len(numbers))}
	for k, v := range by.More {
		if _, ours := more[k]; !ours {
			more[k] = v
		}
	}
	by.Event, by.More = removal, more
	return l.append(tx, by)
}

// runs joins ascending numbers that follow each other.
func runs(numbers []int64) (out []run) {
	for _, n := range numbers {
		if last := len(out) - 1; last >= 0 && out[last].last+1 == n {
			out[last].last = n
			continue
		}
		out = append(out, run{n, n})
	}
	return out
}

// writeRuns writes runs as people do: 3-17,20.
func writeRuns(list []run) string {
	var b strings.Builder
	for i, r := range list {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.FormatInt(r.first, 10))
		if r.last > r.first {
			b.WriteString("-" + strconv.FormatInt(r.last, 10))
		}
	}
	return b.String()
}

// parseRuns reads what writeRuns writes; all numbers must be below n.
func parseRuns(s string, n int64) ([]run, error) {
	var out []run
	after := int64(-1)
	for part := range strings.SplitSeq(s, ",") {
		a, b, two := strings.Cut(part, "-")
		first, err := strconv.ParseInt(a, 10, 64)
		last := first
		if two && err == nil {
			last, err = strconv.ParseInt(b, 10, 64)
		}
		if err != nil || first <= after || last < first || last >= n {
			return nil, fmt.Errorf("its list of numbers is malformed: %w", ErrEntry)
		}
		out, after = append(out, run{first, last}), last
	}
	return out, nil
}

// join sorts runs and makes those that touch or overlap one.
func join(list []run) (out []run) {
	slices.SortFunc(list, func(a, b run) int { return cmp.Compare(a.first, b.first) })
	for _, r := range list {
		if last := len(out) - 1; last >= 0 && r.first <= out[last].last+1 {
			out[last].last = max(out[last].last, r.last)
			continue
		}
		out = append(out, r)
	}
	return out
}

// without gives the parts of list that no run of cover holds. Both are as join
// makes them.
func without(list, cover []run) (out []run) {
	for _, r := range list {
		for len(cover) > 0 && cover[0].last < r.first {
			cover = cover[1:]
		}
		for _, c := range cover {
			if c.first > r.last {
				break
			}
			if c.first > r.first {
				out = append(out, run{r.first, c.first - 1})
			}
			r.first = c.last + 1
		}
		if r.first <= r.last {
			out = append(out, r)
		}
	}
	return out
}
