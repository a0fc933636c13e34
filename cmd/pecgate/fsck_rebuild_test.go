package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pecgate/mailbox"
	"pecgate/relay"
	"pecgate/relay/providersim"
	"pecgate/relay/submit"
)

// seen is what people see: by login and folder the hashes of the messages, in
// their order.
func (h *house) seen(where map[string][]string) map[string][]string {
	h.t.Helper()
	out := map[string][]string{}
	for login, folders := range where {
		for _, f := range folders {
			hashes := []string{}
			for _, raw := range h.folder(login, f) {
				hashes = append(hashes, hex256([]byte(raw)))
			}
			slices.Sort(hashes)
			out[login+": "+f] = hashes
		}
	}
	return out
}

// TestRebuild deletes the records of an appliance that has sent and received,
// makes them anew from the segments, and looks at it as people do: every message
// is where it was, byte for byte, the submissions have the outcome that their
// receipts tell, and nothing is sent again.
func TestRebuild(t *testing.T) {
	h := newHouse(t, mailboxText(boxA, false, "", "mario", "anna, send: false"), mailboxText(boxB, false, "", "lucia"))
	if err := h.provider.SetBehaviour("nobody@pec.beta.example", providersim.UnknownTo); err != nil {
		t.Fatal(err)
	}
	h.start()
	put := func(login, from, id string, to ...string) {
		t.Helper()
		text := strings.Replace(mail(from, strings.Join(to, ">, <"), "prova "+id, id+"@alfa.example"), "Si trasmette", strings.Repeat(id+" ", 50), 1)
		if r := h.send(login, login+login, from, to, text); r.Class != submit.HandedOver {
			t.Fatalf("%+v", r)
		}
	}
	put("mario", boxA, "r1", boxB)
	put("mario", boxA, "r2", boxB, "nobody@pec.beta.example")
	put("lucia", boxB, "r3", boxA)
	// A large message has a segment of its own.
	large := strings.Replace(mail(boxA, boxB, "grande", "r4@alfa.example"), "Si trasmette", strings.Repeat("0123456789abcdef\r\n", 80_000), 1)
	h.send("mario", "mariomario", boxA, []string{boxB}, large)
	draft := "From: " + boxA + "\r\nSubject: bozza\r\nMessage-ID: <d1@alfa.example>\r\n\r\nnon finita\r\n"
	filed := strings.ReplaceAll(draft, "d1@", "d2@")
	h.imap("mario", fmt.Sprintf("APPEND Bozze {%d+}\r\n%s", len(draft), draft), "CREATE Pratiche", fmt.Sprintf("APPEND Pratiche {%d+}\r\n%s", len(filed), filed))
	for _, id := range []string{"r1", "r3", "r4"} {
		h.until(id+" is delivered", func() bool {
			s, err := h.shown(id + "@alfa.example")
			return err == nil && s.State == relay.Accepted && s.Recipients[0].State == relay.Delivered
		})
	}
	h.until("r2 has failed for one", func() bool {
		s, err := h.shown("r2@alfa.example")
		return err == nil && s.Recipients[0].State == relay.Delivered && s.Recipients[1].State == relay.Failed
	})
	h.until("everything arrived", func() bool {
		return len(h.folder("lucia", treeB+"Posta in arrivo")) == 3 && len(h.folder("mario", treeA+"Posta in arrivo")) == 1
	})
	h.unsafe(true)
	put("mario", boxA, "unsent", boxB)
	where := map[string][]string{
		"mario": {"Posta inviata", "Bozze", "Pratiche", treeA + "Posta in arrivo", treeA + "Contenuti", treeA + "Posta inviata", treeA + "Ricevute/Accettazione",
			treeA + "Ricevute/Consegna", treeA + "Ricevute/Errori", treeA + "Anomalie"},
		"anna":  {treeA + "Posta in arrivo", treeA + "Posta inviata", treeA + "Ricevute/Accettazione"},
		"lucia": {"Posta inviata", treeB + "Posta in arrivo", treeB + "Posta inviata", treeB + "Ricevute/Consegna"},
	}
	shown := map[string]relay.Shown{}
	for _, id := range []string{"r1", "r2", "r3", "r4", "unsent"} {
		s, err := h.shown(id + "@alfa.example")
		if err != nil {
			t.Fatal(err)
		}
		shown[id] = s
	}
	before := h.seen(where)
	for _, f := range []string{"mario: Bozze", "mario: Pratiche", "mario: " + treeA + "Ricevute/Errori", "anna: " + treeA + "Posta in arrivo"} {
		if len(before[f]) != 1 {
			t.Fatalf("%s has %d messages: the test shows nothing", f, len(before[f]))
		}
	}
	sent, _ := h.sentTimes()

	rebuild := func(args ...string) (int, string, string) {
		t.Helper()
		return program(t, "", append([]string{"fsck", "--rebuild", "--config", h.config()}, args...)...)
	}
	if state, out, errs := rebuild(); state != exitFailed || out != "" || !strings.Contains(errs, "stop the appliance first") {
		t.Errorf("while it runs: %d %s%s", state, out, errs)
	}
	h.stop()
	if state, out, errs := rebuild(); state != exitFailed || out != "" || !strings.Contains(errs, "can be opened") {
		t.Errorf("good records: %d %s%s", state, out, errs)
	}
	if state, _, errs := rebuild("--deep"); state != exitUsage || !strings.Contains(errs, "--rebuild goes alone") {
		t.Errorf("with --deep: %d %s", state, errs)
	}
	data := filepath.Join(h.dir, "data")
	if err := os.RemoveAll(filepath.Join(data, "records")); err != nil {
		t.Fatal(err)
	}
	if state, _, errs := program(t, "", "status", "--config", h.config()); state != exitFailed || !strings.Contains(errs, data) {
		t.Errorf("without records: %d %s", state, errs)
	}
	state, out, errs := rebuild("--json")
	var r mailbox.Rebuilt
	if err := json.Unmarshal([]byte(out), &r); err != nil || state != exitGood || errs != "" {
		t.Fatalf("%d %v %s%s", state, err, out, errs)
	}
	if r.Filed[mailbox.Out] != 5 || r.Filed[mailbox.Own] < 2 || r.Left != 0 || r.Doubles != 0 || r.Damaged != 0 || r.Kept != "" ||
		r.Filed[mailbox.Out]+r.Filed[mailbox.In]+r.Filed[mailbox.Own] != r.Messages {
		t.Errorf("%+v", r)
	}
	if state, out, errs := program(t, "", "fsck", "--deep", "--config", h.config()); state != exitGood {
		t.Errorf("fsck: %d %s%s", state, out, errs)
	}

	h.start()
	after := h.seen(where)
	for _, f := range slices.Sorted(maps.Keys(before)) {
		if !slices.Equal(before[f], after[f]) {
			t.Errorf("%s: %d messages, and now %d:\n%v\n%v", f, len(before[f]), len(after[f]), before[f], after[f])
		}
	}
	for _, id := range []string{"r1", "r2", "r3", "r4"} {
		was := shown[id]
		s, err := h.shown(was.ID)
		if err != nil || s.State != was.State || s.Identifier != was.Identifier || s.SHA256 != was.SHA256 || s.MsgID != was.MsgID || s.User != was.User ||
			!s.SubmittedAt.Equal(was.SubmittedAt) && s.SubmittedAt.Sub(was.SubmittedAt).Abs().Seconds() > 1 {
			t.Errorf("%s: %v\n%+v\n%+v", id, err, was, s)
			continue
		}
		for n := range was.Recipients {
			if got, want := s.Recipients[n], was.Recipients[n]; got.State != want.State || len(got.Receipts) != len(want.Receipts) {
				t.Errorf("%s: %+v instead of %+v", id, got, want)
			}
		}
	}
	if s, err := h.shown(shown["unsent"].ID); err != nil || s.State != relay.Held || s.StateReason != relay.ReasonRestored {
		t.Errorf("what was not sent is %s (%s), %v", s.State, s.StateReason, err)
	}
	// Everything at the provider is read again, and known.
	h.unsafe(false)
	h.until("the mailboxes were read", func() bool {
		return !slices.ContainsFunc(h.status().Mailboxes, func(b relay.BoxStatus) bool { return b.LastFetch.IsZero() })
	})
	if again := h.seen(where); !maps.EqualFunc(after, again, slices.Equal) {
		t.Errorf("after the mailboxes were read again: %v\n%v", after, again)
	}
	if all, _ := h.sentTimes(); all != sent {
		t.Errorf("%d messages were sent", all-sent)
	}
	if state, out, errs := program(t, "", "audit", "verify", "--config", h.config()); state != exitGood {
		t.Errorf("audit verify: %d %s%s", state, out, errs)
	}
	if state, _, errs := program(t, "", "queue", "retry", shown["unsent"].ID, "--config", h.config()); state != exitGood {
		t.Error(errs)
	}
	h.settled("unsent@alfa.example", relay.Accepted)
	if all, _ := h.sentTimes(); all != sent+1 {
		t.Errorf("%d messages were sent", all-sent)
	}
}
