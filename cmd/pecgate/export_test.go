package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pecgate/mailbox/archive"
)

// export runs the command and reads what it made, by mailbox/archive, unquoted.
func (h *house) export(out string, more ...string) (made exportMade, got []string) {
	h.t.Helper()
	args := append([]string{"--config", h.config(), "export", "--json"}, more...)
	if out != "" {
		args = append(args, "--out", out)
	}
	state, text, errs := program(h.t, "", args...)
	if state != exitGood {
		h.t.Fatalf("export %v: %d %s%s", more, state, text, errs)
	}
	if err := json.Unmarshal([]byte(text), &made); err != nil {
		h.t.Fatal(err)
	}
	for _, p := range made.Parts {
		err := archive.Walk(context.Background(), p.Path, archive.Options{}, func(it archive.Item) error {
			if it.Err != nil {
				return it.Err
			}
			r, size := it.ReaderAt, it.Size
			if len(it.Unquotings()) > 0 {
				r, size = it.Unquoted(archive.Mboxrd)
			}
			b, err := io.ReadAll(io.NewSectionReader(r, 0, size))
			got = append(got, string(b))
			return errors.Join(err, it.Close())
		})
		if err != nil {
			h.t.Fatal(err)
		}
	}
	slices.Sort(got)
	return made, got
}

// TestExport: what was sent and what came, in each format, while the appliance runs and
// while nothing does, are the bytes that the provider got and issued; kinds, mailboxes
// and days choose; nothing is written over; each export is in the audit log, a count is
// not.
func TestExport(t *testing.T) {
	h := newHouse(t, mailboxText(boxA, false, "", "mario"), mailboxText(boxB, false, "", "lucia")).start()
	id := accepted(t, h.send("mario", "mariomario", boxA, []string{boxB}, mail(boxA, boxB, "Diffida", "x1@alfa.example")+"\r\nFrom here on\r\n"))
	h.until("it is delivered", func() bool {
		s, err := h.shown(id)
		return err == nil && len(s.Recipients[0].Receipts) == 1 && s.Identifier != "" && len(h.folder("lucia", "PEC/"+boxB+"/Posta in arrivo")) == 1
	})
	var want []string
	want = append(want, string(h.provider.Ledger()[0].Raw))
	want = append(want, h.folder("mario", treeA+"Ricevute/Consegna")...)
	want = append(want, h.folder("mario", treeA+"Ricevute/Accettazione")...)
	want = append(want, h.folder("lucia", "PEC/"+boxB+"/Posta in arrivo")...)
	slices.Sort(want)
	if len(want) != 4 {
		t.Fatalf("%d messages", len(want))
	}
	for _, running := range []bool{true, false} {
		if !running {
			h.stop()
		}
		if made, _ := h.export("", "--dry-run"); made.Messages != 4 || !made.DryRun || made.Bytes == 0 || len(made.Parts) != 0 {
			t.Errorf("counted: %+v", made)
		}
		for format, name := range map[string]string{"mbox": "e.zip", "maildir": "e.zip", "eml": "e"} {
			out := filepath.Join(t.TempDir(), name)
			made, got := h.export(out, "--format", format)
			if !slices.Equal(got, want) || made.Messages != 4 || len(made.Parts) != 1 {
				t.Errorf("running %v, %s: %d messages, %+v", running, format, len(got), made)
			}
			if state, _, errs := program(t, "", "--config", h.config(), "export", "--format", format, "--out", out); state != exitFailed || !strings.Contains(errs, "there already") {
				t.Errorf("over what is there: %d %s", state, errs)
			}
		}
		for words, n := range map[string]int{
			"--kind receipts": 2, "--kind delivery": 1, "--kind pec": 2, "--kind sent": 1, "--kind transport,acceptance": 2, "--kind all": 4,
			"--mailbox " + boxB: 1, "--mailbox " + strings.ToUpper(boxA): 3, "--to 2001-01-01": 0, "--from 2001-01-01": 4,
		} {
			if made, _ := h.export("", append(strings.Fields(words), "--dry-run")...); made.Messages != n {
				t.Errorf("running %v, %s: %d, want %d", running, words, made.Messages, n)
			}
		}
		for words, says := range map[string]string{
			"--mailbox other@pec.example": "no mailbox", "--kind letters": "no kind", "--part 9GB": "1MB to 4GB", "--from today": "2026-01-31",
			"--from 2026-02-01 --to 2026-01-01": "before", "--format pst": "mbox, maildir or eml", "--kind anomalies": "no message is like that",
		} {
			out := filepath.Join(t.TempDir(), "e.zip")
			state, _, errs := program(t, "", append([]string{"--config", h.config(), "export", "--out", out}, strings.Fields(words)...)...)
			if list, _ := os.ReadDir(filepath.Dir(out)); state == exitGood || !strings.Contains(errs, says) || len(list) != 0 {
				t.Errorf("%s: %d %s, left %v", words, state, errs, list)
			}
		}
	}
	given := 0
	for _, l := range h.audit("export") {
		if l.Result == "given" {
			given++
			if n := l.More["messages"]; n != "4" && n != "0" || l.From == "" {
				t.Error(fmt.Sprint(l))
			}
		}
	}
	if given != 8 { // three good, one of nothing; twice
		t.Errorf("%d lines in the audit log", given)
	}
}
