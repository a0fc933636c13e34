package relay

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"pecgate/mailbox"
)

const heldMessage = "From: Protocollo <protocollo@pec.alfa.example>\r\nTo: a@pec.example\r\nCc: b@pec.example\r\nSubject: =?utf-8?Q?Offerta_n=C2=B0_7?=\r\n" +
	"Date: Sat, 21 Nov 2026 10:00:00 +0100\r\nMessage-ID: <%s>\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" +
	"--b\r\nContent-Type: text/plain\r\n\r\ntesto\r\n--b\r\nContent-Type: application/pdf; name=\"offerta.pdf\"\r\n" +
	"Content-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=\"offerta.pdf\"\r\n\r\naGVsbG8=\r\n--b--\r\n"

// keep puts a submission into the store that is held for its PIN.
func (i *intake) keep(id string, lack Lack) {
	i.t.Helper()
	ctx := i.t.Context()
	in, err := i.store.Begin(ctx)
	if err != nil {
		i.t.Fatal(err)
	}
	if _, err := fmt.Fprintf(in, heldMessage, id+"@alfa.example"); err != nil {
		i.t.Fatal(err)
	}
	st, err := in.Store(ctx, mailbox.Origin{Box: testBox, Direction: mailbox.Out, User: "mario", Submission: id})
	if err != nil {
		i.t.Fatal(err)
	}
	defer st.Close()
	p, err := i.store.Person(ctx, "mario")
	if err != nil {
		i.t.Fatal(err)
	}
	_, err = i.store.Record(ctx, st, func(tx *mailbox.Tx, m *mailbox.Message) error {
		m.Author, m.Submission = p, id
		_, err := Enqueue(tx, Ticket{ID: id, Box: testBox, User: "mario", Person: p, MsgID: id + "@alfa.example", To: []string{"a@pec.example", "b@pec.example"},
			Held: lack, Retry: "retry-" + id, Remote: "192.0.2.1"}, m)
		return err
	})
	if err != nil {
		i.t.Fatal(err)
	}
}

// messages are the numbers of what a person sees in a folder.
func (i *intake) messages(k mailbox.FolderKey) (all []mailbox.MessageID) {
	i.t.Helper()
	ctx, v := i.t.Context(), mailbox.Viewer{Person: 1}
	snap, err := i.store.Snapshot(ctx, k, v)
	if err != nil {
		i.t.Fatal(err)
	}
	err = i.store.Entries(ctx, snap.Folder, v, snap.UIDs, mailbox.Want{}, func(e *mailbox.Entry) error { all = append(all, e.Message); return nil })
	if err != nil {
		i.t.Fatal(err)
	}
	return all
}

// where tells in which folders the message of a submission of Mario's stands.
func (i *intake) where(id string) (roles []string) {
	i.t.Helper()
	sub := stored(i.t, i.store, id)
	for _, r := range []mailbox.Role{mailbox.RoleToConfirm, mailbox.RoleTrash, mailbox.RoleSent} {
		k := mailbox.FolderKey{Box: testBox, Role: r}
		if r != mailbox.RoleSent {
			k.Owner = sub.Person
		}
		if slices.Contains(i.messages(k), sub.Message) {
			roles = append(roles, string(r))
		}
	}
	return roles
}

// told returns the newest notice to Mario: its header and its text.
func (i *intake) told() (header, text string) {
	i.t.Helper()
	header, body, _ := strings.Cut(i.newest(mailbox.FolderKey{Owner: 1, Role: mailbox.RoleInbox}), "\r\n\r\n")
	b, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(body, "\r\n", ""))
	if err != nil {
		i.t.Fatal(err)
	}
	return header, string(b)
}

var replyTo = regexp.MustCompile(`(?m)^Reply-To: confirm\+([a-z2-7]{26})@gateway\.example\r$`)

// token looks at the holds and returns the token of the newest notice.
func (i *intake) token() string {
	i.t.Helper()
	i.s.opt.Address = "pecgate@gateway.example"
	if _, err := i.s.lookAtHolds(i.t.Context()); err != nil {
		i.t.Fatal(err)
	}
	header, _ := i.told()
	m := replyTo.FindStringSubmatch(header + "\r\n")
	if m == nil {
		i.t.Fatalf("no token in\n%s", header)
	}
	return m[1]
}

// keysOf counts what stands in the relay's room below the prefixes of holds.
func (i *intake) keysOf() (all []string) {
	i.t.Helper()
	err := i.store.View(i.t.Context(), func(tx *mailbox.Tx) error {
		for _, p := range []string{"h/", holdTell, holdDue, "ht/"} {
			if err := tx.Space(room).Scan(p, func(k string, _ []byte) (bool, error) { all = append(all, k); return true, nil }); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		i.t.Fatal(err)
	}
	return all
}

// TestHoldIsConfirmed: what is held is in no queue, its sender gets one notice
// with a digest, and its token releases it once.
func TestHoldIsConfirmed(t *testing.T) {
	i := newIntake(t)
	i.keep("one", PINMissing)
	if s := stored(t, i.store, "one"); !s.waitsForPIN() || !s.Hold {
		t.Fatalf("%+v", s)
	}
	if due, _, err := i.s.dueTasks(t.Context(), testBox); err != nil || len(due) != 0 {
		t.Errorf("the sender has %v to do, %v", due, err)
	}
	if got := i.where("one"); !slices.Equal(got, []string{"to-confirm"}) {
		t.Errorf("it stands in %v", got)
	}
	token := i.token()
	header, text := i.told()
	for _, want := range []string{"From: pecgate@gateway.example\r\n", "To: pecgate@gateway.example\r\n", "References: <one@alfa.example>\r\n"} {
		if !strings.Contains(header, want) {
			t.Errorf("the header lacks %q:\n%s", want, header)
		}
	}
	for _, want := range []string{"Da: Protocollo <protocollo@pec.alfa.example>\r\n", "A: a@pec.example\r\n", "Cc: b@pec.example\r\n", "Oggetto: Offerta n° 7\r\n",
		"Data: 21/11/2026", "- offerta.pdf, 5 byte\r\n  SHA-256: 2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
		"rispondere a questo avviso", `"PEC/` + testBox + `/Da confermare"`, "non c'era"} {
		if !strings.Contains(text, want) {
			t.Errorf("the notice lacks %q:\n%s", want, text)
		}
	}
	if again := i.token(); again != token {
		t.Error("a second notice was written")
	}
	for _, k := range i.keysOf() {
		if strings.Contains(k, token) {
			t.Errorf("the token stands in the key %s", k)
		}
	}
	by := Hand{Actor: "mario", From: "192.0.2.1"}
	if _, err := ByToken(t.Context(), i.store, token, 2); !errors.Is(err, ErrNotFound) {
		t.Errorf("another person finds it: %v", err)
	}
	if _, err := Confirm(t.Context(), i.store, token, 2, by); !errors.Is(err, ErrNotFound) {
		t.Errorf("another person releases it: %v", err)
	}
	if _, err := ByToken(t.Context(), i.store, "x"+token[1:], 1); !errors.Is(err, ErrNotFound) && token[0] != 'x' {
		t.Errorf("another token finds it: %v", err)
	}
	if h, err := ByToken(t.Context(), i.store, strings.ToUpper(token), 1); err != nil || h.ID != "one" || !h.Waits {
		t.Errorf("%+v, %v", h, err)
	}
	for range 2 {
		if id, err := Confirm(t.Context(), i.store, token, 1, by); err != nil || id != "one" {
			t.Fatal(id, err)
		}
	}
	s := stored(t, i.store, "one")
	if s.State != Queued || s.StateReason != "" || s.Hold || s.Released.IsZero() {
		t.Errorf("%+v", s)
	}
	if due, _, err := i.s.dueTasks(t.Context(), testBox); err != nil || len(due) != 1 {
		t.Errorf("the sender has %v to do, %v", due, err)
	}
	if got := i.where("one"); !slices.Equal(got, []string{"sent"}) {
		t.Errorf("it stands in %v", got)
	}
	if lines := i.audited("submission confirmed"); len(lines) != 1 || !strings.HasPrefix(lines[0], "mario|192.0.2.1|"+testBox+"|one|queued") {
		t.Errorf("audited as %q", lines)
	}
	if h, err := ByToken(t.Context(), i.store, token, 1); err != nil || h.Waits || h.Ended {
		t.Errorf("afterwards %+v, %v", h, err)
	}
}

// TestHoldOutlivesACrash: the notice that a crash left unwritten is written at
// the next start, by Run, with a token that works.
func TestHoldOutlivesACrash(t *testing.T) {
	i := newIntake(t)
	for n := range 3 {
		i.keep(fmt.Sprint("held", n), PINWrong)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- i.s.Run(ctx) }()
	inbox := mailbox.FolderKey{Owner: 1, Role: mailbox.RoleInbox}
	for end := time.Now().Add(30 * time.Second); len(i.messages(inbox)) < 3 && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
	i.keep("later", PINWrong) // the bell wakes the keeper
	for end := time.Now().Add(30 * time.Second); len(i.messages(inbox)) < 4 && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if n := len(i.messages(inbox)); n != 4 {
		t.Errorf("%d notices", n)
	}
}

// evenClock has the clock seen to go on evenly for some days.
func (i *intake) evenClock(days int) {
	i.t.Helper()
	i.update(func(tx *mailbox.Tx) error {
		return tx.Space(room).Put(holdClock, mailbox.EvenClock{Seen: tx.Now(), Days: days})
	})
}

// TestJ1_AJumpEndsNoHold: a clock that jumps ahead ends nothing.
func TestJ1_AJumpEndsNoHold(t *testing.T) {
	i := newIntake(t)
	i.keep("one", PINMissing)
	i.token()
	i.update(func(tx *mailbox.Tx) error { // as after a jump of a year
		sp := tx.Space(room)
		return errors.Join(sp.Put(holdClock, mailbox.EvenClock{Seen: tx.Now().AddDate(-1, 0, 0), Days: 3}),
			sp.Put(holdDueKey(tx.Now().AddDate(-1, 0, 0), "one"), ""))
	})
	if _, err := i.s.lookAtHolds(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := stored(t, i.store, "one"); !s.waitsForPIN() {
		t.Errorf("it is %s (%s)", s.State, s.StateReason)
	}
	i.evenClock(3)
	if _, err := i.s.lookAtHolds(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := stored(t, i.store, "one"); s.State != Cancelled {
		t.Errorf("with an even clock it is %s", s.State)
	}
}

// TestHoldEnds: in time, by the sender or by the administrator. The sender is
// told where they did not do it, and a copy is kept but where they expunged it.
func TestHoldEnds(t *testing.T) {
	by := Hand{Actor: "mario", From: "192.0.2.1"}
	for name, c := range map[string]struct {
		end    func(i *intake, id string)
		why    Reason
		where  []string
		notice string // in the subject
		event  string
	}{
		"time": {func(i *intake, id string) {
			i.evenClock(3)
			i.update(func(tx *mailbox.Tx) error {
				sp := tx.Space(room)
				var h hold
				if err := sp.Get(holdKey(id), &h); err != nil {
					return err
				}
				return errors.Join(sp.Delete(holdDueKey(h.Until, id)), sp.Put(holdDueKey(tx.Now().Add(-time.Second), id), h.Token))
			})
			if _, err := i.s.lookAtHolds(i.t.Context()); err != nil {
				i.t.Fatal(err)
			}
		}, ReasonExpired, []string{"trash"}, "=?utf-8?q?PEC_annullata:_il_PIN", "state"},
		"expunged": {func(i *intake, id string) {
			places, err := Withdraw(i.t.Context(), i.store, 1, []mailbox.MessageID{stored(i.t, i.store, id).Message}, mailbox.FolderKey{}, by)
			if err != nil || len(places) != 1 || places[0].UID != 0 {
				i.t.Error(places, err)
			}
		}, "", nil, "Confermare", "submission withdrawn"},
		"moved to the trash": {func(i *intake, id string) {
			trash := mailbox.FolderKey{Box: testBox, Owner: 1, Role: mailbox.RoleTrash}
			m := stored(i.t, i.store, id).Message
			for n := range 2 {
				places, err := Withdraw(i.t.Context(), i.store, 1, []mailbox.MessageID{m}, trash, by)
				if err != nil || len(places) != 1 || (places[0].UID == 1) != (n == 0) {
					i.t.Error(places, err)
				}
			}
		}, "", []string{"trash"}, "Confermare", "submission withdrawn"},
		"queue cancel": {func(i *intake, id string) {
			if _, err := i.s.Retry(i.t.Context(), id, by); err == nil {
				i.t.Error("an administrator releases it without its PIN")
			}
			if _, err := i.s.Cancel(i.t.Context(), id, false, by); err != nil {
				i.t.Fatal(err)
			}
		}, ReasonOperator, []string{"trash"}, "PEC_annullata:_non", "queue cancel"},
	} {
		t.Run(name, func(t *testing.T) {
			i := newIntake(t)
			i.keep("one", PINMissing)
			token := i.token()
			c.end(i, "one")
			s := stored(t, i.store, "one")
			if s.State != Cancelled || s.StateReason != c.why || s.Hold {
				t.Errorf("%s (%s), hold %t", s.State, s.StateReason, s.Hold)
			}
			if got := i.where("one"); !slices.Equal(got, c.where) {
				t.Errorf("it stands in %v", got)
			}
			if header, _ := i.told(); !strings.Contains(header, c.notice) {
				t.Errorf("the last notice is\n%s", header)
			}
			if lines := i.audited(c.event); len(lines) != 1 || !strings.Contains(lines[0], "|one|cancelled") {
				t.Errorf("audited as %q", lines)
			}
			switch id, err := Confirm(t.Context(), i.store, token, 1, by); {
			case name == "time" && errors.Is(err, ErrNotFound), name != "time" && errors.Is(err, ErrEnded):
			default:
				t.Errorf("it can still be confirmed: %s, %v", id, err)
			}
			if s := stored(t, i.store, "one"); s.State != Cancelled {
				t.Errorf("it is %s", s.State)
			}
			if left := i.keysOf(); name == "time" && len(left) > 0 {
				t.Errorf("left over: %v", left)
			}
		})
	}
}

// TestHoldOfAnotherIsNotWithdrawn: nobody takes back what is not theirs.
func TestHoldOfAnotherIsNotWithdrawn(t *testing.T) {
	i := newIntake(t)
	i.keep("one", PINMissing)
	m := stored(t, i.store, "one").Message
	if places, err := Withdraw(t.Context(), i.store, 2, []mailbox.MessageID{m}, mailbox.FolderKey{}, Hand{}); err != nil || places[0].UID != 0 {
		t.Error(places, err)
	}
	if s := stored(t, i.store, "one"); !s.waitsForPIN() {
		t.Errorf("it is %s", s.State)
	}
}

// TestK9_HoldAfterARestore: the store is that of a backup, and the message may
// have been confirmed and have left since. The PIN alone does not send it again.
func TestK9_HoldAfterARestore(t *testing.T) {
	i := newIntake(t)
	i.keep("one", PINMissing)
	token := i.token()
	i.update(func(tx *mailbox.Tx) error {
		s, err := load(tx, "one")
		if err != nil {
			return err
		}
		return i.s.holdOne(tx, s)
	})
	if _, err := Confirm(t.Context(), i.store, token, 1, Hand{Actor: "mario"}); err != nil {
		t.Fatal(err)
	}
	s := stored(t, i.store, "one")
	if s.State != Held || s.StateReason != ReasonRestored {
		t.Errorf("%s (%s)", s.State, s.StateReason)
	}
	if due, _, err := i.s.dueTasks(t.Context(), testBox); err != nil || len(due) != 0 {
		t.Errorf("the sender has %v to do, %v", due, err)
	}
	if got := i.where("one"); !slices.Equal(got, []string{"sent"}) {
		t.Errorf("it stands in %v", got)
	}
}

// TestA4_RetryOfAHold: the client's retry is known as such, and one that comes
// after the hold has ended is another message.
func TestA4_RetryOfAHold(t *testing.T) {
	i := newIntake(t)
	i.keep("one", PINMissing)
	ask := func() (id string, held bool) {
		err := i.store.View(t.Context(), func(tx *mailbox.Tx) (err error) {
			if id, err = Repeated(tx, "retry-one"); err != nil || id == "" {
				return err
			}
			held, err = HeldForPIN(tx, id)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return id, held
	}
	if id, held := ask(); id != "one" || !held {
		t.Error(id, held)
	}
	i.update(func(tx *mailbox.Tx) error { return ConfirmHeld(tx, "one", Hand{Actor: "mario"}) })
	if id, held := ask(); id != "one" || held {
		t.Error(id, held)
	}
	i.keep("two", PINMissing)
	if _, err := i.s.Cancel(t.Context(), "two", false, Hand{}); err != nil {
		t.Fatal(err)
	}
	i.update(func(tx *mailbox.Tx) error {
		if err := ConfirmHeld(tx, "two", Hand{}); !errors.Is(err, ErrEnded) {
			t.Errorf("%v", err)
		}
		return nil
	})
}

// TestG5_LockIsToldOnce: the user and the administrator are told of a lock, once
// a day, until it was taken away.
func TestG5_LockIsToldOnce(t *testing.T) {
	i := newIntake(t)
	i.s.opt.Accounts = func() []Account { return []Account{{Box: testBox, Admin: "capo"}} }
	at := time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)
	count := func() (n [2]int) {
		for k, login := range []string{"mario", "capo"} {
			p, err := i.store.Person(t.Context(), login)
			if err != nil {
				t.Fatal(err)
			}
			snap, err := i.store.Snapshot(t.Context(), mailbox.FolderKey{Owner: p, Role: mailbox.RoleInbox}, mailbox.Viewer{Person: p})
			if err != nil {
				t.Fatal(err)
			}
			n[k] = len(snap.UIDs)
		}
		return n
	}
	tell := func(at time.Time) {
		if err := i.s.TellPINLocked(t.Context(), "mario", testBox, at); err != nil {
			t.Fatal(err)
		}
	}
	tell(at)
	tell(at.Add(time.Hour))
	if n := count(); n != [2]int{1, 1} {
		t.Errorf("told %v", n)
	}
	i.update(func(tx *mailbox.Tx) error { return ForgetPINLocked(tx, "Mario", "2026-11-22") })
	tell(at)
	tell(at.Add(24 * time.Hour))
	if n := count(); n != [2]int{3, 3} {
		t.Errorf("told %v", n)
	}
}

// TestDigestIsBounded: whatever stands in a message, its notice stays one that a
// person can read.
func TestDigestIsBounded(t *testing.T) {
	for in, want := range map[string]string{
		"a\r\nBcc: x":            "a Bcc: x",
		"\u202eabc\u200b \x00d":  "abc d",
		strings.Repeat("è", 200): strings.Repeat("è", 150) + "...",
		" \t ":                   "",
	} {
		if got := shownText(in, 150); got != want {
			t.Errorf("%q is shown as %q", in, got)
		}
	}
	i := newIntake(t)
	var b strings.Builder
	b.WriteString("Message-ID: <m@alfa.example>\r\nSubject: " + strings.Repeat("x", 3000) + "\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n")
	for range 300 {
		b.WriteString("--b\r\nContent-Type: application/x\r\n\r\ny\r\n")
	}
	in, err := i.store.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(in, b.String()+"--b--\r\n"); err != nil {
		t.Fatal(err)
	}
	st, err := in.Store(t.Context(), mailbox.Origin{Box: testBox, Direction: mailbox.Out, Submission: "big"})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	m, err := i.store.Record(t.Context(), st, func(*mailbox.Tx, *mailbox.Message) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	sub := &Submission{ID: "big", Message: m.ID, Box: testBox, User: "mario"}
	d, err := i.s.digest(t.Context(), sub)
	if err != nil || len(d.files) != digestFiles || d.more != 200 {
		t.Fatalf("%d files and %d more, %v", len(d.files), d.more, err)
	}
	if n := len(holdNotice(sub, hold{Lack: PINMissing}, d, "token", i.s.opt).bytes()); n > 64<<10 {
		t.Errorf("the notice has %d bytes", n)
	}
}
