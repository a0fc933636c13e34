package api

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"pecgate/policy"
)

// maxLines bounds the recipients of one request.
const maxLines = 1000

// Line is what is wrong with a line of a list of recipients.
type Line struct {
	Line   int    `json:"line" doc:"Number of the line, from 1."`
	Detail string `json:"detail" doc:"What is wrong with it."`
}

// listed reads the recipients of a list: the first column of each line, divided by comma
// or semicolon; a first line without @ is a heading. It is read to its end before
// anything is sent, and every line that is wrong is told.
func listed(ctx context.Context, text string) (to []string, no *Problem) {
	wrong := func(line int, it, en string) {
		if no == nil {
			no = problem(ctx, http.StatusUnprocessableEntity, words{"list",
				"L'elenco dei destinatari contiene errori e non parte nulla: correggere le righe indicate.", "The list of recipients has errors and nothing is sent: correct the lines that are named."})
		}
		if italian(ctx) {
			en = it
		}
		if len(no.Lines) < 100 {
			no.Lines = append(no.Lines, Line{line, en})
		}
	}
	r := csv.NewReader(strings.NewReader(strings.TrimPrefix(text, "\ufeff")))
	r.FieldsPerRecord, r.TrimLeadingSpace, r.Comma = -1, true, ','
	if first, _, _ := strings.Cut(text, "\n"); strings.Contains(first, ";") {
		r.Comma = ';'
	}
	seen := map[string]int{}
	for n := 0; ; n++ {
		row, err := r.Read()
		if err == io.EOF {
			break
		}
		if bad := new(csv.ParseError); errors.As(err, &bad) {
			wrong(bad.Line, "virgolette non chiuse o fuori posto", "quotes that are not closed or out of place")
			break // where the next line begins is not certain
		}
		line, _ := r.FieldPos(0)
		address := strings.TrimSpace(row[0])
		if n == 0 && !strings.Contains(address, "@") {
			continue // a heading
		}
		a, err := policy.ParseAddress(address)
		key := strings.ToLower(a)
		switch before := seen[key]; {
		case err != nil:
			wrong(line, "non e' un indirizzo semplice come nome@example.it", "not a plain address like name@example.it")
			continue
		case before > 0:
			wrong(line, fmt.Sprintf("lo stesso indirizzo della riga %d", before), fmt.Sprintf("the same address as in line %d", before))
			continue
		case len(to) == maxLines:
			wrong(line, fmt.Sprintf("piu' di %d destinatari", maxLines), fmt.Sprintf("more than %d recipients", maxLines))
			return nil, no
		}
		seen[key] = line
		to = append(to, a)
	}
	if no == nil && len(to) == 0 {
		wrong(1, "nessun destinatario", "no recipient")
	}
	if no != nil {
		return nil, no
	}
	return to, nil
}
