package relay

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pecgate/mailbox"
	"pecgate/mailbox/backup"
	"pecgate/relay/providersim" // composes and signs receipts as a provider does
)

// restore backs the store up, lets something happen, and puts the backup in its
// place.
func (i *intake) restore(meanwhile func()) {
	i.t.Helper()
	dir := i.t.TempDir()
	f, err := backup.Open(backup.Options{Dir: filepath.Join(dir, "backup")})
	if err != nil {
		i.t.Fatal(err)
	}
	_, err = i.store.BackupTo(i.t.Context(), f, mailbox.AuditLine{Actor: "test"})
	if err := errors.Join(err, f.Close()); err != nil {
		i.t.Fatal(err)
	}
	meanwhile()
	src, err := backup.Read(filepath.Join(dir, "backup"), nil, nil)
	if err != nil {
		i.t.Fatal(err)
	}
	data := filepath.Join(dir, "data")
	if _, err := mailbox.Restore(i.t.Context(), mailbox.Options{Dir: data}, mailbox.RestoreOptions{Source: src, By: "test"}); err != nil {
		i.t.Fatal(err)
	}
	if i.store, err = mailbox.Open(mailbox.Options{Dir: data}); err != nil {
		i.t.Fatal(err)
	}
	i.t.Cleanup(func() {
		if err := i.store.Close(); err != nil {
			i.t.Error(err)
		}
	})
	o := i.s.opt
	o.Store, o.Address = i.store, "pecgate@gateway.example"
	o.Accounts = func() []Account { return []Account{{Box: testBox, Active: true, Admin: "capo"}} }
	i.s = New(o)
}

// TestRestoredIsHeld: of every state, what a restore makes of it; nothing is due
// afterwards, and nobody may release anything before.
func TestRestoredIsHeld(t *testing.T) {
	i := newIntake(t)
	want := map[State]step{
		Held: {Held, ReasonOperator}, ToApprove: {ToApprove, ReasonOperator},
		Queued: {Held, ReasonRestored}, Attempting: {Held, ReasonRestored}, Uncertain: {Held, ReasonRestored},
		HandedOver: {HandedOver, ReasonOperator}, Accepted: {Accepted, ReasonOperator},
		NotAccepted: {NotAccepted, ReasonOperator}, Cancelled: {Cancelled, ReasonOperator},
	}
	for _, s := range States() {
		i.put("s-"+string(s), s, ReasonOperator, nil)
	}
	// More than one look and several transactions take.
	for n := range 60 {
		i.put(fmt.Sprintf("t%03d", n), Queued, "", nil)
	}
	i.update(func(tx *mailbox.Tx) error {
		sp := tx.Space(room)
		at := spot{folder: "INBOX", validity: 1, uid: 3}
		return errors.Join(sp.Put(cursorKey(testBox, "INBOX"), cursor{UIDValidity: 1, UID: 9}),
			sp.Put(at.asideKey(testBox), aside{UID: 3}), sp.Put(at.standingKey(testBox), standing{Message: 1}))
	})
	i.restore(func() {})

	if _, err := i.s.Retry(t.Context(), "s-queued", Hand{}); !errors.Is(err, errRestoring) {
		t.Errorf("released before it was held: %v", err)
	}
	// Cut off anywhere, it goes on.
	for n := range 40 {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Duration(n)*300*time.Microsecond, cancel)
		_ = i.s.Restored(ctx) // as far as it comes
		cancel()
	}
	if err := i.s.Restored(t.Context()); err != nil {
		t.Fatal(err)
	}
	for s, w := range want {
		got := stored(t, i.store, "s-"+string(s))
		if g := (step{got.State, got.StateReason}); g != w {
			t.Errorf("%s became %v instead of %v", s, g, w)
		}
		if open := s.open(); got.mayHaveLeft() != open {
			t.Errorf("%s: may have left: %t", s, got.mayHaveLeft())
		}
	}
	if s := stored(t, i.store, "t059"); s.State != Held || s.StateReason != ReasonRestored || s.Events != 2 {
		t.Errorf("%+v", s)
	}
	if tasks, later, err := i.s.dueTasks(t.Context(), ""); err != nil || len(tasks) != 0 || !later.IsZero() {
		t.Errorf("due: %v, %v, %v", tasks, later, err)
	}
	if _, met, err := i.s.readCursor(t.Context(), testBox, "INBOX"); met || err != nil {
		t.Errorf("the cursor is there still: %v", err)
	}
	err := i.store.View(t.Context(), func(tx *mailbox.Tx) error {
		for _, kind := range []string{"a/", "d/", "u/"} {
			err := tx.Space(room).Scan(kind, func(k string, _ []byte) (bool, error) { return false, errors.New(k + " is there still") })
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	// The administrator is told once, with the count.
	capo, err := i.store.Person(t.Context(), "capo")
	if err != nil {
		t.Fatal(err)
	}
	inbox := mailbox.FolderKey{Owner: capo, Role: mailbox.RoleInbox}
	if st, err := i.store.Status(t.Context(), inbox, mailbox.Viewer{Person: capo}); err != nil || st.Messages != 1 {
		t.Errorf("%d notices, %v", st.Messages, err)
	}
	head, body, _ := strings.Cut(i.newest(inbox), "\r\n\r\n")
	text, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(body, "\r\n", ""))
	if err != nil || !strings.Contains(head, "Subject: Archivio ripristinato: 63 PEC trattenute") || !strings.Contains(string(text), "63 messaggi") ||
		!strings.Contains(string(text), "pecgate queue retry ID") || !strings.Contains(string(text), testBox+": 63") {
		t.Errorf("%v\n%s\n%s", err, head, text)
	}
	// A later start does nothing, and now a person may decide.
	if _, err := i.s.Retry(t.Context(), "s-queued", Hand{}); err != nil {
		t.Error(err)
	}
	if err := i.s.Restored(t.Context()); err != nil || stored(t, i.store, "s-queued").State != Queued {
		t.Errorf("held again: %v", err)
	}
}

// TestReceiptsSettleWhatIsHeld: the receipts that are read again move what is
// held, those that are in the store are not doubled, and what the backup does
// not know of is history.
func TestReceiptsSettleWhatIsHeld(t *testing.T) {
	i := newIntake(t)
	i.send("s1", testMsgID, sentText, "a@pec.example", "b@pec.example")
	i.send("s2", "m2@alfa.example", strings.ReplaceAll(sentText, testMsgID, "m2@alfa.example"), "a@pec.example")
	i.send("s3", "m3@alfa.example", strings.ReplaceAll(sentText, testMsgID, "m3@alfa.example"), "a@pec.example")
	i.send("s4", "m4@alfa.example", strings.ReplaceAll(sentText, testMsgID, "m4@alfa.example"), "a@pec.example")
	for _, id := range []string{"s2", "s3", "s4"} {
		i.from(id, Queued)
	}
	// Its bytes are in the backup, its record came too late for it.
	i.submit("s5", "m5@alfa.example", nil, "a@pec.example")
	i.submit("s6", "m6@alfa.example", nil, "a@pec.example")
	of := func(msgid, identifier string) func(*providersim.Notice) {
		return func(n *providersim.Notice) {
			n.MsgID, n.Identifier, n.Recipients = "<"+msgid+">", identifier, []providersim.Recipient{{Address: "a@pec.example"}}
		}
	}
	known := [][]byte{i.receipt(providersim.Acceptance, nil), i.receipt(providersim.Delivery, nil)}
	for _, raw := range known {
		i.take(raw)
	}
	later := [][]byte{
		i.receipt(providersim.Acceptance, of("m2@alfa.example", "2."+pecID)), i.receipt(providersim.Delivery, of("m2@alfa.example", "2."+pecID)),
		i.receipt(providersim.Acceptance, of("m5@alfa.example", "5."+pecID)),
		i.receipt(providersim.NonAcceptance, of("m3@alfa.example", "3."+pecID)),
		i.receipt(providersim.Acceptance, of("lost@alfa.example", "9."+pecID)),
	}
	i.restore(func() {
		for _, raw := range later {
			i.take(raw) // in the time that is lost
		}
	})
	if err := i.s.Restored(t.Context()); err != nil {
		t.Fatal(err)
	}
	for n, raw := range append(known, later...) {
		i.takeAt(raw, time.Now(), cursor{UIDValidity: 2, HistoryTo: uint32(100 + n)})
	}
	for id, w := range map[string]step{"s1": {Accepted, ""}, "s2": {Accepted, ""}, "s3": {NotAccepted, ReasonFormal}, "s4": {Held, ReasonRestored}, "s5": {Accepted, ""}, "s6": {Held, ReasonRestored}} {
		if s := stored(t, i.store, id); s.State != w.state || s.StateReason != w.why {
			t.Errorf("%s is %s (%s)", id, s.State, s.StateReason)
		}
	}
	if s := i.shown("s2"); s.Recipients[0].State != Delivered {
		t.Errorf("%+v", s.Recipients)
	}
	i.owned(mailbox.RoleDelivery, 2)
	if own, all := i.inFolder(mailbox.RoleAcceptance, sender, mailbox.ScopeOwn), i.inFolder(mailbox.RoleAcceptance, member, mailbox.ScopeAll); own != 3 || all != 4 {
		t.Errorf("%d acceptances in the folder, %d of them the sender's", all, own)
	}
}
