package configs

import (
	"fmt"
	"sort"
	"strings"
)

// Position is where something is written. Line and Column count from 1; with Line 0 File stands alone (a file as a whole,
// or `environment variable NAME`).
type Position struct {
	File         string
	Line, Column int
}

// String is file:line:column, or the file alone.
func (p Position) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// FileLine is file:line, or the file alone.
func (p Position) FileLine() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d", p.File, p.Line)
}

// Fault is one thing that is wrong, or, among warnings, one that will not do what it seems to. The message is one line of
// printable text and holds no secret.
type Fault struct {
	Position
	Message string
}

// String is `file:line:column: message`.
func (f Fault) String() string { return f.Position.String() + ": " + f.Message }

// Faults are all faults of one load, in the order of the files.
type Faults []Fault

// Error gives one line per fault.
func (f Faults) Error() string {
	lines := make([]string, len(f))
	for i := range f {
		lines[i] = f[i].String()
	}
	return strings.Join(lines, "\n")
}

func sorted(f []Fault) []Fault {
	sort.SliceStable(f, func(i, j int) bool {
		a, b := f[i].Position, f[j].Position
		if a.File != b.File {
			return a.File < b.File
		}
		if a.Line != b.Line {
			return a.Line < b.Line
		}
		return a.Column < b.Column
	})
	return f
}

// quote shows a value in a fault: at most 60 bytes, control characters escaped, and nothing that may be a hash.
func quote(s string) string {
	const most = 60
	if mayBeHash(s) {
		return hidden
	}
	if len(s) > most {
		return fmt.Sprintf("%q...", s[:most])
	}
	return fmt.Sprintf("%q", s)
}

// hidden stands in a fault for what may be a hash.
const hidden = "a text with $ (not shown: it may be a hash)"

// mayBeHash says that a value must not be shown: a hash may stand at any wrong key, and hardly any good value holds a $.
func mayBeHash(s string) bool { return strings.Contains(s, "$") }

// shownName shows the name of a file or variable in a fault.
func shownName(s string) string {
	if mayBeHash(s) {
		return hidden
	}
	return s
}
