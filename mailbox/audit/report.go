package audit

import (
	"fmt"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/tlog" // the Merkle tree of RFC 6962 and its proofs, as small as it can be
)

// maxNotes is how many faults, and how many findings, a report holds; all are
// counted.
const maxNotes = 100

// Report is what Verify found. Its JSON keys are stable.
type Report struct {
	Size     int64     `json:"entries"`       // entries that were found
	Texts    int64     `json:"texts"`         // of them with a text
	Removed  int64     `json:"removed"`       // whose text was removed, as the log itself says
	Heads    int64     `json:"heads"`         // signed heads that fit the tree
	InFile   int64     `json:"heads_in_file"` // lines of the file of heads that are good
	Covered  int64     `json:"covered"`       // entries that the newest good head signs
	Root     tlog.Hash `json:"root"`          // over all entries; zero when they do not give one
	From     time.Time `json:"from"`          // of the first text
	To       time.Time `json:"to"`            // of the last text
	Faults   []Note    `json:"faults"`        // in the order of entries; the first 100
	Findings []Note    `json:"findings"`      // what is worth knowing and no fault; the first 100
	Faulty   int64     `json:"fault_count"`
	Found    int64     `json:"finding_count"`
}

// Note is a fault or a finding.
type Note struct {
	Entry int64  `json:"entry"` // the entry it is about, or the first it may be about
	What  string `json:"what"`  // no text of any entry
}

// OK tells that there is no fault.
func (r *Report) OK() bool { return r.Faulty == 0 }

// First is the fault with the lowest number; nil if there is none.
func (r *Report) First() *Note {
	if len(r.Faults) == 0 {
		return nil
	}
	return &r.Faults[0]
}

func (r *Report) fault(entry int64, format string, args ...any) {
	r.Faulty++
	r.Faults = keep(r.Faults, Note{entry, fmt.Sprintf(format, args...)})
}

func (r *Report) finding(entry int64, format string, args ...any) {
	r.Found++
	r.Findings = keep(r.Findings, Note{entry, fmt.Sprintf(format, args...)})
}

// keep adds a note at its place and drops the last one of too many.
func keep(list []Note, n Note) []Note {
	at, _ := slices.BinarySearchFunc(list, n, func(a, b Note) int {
		if a.Entry <= b.Entry {
			return -1 // of one entry the first told stays first
		}
		return 1
	})
	list = slices.Insert(list, at, n)
	return list[:min(len(list), maxNotes)]
}
