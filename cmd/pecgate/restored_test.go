package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pecgate/mailbox"
	"pecgate/mailbox/backup"
	"pecgate/relay"
	"pecgate/relay/providersim"
	"pecgate/relay/submit"
)

// backUp copies the store of a stopped appliance.
func (h *house) backUp() string {
	h.t.Helper()
	dir := filepath.Join(h.t.TempDir(), "backup")
	store, err := mailbox.Open(mailbox.Options{Dir: filepath.Join(h.dir, "data"), Name: "localhost"})
	if err != nil {
		h.t.Fatal(err)
	}
	f, err := backup.Open(backup.Options{Dir: dir})
	if err == nil {
		_, err = store.BackupTo(context.Background(), f, mailbox.AuditLine{Actor: "test"})
		err = errors.Join(err, f.Close())
	}
	if err := errors.Join(err, store.Close()); err != nil {
		h.t.Fatal(err)
	}
	return dir
}

// putBack puts a backup in the place of everything that is there.
func (h *house) putBack(dir string) {
	h.t.Helper()
	data := filepath.Join(h.dir, "data")
	if err := os.RemoveAll(data); err != nil {
		h.t.Fatal(err)
	}
	src, err := backup.Read(dir, nil, nil)
	if err == nil {
		_, err = mailbox.Restore(context.Background(), mailbox.Options{Dir: data, Name: "localhost"}, mailbox.RestoreOptions{Source: src, By: "test"})
	}
	if err != nil {
		h.t.Fatal(err)
	}
}

// unsafe makes the provider one that nothing is sent to, and ends that.
func (h *house) unsafe(on bool) {
	h.t.Helper()
	if !on {
		h.provider.SetTLS(providersim.TLSOptions{})
		return
	}
	expired, err := h.provider.CA().TLSLeaf(providersim.TLSLeafOptions{NotBefore: time.Now().AddDate(-2, 0, 0), NotAfter: time.Now().AddDate(0, 0, -1)})
	if err != nil {
		h.t.Fatal(err)
	}
	h.provider.SetTLS(providersim.TLSOptions{Certificate: &expired})
}

// sentTimes counts what the provider has taken, by Message-ID.
func (h *house) sentTimes() (all int, by map[string]int) {
	by = map[string]int{}
	for _, l := range h.provider.Ledger() {
		by[strings.Trim(l.MessageID, "<>")]++
		all++
	}
	return all, by
}

// listed runs `pecgate queue list --json`.
func (h *house) listed(args ...string) (items []relay.QueueItem) {
	h.t.Helper()
	state, out, errs := program(h.t, "", append([]string{"queue", "list", "--json", "--config", h.config()}, args...)...)
	if state != exitGood {
		h.t.Fatalf("queue list: %d %s", state, errs)
	}
	for line := range strings.Lines(out) {
		var it relay.QueueItem
		if err := json.Unmarshal([]byte(line), &it); err != nil {
			h.t.Fatalf("%s: %v", line, err)
		}
		items = append(items, it)
	}
	return items
}

// TestK9_RestoreResendsNothing backs up a store with 90 submissions that wait,
// lets them all leave, and puts the backup in its place. None leaves a second
// time: the receipts that are still at the provider say what became of them.
// Those that had not left stay held, and leave once when a person says so.
func TestK9_RestoreResendsNothing(t *testing.T) {
	const before, waiting, unsent = 10, 90, 5
	h := newHouse(t, mailboxText(boxA, false, "    limits: {per_minute: 0}\n", "mario"), mailboxText(boxB, false, "", "lucia"))
	h.start()
	submitAll := func(login, box, to, prefix string, n int) (ids []string) {
		t.Helper()
		roots := h.roots()
		var sessions sync.WaitGroup
		turn := make(chan struct{}, 8)
		for i := range n {
			id := fmt.Sprintf("%s%d@alfa.example", prefix, i)
			ids = append(ids, id)
			turn <- struct{}{}
			sessions.Go(func() {
				defer func() { <-turn }()
				if r := sendTo(t, h.smtps, roots, login, login+login, box, []string{to}, mail(box, to, "prova", id)); r.Class != submit.HandedOver {
					t.Errorf("%+v", r)
				}
			})
		}
		sessions.Wait()
		return ids
	}
	submitAll("mario", boxA, boxB, "known", before)
	h.until("the first are accepted", func() bool { return h.accepted() == before })
	h.unsafe(true)
	submitAll("mario", boxA, boxB, "w", waiting)
	never := submitAll("lucia", boxB, boxA, "n", unsent)
	h.stop()
	copied := h.backUp()

	// In the time that will be lost, box A sends; box B is refused its login.
	h.unsafe(false)
	h.write("secrets/"+boxB, "wrong\n")
	h.start()
	h.until("box A has sent everything", func() bool { return h.accepted() == before+waiting })
	h.stop()
	if all, _ := h.sentTimes(); all != before+waiting {
		t.Fatalf("the provider has %d messages", all)
	}

	h.putBack(copied)
	h.write("secrets/"+boxB, "provider-b\n")
	h.start()
	h.until("the receipts are tied", func() bool { return h.accepted() == before+waiting })
	// Both mailboxes are read, and nothing more is to come by itself.
	seen := time.Now()
	h.until("every mailbox was read again", func() bool {
		return !slices.ContainsFunc(h.status().Mailboxes, func(b relay.BoxStatus) bool { return !b.LastFetch.After(seen) })
	})
	all, by := h.sentTimes()
	if all != before+waiting {
		t.Errorf("resent: %d", all-before-waiting)
	}
	for id, n := range by {
		if n != 1 {
			t.Errorf("%s was sent %d times", id, n)
		}
	}
	if got := len(h.folder("mario", treeA+"Ricevute/Accettazione")); got != before+waiting {
		t.Errorf("%d acceptances in the folder", got)
	}
	if got := len(h.folder("mario", treeA+"Posta inviata")); got != before+waiting {
		t.Errorf("%d sent messages in the folder", got)
	}
	held := h.listed()
	if len(held) != unsent {
		t.Fatalf("%d wait: %+v", len(held), held)
	}
	for _, it := range held {
		if it.State != relay.Held || it.StateReason != relay.ReasonRestored || !it.MayHaveLeft || it.Mailbox != boxB || !slices.Contains(never, it.MsgID) {
			t.Errorf("%+v", it)
		}
	}
	notices := h.folder("lucia", "INBOX") // she is the administrator of both
	if len(notices) != 1 || !strings.Contains(notices[0], fmt.Sprintf("Archivio ripristinato: %d PEC trattenute", waiting+unsent)) {
		t.Errorf("%d notices: %.300q", len(notices), notices)
	}

	// A person decides: each leaves once.
	var args []string
	for _, it := range held {
		args = append(args, it.ID)
	}
	state, out, errs := program(t, "", append([]string{"queue", "retry", "--config", h.config()}, args...)...)
	if state != exitGood || strings.Count(out, "\n") != unsent || errs != "" {
		t.Errorf("queue retry: %d\n%s%s", state, out, errs)
	}
	h.until("they are accepted", func() bool { return h.accepted() == before+waiting+unsent })
	h.stop()
	h.start() // and once only: nothing of the restore is left
	h.until("every mailbox was read again", func() bool {
		return !slices.ContainsFunc(h.status().Mailboxes, func(b relay.BoxStatus) bool { return b.LastFetch.IsZero() })
	})
	all, by = h.sentTimes()
	if all != before+waiting+unsent || len(by) != all || len(h.listed()) != 0 {
		t.Errorf("%d messages at the provider under %d ids, %d wait", all, len(by), len(h.listed()))
	}
	if got := len(h.folder("lucia", "INBOX")); got != 1 {
		t.Errorf("%d notices after another start", got)
	}
}
