package relay

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid" // steps in any order

	"pecgate/mailbox"
	"pecgate/relay/dsn"
	"pecgate/relay/forward"
	"pecgate/relay/providersim" // composes and signs receipts as a provider does
)

// told is an intake with a groupware server behind it, and a clock that the test sets.
type toldBack struct {
	*reports
	texts map[string]*dsn.Report // notifications, by the name of their item
	order []string
}

func newToldBack(t *testing.T) *toldBack {
	t.Helper()
	r := &toldBack{reports: newReports(t), texts: map[string]*dsn.Report{}}
	r.withMail()
	r.s.opt.DeliveryReports = func(relay string) bool { return relay == "exchange" }
	return r
}

// relayed puts a submission into the store that came through a groupware server; ask
// is what that asked for each recipient.
func (r *toldBack) relayed(id, relay, back string, state State, to, ask []string) {
	r.t.Helper()
	r.relayedAs(id, testMsgID, relay, back, state, to, ask)
}

func (r *toldBack) relayedAs(id, msgid, relay, back string, state State, to, ask []string) {
	r.t.Helper()
	in, err := r.store.Begin(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	defer in.Abort()
	if _, err := in.Write([]byte("From: " + testBox + "\r\nSubject: =?utf-8?q?citt=C3=A0?=\r\nX-Secret: no\r\nMessage-ID: <" + msgid + ">\r\n\r\nx\r\n")); err != nil {
		r.t.Fatal(err)
	}
	st, err := in.Store(r.t.Context(), mailbox.Origin{Box: testBox, Direction: mailbox.Out, Submission: id})
	if err != nil {
		r.t.Fatal(err)
	}
	defer st.Close()
	_, err = r.store.Record(r.t.Context(), st, func(tx *mailbox.Tx, m *mailbox.Message) error {
		who, err := tx.EnsurePerson("mario")
		if err != nil {
			return err
		}
		t := Ticket{ID: id, Box: testBox, User: "mario", Person: who, MsgID: msgid, Alias: "client.1@exchange.example", To: to, Relay: relay, ReturnTo: back, EnvID: "env 7"}
		for n, a := range ask {
			t.Notify = append(t.Notify, NotifyOf{Recipient: strings.ToUpper(to[n][:1]) + to[n][1:], Notify: a, ORCPT: "rfc822;Orig+" + fmt.Sprint(n) + "@pec.example"})
		}
		s, err := Enqueue(tx, t, m)
		if err != nil {
			return err
		}
		s.State = state
		return save(tx, s, nil)
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

// write has the keeper work for a while, and returns what it told anew: recipient and
// action, sorted.
func (r *toldBack) write() (all []string) {
	r.t.Helper()
	for range 5 {
		if _, err := r.s.notifyDue(r.t.Context()); err != nil {
			r.t.Fatal(err)
		}
		r.later(notifyEvery + notifySettle)
	}
	if strings.Contains(r.log.String(), "notifications") {
		r.t.Fatalf("%s", r.log)
	}
	items, err := Forwards(r.t.Context(), r.store, 1000)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, it := range items {
		if it.Kind != routeStatus || r.texts[it.ID] != nil {
			continue
		}
		var raw []byte
		err := r.store.View(r.t.Context(), func(tx *mailbox.Tx) error { return tx.Space("forward").Get("b/"+it.ID, &raw) })
		if err != nil {
			r.t.Fatal(err)
		}
		got, err := dsn.Read(bytes.NewReader(raw), int64(len(raw)))
		if err != nil {
			r.t.Fatalf("%v\n%s", err, raw)
		}
		if got.To != it.To || got.Returned() != "client.1@exchange.example" || bytes.Contains(raw, []byte("Secret")) || !bytes.Contains(raw, []byte("Auto-Submitted: auto-replied")) {
			r.t.Errorf("it goes to %s:\n%s", it.To, raw)
		}
		r.texts[it.ID] = got
		r.order = append(r.order, it.ID)
		for _, to := range got.Recipients {
			all = append(all, to.Final.Addr+" "+string(to.Action)+" "+to.Status)
		}
	}
	slices.Sort(all)
	return all
}

func (r *toldBack) wantTold(want ...string) {
	r.t.Helper()
	if got := r.write(); !slices.Equal(got, want) {
		r.t.Errorf("told was %q, want %q", got, want)
	}
}

// last is the newest notification.
func (r *toldBack) last() *dsn.Report { return r.texts[r.order[len(r.order)-1]] }

// What was accepted from a groupware server and does not leave is told to the address
// that it came from, once, whatever the reason; not to who asked for silence.
func TestRefusalsAreTold(t *testing.T) {
	for _, c := range []struct {
		name   string
		from   State
		to     State
		why    Reason
		text   string
		ask    []string
		status string
		said   string
	}{
		{"refused by the provider", Attempting, NotAccepted, ReasonRefused, "rcpt: 550 5.1.1 indirizzo inesistente", nil, "5.1.1", "Il gestore non ha accettato"},
		{"tried for too long", Attempting, NotAccepted, ReasonExpired, "connect: refused", nil, "5.4.7", "in tempo"},
		{"formal non-acceptance", HandedOver, NotAccepted, ReasonFormal, "", []string{"FAILURE,DELAY"}, "5.6.0", "Il gestore non ha accettato"},
		{"a virus", HandedOver, NotAccepted, ReasonVirus, "", nil, "5.7.0", "virus"},
		{"cancelled by a person", Queued, Cancelled, ReasonOperator, "by a person", nil, "5.0.0", "annullato"},
		{"no PIN in time", Held, Cancelled, ReasonExpired, "no PIN came in time", nil, "5.7.0", "PIN in tempo"},
		{"not approved", ToApprove, Cancelled, ReasonApproval, "not approved, by capo", nil, "5.7.1", "non è stato autorizzato"},
		{"approved by nobody", ToApprove, Cancelled, ReasonExpired, "nobody approved it in time", nil, "5.7.0", "Nessuno ha autorizzato"},
		{"given up, and may have left", Held, Cancelled, ReasonUncertain, "by a person, although it may have left already", nil, "5.0.0", "Forse era già partito"},
		{"silence was asked for", Attempting, NotAccepted, ReasonRefused, "550 5.1.1 x", []string{"NEVER"}, "", ""},
		{"only deliveries were asked for", Attempting, NotAccepted, ReasonRefused, "550 5.1.1 x", []string{"SUCCESS"}, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newToldBack(t)
			r.relayed("one", "domino", "mario.rossi@example.org", c.from, []string{"a@pec.example"}, c.ask)
			r.wantTold()
			r.update(func(tx *mailbox.Tx) error {
				s, err := load(tx, "one")
				if err != nil {
					return err
				}
				if err := r.s.step(tx, s, c.to, c.why, c.text); err != nil {
					return err
				}
				return save(tx, s, nil)
			})
			if c.status == "" {
				r.wantTold()
				return
			}
			r.wantTold("a@pec.example failed " + c.status)
			n := r.last()
			if n.To != "mario.rossi@example.org" || n.EnvID != "env 7" || n.Refers[0] != "client.1@exchange.example" || n.Title != "" {
				t.Errorf("%+v", n)
			}
			if len(c.ask) > 0 && n.Recipients[0].Original.Addr != "Orig+0@pec.example" {
				t.Errorf("original recipient %+v", n.Recipients[0].Original)
			}
			r.wantTold() // once
			w := &statusWriter{s: r.s, sub: r.submission("one"), answer: c.text, header: []byte("Subject: x\r\n")}
			if it, en := w.why(true); !strings.Contains(it, c.said) || en == "" {
				t.Errorf("it says %q, %q; want %q", it, en, c.said)
			}
		})
	}
}

func (i *intake) submission(id string) (s *Submission) {
	i.t.Helper()
	i.update(func(tx *mailbox.Tx) (err error) { s, err = load(tx, id); return err })
	return s
}

// Receipts are told as notifications to who asked for them, where the relay has it so.
func TestReceiptsAreToldWhereAskedFor(t *testing.T) {
	to := []string{"a@pec.example", "b@pec.example", "c@pec.example", "d@example.org"}
	take := func(r *toldBack) {
		r.take(r.receipt(providersim.Acceptance, func(n *providersim.Notice) {
			n.Recipients = []providersim.Recipient{{Address: to[0]}, {Address: to[1]}, {Address: to[2]}, {Address: to[3], External: true}}
		}))
		r.take(r.receipt(providersim.Delivery, func(n *providersim.Notice) { n.Recipient = to[0] }))
		r.take(r.receipt(providersim.DeliveryError, func(n *providersim.Notice) { n.Recipient = to[1] }))
		r.take(r.receipt(providersim.DeliveryWarning, func(n *providersim.Notice) { n.Recipient = to[2] }))
	}
	for _, c := range []struct {
		name, relay string
		ask, want   []string
	}{
		{"all is asked for", "exchange", []string{"SUCCESS,FAILURE,DELAY", "SUCCESS,FAILURE,DELAY", "SUCCESS,FAILURE,DELAY", "SUCCESS"},
			[]string{"a@pec.example delivered 2.1.5", "b@pec.example failed 5.1.1", "c@pec.example delayed 4.4.7", "d@example.org relayed 2.1.9"}},
		{"each by its own", "exchange", []string{"SUCCESS", "DELAY", "FAILURE", "FAILURE"}, []string{"a@pec.example delivered 2.1.5"}},
		{"nothing is asked for", "exchange", nil, nil},
		{"silence", "exchange", []string{"NEVER", "NEVER", "NEVER", "NEVER"}, nil},
		{"the relay has none", "domino", []string{"SUCCESS,FAILURE,DELAY", "SUCCESS,FAILURE,DELAY", "SUCCESS,FAILURE,DELAY", "SUCCESS"}, nil},
		{"no relay", "", []string{"SUCCESS,FAILURE,DELAY", "SUCCESS,FAILURE,DELAY", "SUCCESS,FAILURE,DELAY", "SUCCESS"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newToldBack(t)
			r.relayed("one", c.relay, "mario.rossi@example.org", HandedOver, to, c.ask)
			take(r)
			r.wantTold(c.want...)
			if len(c.want) > 1 {
				n := r.last()
				if n.Recipients[0].LogID == "" || n.Recipients[1].DiagType != "x-pec" || n.Recipients[0].Original.Addr != "Orig+0@pec.example" {
					t.Errorf("%+v", n.Recipients)
				}
			}
			r.s.opt.DeliveryReports = func(string) bool { return true } // what was decided stays
			take(r)
			r.wantTold()
			if len(c.want) == 4 { // after a delay comes the end
				r.take(r.receipt(providersim.Delivery, func(n *providersim.Notice) { n.Recipient = to[2] }))
				r.wantTold("c@pec.example delivered 2.1.5")
			}
		})
	}
}

// Where a notification goes: never to a PEC mailbox, never to who has left.
func TestWhereNotificationsGo(t *testing.T) {
	for _, c := range []struct{ name, back, want string }{
		{"where it came from", "m.rossi@example.org", "m.rossi@example.org"},
		{"from the PEC mailbox itself", testBox, "mario@example.org"},
		{"from nowhere", "", "mario@example.org"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newToldBack(t)
			r.s.opt.Accounts = func() []Account { return []Account{{Box: testBox, Admin: "capo"}} }
			r.relayed("one", "exchange", c.back, Queued, []string{"a@pec.example"}, nil)
			r.update(func(tx *mailbox.Tx) error {
				s, err := load(tx, "one")
				if err != nil {
					return err
				}
				return save(tx, s, nil)
			})
			if _, err := r.s.Cancel(t.Context(), "one", false, Hand{Actor: "capo"}); err != nil {
				t.Fatal(err)
			}
			r.wantTold("a@pec.example failed 5.0.0")
			if got := r.last().To; got != c.want {
				t.Errorf("it goes to %s, want %s", got, c.want)
			}
			r.update(func(tx *mailbox.Tx) error {
				items, err := forward.List(tx, 100)
				if err != nil {
					return err
				}
				for _, it := range items {
					if it.Kind != routeStatus {
						continue
					}
					if to, why, err := r.s.stillGets(tx, it); to != c.want {
						t.Errorf("it goes to %q: %s %v", to, why, err)
					}
					r.s.opt.Person = func(string) Correspondent { return Correspondent{} }
					if to, _, err := r.s.stillGets(tx, it); to != "" || err != nil {
						t.Errorf("who has left gets it: %q %v", to, err)
					}
				}
				return nil
			})
		})
	}
}

// A batch is told of in as few notifications as fit, each recipient once.
func TestNotificationsOfManyRecipients(t *testing.T) {
	r := newToldBack(t)
	var to, ask, want []string
	for n := range 400 {
		a := fmt.Sprintf("%s%03d@pec.example", strings.Repeat("x", 60), n)
		to, ask, want = append(to, a), append(ask, "SUCCESS,FAILURE"), append(want, a+" failed 5.6.0")
	}
	r.relayed("one", "exchange", "mario.rossi@example.org", HandedOver, to, ask)
	r.update(func(tx *mailbox.Tx) error {
		s, err := load(tx, "one")
		if err != nil {
			return err
		}
		if err := r.s.step(tx, s, NotAccepted, ReasonFormal, "x"); err != nil {
			return err
		}
		return save(tx, s, nil)
	})
	r.wantTold(want...)
	if n := len(r.order); n < 4 || n > 20 {
		t.Errorf("%d notifications", n)
	}
}

// In whatever order receipts come, and whenever the gateway ends: each end of a
// recipient is told at most once, and what stands at the end was told.
func TestNotificationsOnce(t *testing.T) {
	r, run := newToldBack(t), 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		id, msgid, identifier := fmt.Sprintf("s%d", run), fmt.Sprintf("run%d@pec.example", run), fmt.Sprintf("opec.%d@pec.example", run)
		take := func(kind providersim.Kind, who string) {
			r.take(r.receipt(kind, func(n *providersim.Notice) { n.MsgID, n.Identifier, n.Recipient = "<"+msgid+">", identifier, who }))
		}
		to := []string{"a@pec.example", "b@pec.example"}
		all := "SUCCESS,FAILURE,DELAY"
		r.relayedAs(id, msgid, "exchange", "mario.rossi@example.org", HandedOver, to, []string{all, all})
		told := map[string]int{}
		write := func() {
			for _, line := range r.write() {
				told[strings.Join(strings.Fields(line)[:2], " ")]++
			}
		}
		for range rapid.IntRange(1, 8).Draw(rt, "steps") {
			who := rapid.SampledFrom(to).Draw(rt, "recipient")
			switch rapid.IntRange(0, 6).Draw(rt, "step") {
			case 0:
				take(providersim.Acceptance, "")
			case 1:
				take(providersim.Delivery, who)
			case 2:
				take(providersim.DeliveryError, who)
			case 3:
				take(providersim.DeliveryWarning, who)
			case 4:
				write()
			case 5:
				r.s = New(r.s.opt) // the gateway ended, and is there again
			case 6:
				r.later(time.Duration(rapid.IntRange(-72, 72).Draw(rt, "hours")) * time.Hour)
			}
		}
		write()
		for what, n := range told {
			if n > 1 {
				rt.Errorf("%s was told %d times", what, n)
			}
		}
		s := r.submission(id)
		for i := range s.Recipients {
			if a, _ := s.end(i); a != "" && a != dsn.Delayed && told[s.Recipients[i].Address+" "+string(a)] != 1 {
				rt.Errorf("%s is %s, which was not told: %v", s.Recipients[i].Address, a, told)
			}
		}
	})
}
