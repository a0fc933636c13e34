package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// TestImportKilled: an appliance that is killed while messages come in, and an import
// that is killed itself, leave nothing doubled and nothing half: the next run takes
// what is missing, and then all is as if nothing had happened.
func TestImportKilled(t *testing.T) {
	h, where, ids := importHouse(t)
	want, outcomes := h.seen(where), h.outcomes(ids)
	tree := filepath.Join(t.TempDir(), "tree")
	made, _ := h.export(tree, "--mailbox", boxA, "--format", "eml")
	// Enough ordinary messages that it is in the middle when it is killed.
	const more = 400
	for i := range more {
		text := mail("qualcuno@ordinary.example", boxA, "Pubblica", fmt.Sprintf("k%d@ordinary.example", i))
		if err := os.WriteFile(filepath.Join(tree, fmt.Sprintf("%03d.eml", i)), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	h.anew()
	h.stop()
	for _, victim := range []string{"appliance", "command"} {
		p := h.launch()
		c := exec.Command(os.Args[0], "import", "--config", h.config(), "--mailbox", boxA, tree)
		c.Env = append(os.Environ(), childMark+"=1")
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		began := len(h.folder("mario", treeA+"Anomalie"))
		for end := time.Now().Add(time.Minute); len(h.folder("mario", treeA+"Anomalie")) < began+50; {
			if time.Now().After(end) {
				t.Fatal("nothing comes in")
			}
		}
		if victim == "appliance" {
			p.kill()
			if err := c.Wait(); err == nil {
				t.Error("the command says that all was brought in")
			}
			continue
		}
		_ = c.Process.Kill()
		if err := c.Wait(); err == nil {
			t.Error("the command ended before it was killed")
		}
		p.kill()
	}
	h.start()
	got := h.imported(exitGood, tree)
	if got.New+got.There != made.Messages+more || got.New == 0 || got.There < 100 {
		t.Errorf("%+v", got)
	}
	if again := h.imported(exitGood, tree); again.There != made.Messages+more || again.New != 0 {
		t.Errorf("again: %+v", again)
	}
	seen := h.seen(where)
	anomalies := "mario: " + treeA + "Anomalie"
	if n := len(seen[anomalies]); n != len(want[anomalies])+more {
		t.Errorf("%d anomalies", n)
	}
	joined := strings.Join(seen[anomalies], " ")
	for _, sum := range want[anomalies] {
		if strings.Count(joined, sum) != 1 {
			t.Errorf("%s stands there %d times", sum, strings.Count(joined, sum))
		}
	}
	delete(seen, anomalies)
	delete(want, anomalies)
	if !reflect.DeepEqual(seen, want) {
		t.Errorf("seen: %v\nwant: %v", seen, want)
	}
	if o := h.outcomes(ids); !reflect.DeepEqual(o, outcomes) {
		t.Errorf("outcomes: %v\nwant: %v", o, outcomes)
	}
}
