package main

import (
	"encoding/csv"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"pecgate/relay"
	"pecgate/relay/submit"
)

// messagesOf asks the program for the log as JSON.
func (h *house) messagesOf(args ...string) (rows []relay.MessageRow) {
	h.t.Helper()
	state, out, errs := program(h.t, "", append([]string{"--config", h.config(), "messages", "--json"}, args...)...)
	if state != exitGood {
		h.t.Fatalf("%v: state %d: %s", args, state, errs)
	}
	d := json.NewDecoder(strings.NewReader(out))
	for d.More() {
		var r relay.MessageRow
		if err := d.Decode(&r); err != nil {
			h.t.Fatal(err)
		}
		rows = append(rows, r)
	}
	return rows
}

// TestMessages: what was sent and what came is in the log with its facts, is found by
// each of them, as JSON, CSV and table, while the appliance runs and when it does not.
func TestMessages(t *testing.T) {
	h := newHouse(t, mailboxText(boxA, false, "", "mario"), mailboxText(boxB, false, "", "lucia"))
	h.start()
	h.until("both were met", func() bool { return h.fetched(boxA) && h.fetched(boxB) })
	if r := h.send("mario", "mariomario", boxA, []string{boxB}, mail(boxA, boxB, "Diffida", "d1@alfa.example")); r.Class != submit.HandedOver {
		t.Fatalf("%+v", r)
	}
	h.until("it was delivered", func() bool {
		s, err := h.shown("d1@alfa.example")
		return err == nil && s.State == relay.Accepted && s.Recipients[0].State == relay.Delivered
	})
	h.until("the envelope came", func() bool { return len(h.messagesOf("--kind", "transport")) == 1 })

	all := h.messagesOf()
	kinds := map[string]int{}
	for _, r := range all {
		kinds[r.Kind]++
	}
	if len(all) != 4 || kinds["sent"] != 1 || kinds["acceptance"] != 1 || kinds["delivery"] != 1 || kinds["transport"] != 1 {
		t.Fatalf("%d messages: %v", len(all), kinds)
	}
	for _, r := range all {
		if r.Sender != boxA || !slices.Equal(r.Recipients, []string{boxB}) || r.Subject != "Diffida" || r.MsgID != "d1@alfa.example" || r.Identifier == "" || len(r.SHA256) != 64 {
			t.Errorf("%+v", r)
		}
	}
	for _, c := range []struct {
		args []string
		want int
	}{
		{[]string{"--mailbox", boxB}, 1},
		{[]string{"--direction", "out"}, 1},
		{[]string{"--kind", "receipts"}, 2},
		{[]string{"--state", "accepted"}, 1},
		{[]string{"--party", "UFFICIO@"}, 4},
		{[]string{"--subject", "diff"}, 4},
		{[]string{"--msgid", "<d1@alfa.example>", "--mailbox", boxA}, 3},
		{[]string{"--identifier", all[0].Identifier, "--kind", "sent"}, 1},
		{[]string{"--from", "1d", "--to", "0d"}, 4},
		{[]string{"--to", "2d"}, 0},
		{[]string{"--limit", "2"}, 2},
		{[]string{"--limit", "0", "--oldest"}, 4},
	} {
		if got := len(h.messagesOf(c.args...)); got != c.want {
			t.Errorf("%v: %d messages, want %d", c.args, got, c.want)
		}
	}
	// A register number of each direction.
	year := time.Now().In(time.Local).Format("2006")
	if rows := h.messagesOf("--register", year+"/1"); len(rows) != 2 || rows[0].Register != year+"/1" {
		t.Errorf("register: %+v", rows)
	}
	state, out, errs := program(t, "", "--config", h.config(), "messages", "--limit", "1")
	if state != exitGood || strings.Count(out, "\n") != 2 || !strings.Contains(out, "Diffida") || !strings.Contains(errs, "there are more than these 1") {
		t.Errorf("state %d, %q, %q", state, out, errs)
	}
	_, out, _ = program(t, "", "--config", h.config(), "messages", "--csv")
	cells, err := csv.NewReader(strings.NewReader(out)).ReadAll()
	if err != nil || len(cells) != 5 || cells[0][0] != "id" || cells[0][12] != "sha256" || len(cells[1]) != 13 {
		t.Errorf("%v: %q", err, out)
	}
	h.stop()
	if again := h.messagesOf(); len(again) != 4 {
		t.Errorf("when nothing runs: %d messages", len(again))
	}
	for _, args := range [][]string{{"--from", "yesterday"}, {"--limit", "-1"}, {"--csv", "--json"}, {"x"}} {
		if state, _, errs := program(t, "", append([]string{"--config", h.config(), "messages"}, args...)...); state != exitUsage || errs == "" {
			t.Errorf("%v: state %d: %s", args, state, errs)
		}
	}
	for _, args := range [][]string{{"--direction", "up"}, {"--register", "17"}, {"--sha256", "ab"}} {
		if state, _, errs := program(t, "", append([]string{"--config", h.config(), "messages"}, args...)...); state != exitFailed || errs == "" {
			t.Errorf("%v: state %d: %s", args, state, errs)
		}
	}
}

// TestMessagesAreWrittenSafely: what strangers wrote neither moves a terminal nor is a
// formula in a spreadsheet.
func TestMessagesAreWrittenSafely(t *testing.T) {
	r := relay.MessageRow{ID: "m1", Kind: "transport", Direction: "in", Sender: "=cmd()@x.example", Subject: "a\x1b[2Jb\r\nc\u202ed" + strings.Repeat("è", 100), Recipients: []string{"b@y.example"}}
	var table, sheet strings.Builder
	w := tableMessages(&table, time.UTC)
	if err := w.row(r); err != nil {
		t.Fatal(err)
	}
	if err := w.end(); err != nil {
		t.Fatal(err)
	}
	if lines := strings.Split(strings.TrimSpace(table.String()), "\n"); len(lines) != 2 || strings.ContainsAny(table.String(), "\x1b\r\u202e") || !strings.Contains(lines[1], "a[2Jb  cdè") || !strings.HasSuffix(lines[1], "…") {
		t.Errorf("%q", table.String())
	}
	w = csvMessages(&sheet, time.UTC)
	if err := w.row(r); err != nil {
		t.Fatal(err)
	}
	if err := w.end(); err != nil {
		t.Fatal(err)
	}
	cells, err := csv.NewReader(strings.NewReader(sheet.String())).ReadAll()
	if err != nil || cells[1][5] != "'=cmd()@x.example" {
		t.Errorf("%v %q", err, sheet.String())
	}
}
