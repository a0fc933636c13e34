package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pecgate/mailbox"
)

// TestFsck is the command as the person uses it who runs an appliance: while it
// runs, after it was stopped, and after a file was damaged.
func TestFsck(t *testing.T) {
	h := newHouse(t).start()
	// The second one proves that the first was durable: what nothing follows cannot
	// be told from the end of an unfinished write.
	for _, id := range []string{"f1", "f2"} {
		h.send("mario", "mariomario", boxA, []string{boxB}, "From: "+boxA+"\r\nTo: "+boxB+"\r\nSubject: x [PIN:"+pinMario+"]\r\nMessage-ID: <"+id+"@alfa.example>\r\n\r\nciao "+id+"\r\n")
	}
	fsck := func(args ...string) (int, string, string) {
		t.Helper()
		return program(t, "", append([]string{"fsck", "--config", h.config()}, args...)...)
	}
	if state, out, errs := fsck(); state != exitFailed || out != "" || !strings.Contains(errs, "stop the appliance first") || strings.Count(errs, "\n") != 1 {
		t.Errorf("while it runs: %d, %s%s", state, out, errs)
	}
	h.stop()
	for _, args := range [][]string{nil, {"--deep"}, {"--repair"}} {
		if state, out, errs := fsck(args...); state != exitGood || !strings.Contains(out, ": nothing is wrong\n") || errs != "" {
			t.Errorf("%v: %d, %s%s", args, state, out, errs)
		}
	}
	state, out, errs := fsck("--json", "--deep")
	var r mailbox.FsckReport
	if err := json.Unmarshal([]byte(out), &r); err != nil || state != exitGood || r.Messages == 0 || r.Damage != 0 || !r.Deep || r.Audit == 0 || errs != "" {
		t.Errorf("%d, %v, %s%s", state, err, out, errs)
	}

	// A byte of a message is another: told by its number, and never repaired.
	file := filepath.Join(h.dir, "data", "segments", "0000000000000002.tar")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	at := strings.Index(string(b), "ciao f1")
	if at < 0 {
		t.Fatal("the message is not there")
	}
	b[at] ^= 1
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if state, out, errs := fsck(); state != exitGood || errs != "" {
		t.Errorf("headers only: %d, %s%s", state, out, errs)
	}
	for _, args := range [][]string{{"--deep"}, {"--deep", "--repair"}} {
		state, out, errs := fsck(args...)
		if state != exitFailed || !strings.Contains(out, "(message ") || !strings.Contains(out, "message differs from its name") || !strings.HasSuffix(out, ": 1 fault\n") ||
			!strings.HasPrefix(errs, "pecgate: the store is damaged: keep a copy") || strings.Contains(out, "cia") {
			t.Errorf("%v: %d, %s%s", args, state, out, errs)
		}
	}
	if state, out, _ := fsck("--deep", "--json"); state != exitFailed || !strings.Contains(out, `"what":"message differs from its name"`) {
		t.Errorf("%d, %s", state, out)
	}
}

// TestFsckRepairs puts right what is safe, and says so.
func TestFsckRepairs(t *testing.T) {
	config, data := dataFolder(t)
	store, err := mailbox.Open(mailbox.Options{Dir: data})
	if err != nil {
		t.Fatal(err)
	}
	err = store.Update(context.Background(), func(tx *mailbox.Tx) error {
		// A register number that nobody entered is a gap: not to be repaired.
		_, err := tx.Register(boxA, mailbox.In, 2026)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if state, _, errs := program(t, "", "fsck", "--config", config); state != exitFailed || !strings.Contains(errs, "the store in "+data+" is in use") {
		t.Errorf("an open store: %d %s", state, errs)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	state, out, _ := program(t, "", "fsck", "--repair", "--config", config)
	if state != exitFailed || !strings.HasPrefix(out, "register of "+boxA+", in 2026, number 1: register number that is missing (1 are missing)\n") {
		t.Errorf("%d %s", state, out)
	}
}

func TestPrintFsck(t *testing.T) {
	var out strings.Builder
	r := &mailbox.FsckReport{
		Records: 7, Messages: 1, Segments: 2, Bytes: 90, Audit: 3, Damage: 3, Left: 1, Harmless: 4, Repaired: 3,
		Counts: map[mailbox.Trouble]mailbox.FsckCount{mailbox.LeftOver: {Found: 4, Repaired: 1}, mailbox.Dangling: {Found: 2, Repaired: 2}, mailbox.NoBytes: {Found: 1}},
		Findings: []*mailbox.FsckFinding{
			{What: mailbox.Dangling, Where: "message 9", Detail: "mi/", Repaired: true},
			{What: mailbox.NoBytes, Where: "message 4"},
			{What: mailbox.LeftOver, Where: "folder 1", Harmless: true},
		},
	}
	if err := printFsck(&out, r); err != nil {
		t.Fatal(err)
	}
	want := `message 9: index key that points to nothing (mi/): repaired
message 4: message whose bytes are not where its record says
and 1 more
harmless: left over of an entry or folder that is gone (4, 1 taken away)
7 records, 1 message in 2 segments (90 bytes, headers read), 3 lines of the audit log: 3 faults, 2 of them repaired
`
	if out.String() != want {
		t.Errorf("%s", out.String())
	}
}
