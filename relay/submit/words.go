package submit

import (
	"fmt"
	"strings"
)

// Words say what an attempt came to: the server's reply, or what went wrong, behind
// the stage; an error that names the stage itself says it for both.
func (r Result) Words() string {
	stage := string(r.Stage)
	switch {
	case r.Code != 0:
		return fmt.Sprintf("%s: %d %s", stage, r.Code, strings.TrimLeft(r.Enhanced+" "+r.Text, " "))
	case r.Err == nil:
		return stage
	}
	text := r.Err.Error()
	if first, _, _ := strings.Cut(strings.TrimPrefix(text, "final "), " "); strings.EqualFold(strings.TrimSuffix(first, ":"), stage) {
		return text
	}
	return stage + ": " + text
}
