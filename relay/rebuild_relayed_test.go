package relay

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pecgate/mailbox"
	"pecgate/relay/providersim" // composes and signs receipts as a provider does
)

// What came through a groupware server and is made anew from its bytes still tells its
// sender what becomes of it, as they asked: not what was known before the records were
// lost, which was told then.
func TestRebuiltSubmissionsStillNotify(t *testing.T) {
	r := &toldBack{reports: &reports{intake: newIntake(t)}}
	dir := t.TempDir()
	r.in(dir)
	to := []string{"a@pec.example", "b@pec.example", "c@pec.example"}
	ticket := Ticket{
		To: to, Relay: "exchange", ReturnTo: "mario.rossi@example.org", EnvID: "env 7", Return: "HDRS",
		Notify: []NotifyOf{
			{Recipient: to[0], Notify: "SUCCESS,FAILURE"},
			{Recipient: "B@pec.example", Notify: "SUCCESS", ORCPT: "rfc822;Orig+1@pec.example"},
			{Recipient: to[2], Notify: "NEVER"},
		},
	}
	relayed := func(o *mailbox.Origin) { o.Alias, o.Relayed = "client.1@exchange.example", ticket.Relayed() }
	r.submit("s1", testMsgID, relayed, to...)
	r.submit("s2", "m2@alfa.example", relayed, to...)
	r.submit("s3", "m3@alfa.example", nil, to...) // of before origins had this, or of a person's client
	r.take(r.receipt(providersim.Acceptance, nil))
	r.take(r.receipt(providersim.Delivery, nil))
	r.rebuilt(dir)
	r.withMail()
	r.s.opt.DeliveryReports = func(relay string) bool { return relay == "exchange" }
	if err := r.s.Restored(t.Context()); err != nil {
		t.Fatal(err)
	}
	if all := r.notified(); len(all) != 0 {
		t.Fatalf("what was known before is told: %q", all)
	}
	for _, a := range to {
		r.take(r.receipt(providersim.Delivery, func(n *providersim.Notice) { n.Recipient = a }))
	}
	if _, err := r.s.Cancel(t.Context(), "s2", true, Hand{Actor: "capo"}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.s.Cancel(t.Context(), "s3", true, Hand{Actor: "capo"}); err != nil {
		t.Fatal(err)
	}
	all := r.notified()
	if len(all) != 2 {
		t.Fatalf("%d notifications: %q", len(all), all)
	}
	for n, want := range []string{"rfc822; b@pec.example|delivered", "rfc822; a@pec.example|failed"} {
		addr, action, _ := strings.Cut(want, "|")
		raw := all[n]
		for _, s := range []string{"Final-Recipient: " + addr, "Action: " + action, "Original-Envelope-Id: env 7", "client.1@exchange.example"} {
			if !strings.Contains(raw, s) {
				t.Errorf("no %q in\n%s", s, raw)
			}
		}
		if strings.Contains(raw, "c@pec.example") || strings.Count(raw, "Final-Recipient") != 1 {
			t.Errorf("it tells more than was asked for:\n%s", raw)
		}
	}
	if !strings.Contains(all[0], "Original-Recipient: rfc822; Orig+1@pec.example") {
		t.Errorf("no original recipient in\n%s", all[0])
	}
}

// notified makes all notifications that are due, and returns those that wait to be
// sent, of the first submission first.
func (r *toldBack) notified() (all []string) {
	r.t.Helper()
	r.update(func(tx *mailbox.Tx) error { return hurryNotifications(tx) })
	if _, err := r.s.notifyDue(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
	items, err := Forwards(r.t.Context(), r.store, 1000)
	if err != nil {
		r.t.Fatal(err)
	}
	slices.SortFunc(items, func(a, b Forward) int { return strings.Compare(a.ID, b.ID) })
	for _, it := range items {
		if it.Kind != routeStatus {
			continue
		}
		if it.To != "mario.rossi@example.org" {
			r.t.Errorf("it goes to %s", it.To)
		}
		var raw []byte
		if err := r.store.View(r.t.Context(), func(tx *mailbox.Tx) error { return tx.Space("forward").Get("b/"+it.ID, &raw) }); err != nil {
			r.t.Fatal(err)
		}
		all = append(all, string(raw))
	}
	return all
}

// hurryNotifications makes all that is noted due now.
func hurryNotifications(tx *mailbox.Tx) error {
	var ids []string
	err := tx.Space(room).Scan(notifyDue, func(k string, _ []byte) (bool, error) {
		ids = append(ids, k[strings.LastIndexByte(k, '/')+1:])
		return true, nil
	})
	for _, id := range ids {
		n, e := readNotified(tx, id)
		if e == nil && !n.Due.IsZero() {
			e = n.put(tx, id, tx.Now())
		}
		if e != nil {
			return fmt.Errorf("%s: %w", id, e)
		}
	}
	return err
}
