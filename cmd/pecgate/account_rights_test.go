package main

import (
	"strings"
	"testing"

	"pecgate/policy"
)

// TestSheetNamesEveryRight: what a person may do is on the sheet in both languages,
// and a right to send that has no effect is not.
func TestSheetNamesEveryRight(t *testing.T) {
	for _, language := range []string{"it", "en"} {
		w := sheetWords(language)
		for _, c := range []struct {
			r    policy.Rights
			want []string
		}{
			{policy.Rights{Compose: true, Receive: true}, []string{w.compose, w.receive}},
			{policy.Rights{Send: true, Receive: true, Approve: true, Delete: true}, []string{w.send, w.approve, w.receive, w.remove}},
			{policy.Rights{Send: true, SendOnly: true}, []string{w.sendOnly}},
			{policy.Rights{Compose: true}, []string{w.compose, w.ownOnly}},
		} {
			if got, want := w.rights(c.r, true), strings.Join(c.want, ", "); got != want || strings.Contains(got, ", ,") {
				t.Errorf("%s: %+v is %q, want %q", language, c.r, got, want)
			}
		}
	}
}
