package main

import (
	"encoding/json"
	"strings"
	"testing"

	"pecgate/mailbox"
	"pecgate/relay"
)

// TestStatusTellsTheSpace: what every mailbox takes, and how far the disk is from
// its floor.
func TestStatusTellsTheSpace(t *testing.T) {
	config, data := dataFolder(t)
	store, err := mailbox.Open(mailbox.Options{Dir: data, MinFree: 10e6})
	if err != nil {
		t.Fatal(err)
	}
	var bytes int64
	for _, box := range []string{boxA, boxA, ""} {
		in, err := store.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		n, err := in.Write([]byte(mail(boxA, boxB, "Prova "+box, "x@y.example")))
		if err != nil {
			t.Fatal(err)
		}
		st, err := in.Store(t.Context(), mailbox.Origin{Box: box, Direction: mailbox.In})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := store.Record(t.Context(), st, func(*mailbox.Tx, *mailbox.Message) error { return nil }); err != nil {
			t.Fatal(err)
		}
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
		if box == boxA {
			bytes += int64(n)
		}
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	var st relay.Status
	state, out, errs := program(t, "", "status", "--json", "--config", config)
	if err := json.Unmarshal([]byte(out), &st); state != exitGood || err != nil {
		t.Fatal(state, errs, err)
	}
	sp := st.Space
	if sp.Free <= 0 || sp.AtFloor || sp.Level != mailbox.LevelRoom || sp.Floor != 10e6 || sp.Ballast != 1e6 || len(sp.Used) != 2 {
		t.Errorf("space: %s", out)
	} else if sp.Used[0].Mailbox != "" || sp.Used[0].Messages != 1 || sp.Used[1] != (relay.Used{Mailbox: boxA, Messages: 2, Bytes: bytes}) {
		t.Errorf("used: %+v, not %d bytes", sp.Used, bytes)
	}
	for _, key := range []string{`"free":`, `"at_floor":false`, `"level":"room"`, `"floor":10000000`, `"ballast":1000000`, `"inodes":`, `"used":[{"mailbox":"","messages":1,"bytes":`} {
		if !strings.Contains(out, key) {
			t.Errorf("no %s in %s", key, out)
		}
	}
	_, out, _ = program(t, "", "status", "--config", config)
	for _, line := range []string{"STORED", boxA, "(no PEC mailbox)", "min_free 10.0 MB; 1.0 MB more are held back"} {
		if !strings.Contains(out, line) {
			t.Errorf("no %q in\n%s", line, out)
		}
	}
}
