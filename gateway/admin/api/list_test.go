package api

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// A list is read whole: every line that is wrong is told, and then there is nobody.
func TestListed(t *testing.T) {
	many := ""
	for i := range 1001 {
		many += fmt.Sprintf("u%d@b.example\n", i)
	}
	for _, c := range []struct {
		text, to, lines string
	}{
		{"a@b.example\nc@d.example\n", "a@b.example c@d.example", ""},
		{"\ufeffPEC;Nome\r\na@b.example;\"Rossi; Mario\"\r\n\r\nc@d.example;x\r\n", "a@b.example c@d.example", ""},
		{"pec,nome\na@b.example,Mario", "a@b.example", ""},
		{"a@b.example\nx y\nA@b.example\n\n<c@d.example>\n", "", "2 3 5"},
		{"a@b.example\n\"c@d.example\nx@y.example\n", "", "3"},
		{"", "", "1"}, {"nome\n", "", "1"}, {many, "", "1001"}, {strings.TrimSuffix(many, "u1000@b.example\n"), "1000", ""},
	} {
		to, no := listed(context.Background(), c.text)
		lines := ""
		if no != nil {
			for _, l := range no.Lines {
				lines += fmt.Sprint(l.Line) + " "
			}
		}
		got := strings.Join(to, " ")
		if len(to) == 1000 {
			got = "1000"
		}
		if got != c.to || strings.TrimSpace(lines) != c.lines || no != nil && (len(to) > 0 || slices.ContainsFunc(no.Lines, func(l Line) bool { return l.Detail == "" })) {
			t.Errorf("%.60q: %q, lines %q", c.text, got, lines)
		}
	}
}
