package relay

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/mail"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"pecgate/mailbox"
	"pecgate/mailbox/mime"
	"pecgate/mailbox/pec"
	"pecgate/policy"
	"pecgate/relay/fetch"
	"pecgate/relay/forward"
	"pecgate/relay/submit"
)

// reading is an intake with fixed facts whose notices are read as a person gets them.
type reading struct {
	*intake
	out strings.Builder
}

func newReading(t *testing.T, language string) *reading {
	t.Helper()
	r := &reading{intake: newIntake(t)}
	now := time.Date(2026, 3, 2, 9, 30, 0, 0, time.UTC)
	store, err := mailbox.Open(mailbox.Options{Dir: t.TempDir(), Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	r.store, r.s.opt.Store = store, store
	r.s.opt.Language, r.s.opt.Location = language, time.UTC
	r.s.opt.Schedule.GiveUp = 5 * 24 * time.Hour
	r.withAdmin()
	return r
}

func (r *reading) write(name, subject, text string) {
	fmt.Fprintf(&r.out, "==== %s\n%s\n\n%s\n", name, subject, strings.TrimRight(text, "\n"))
}

func (r *reading) notice(name string, n *notice) { r.write(name, n.subject, n.text) }

func (r *reading) alarm(name string, a alarm) { r.notice(name, alarmNotice(a, r.s.opt)) }

// filed writes down what do puts into the INBOX of capo and mario.
func (r *reading) filed(name string, do func(ctx context.Context) error) {
	r.t.Helper()
	before := map[string]int{"capo": len(r.texts("capo")), "mario": len(r.texts("mario"))}
	if err := do(r.t.Context()); err != nil {
		r.t.Fatalf("%s: %v", name, err)
	}
	some := false
	for _, who := range []string{"capo", "mario"} {
		for _, text := range r.texts(who)[before[who]:] {
			subject, text, _ := strings.Cut(text, "\n")
			r.write(name+" ("+who+")", subject, text)
			some = true
		}
	}
	if !some {
		r.t.Errorf("%s: nothing is told", name)
	}
}

// texts are the notices of a login as a mail program shows them: a line with the subject, then the text.
func (r *intake) texts(login string) (all []string) {
	r.t.Helper()
	p, err := r.store.Person(r.t.Context(), login)
	if err != nil {
		r.t.Fatal(err)
	}
	v := mailbox.Viewer{Person: p}
	snap, err := r.store.Snapshot(r.t.Context(), mailbox.FolderKey{Owner: p, Role: mailbox.RoleInbox}, v)
	if err != nil {
		r.t.Fatal(err)
	}
	err = r.store.Entries(r.t.Context(), snap.Folder, v, snap.UIDs, mailbox.Want{}, func(e *mailbox.Entry) (err error) {
		m, err := r.store.Message(r.t.Context(), e.Message)
		if err != nil {
			return err
		}
		body, err := r.store.Open(m)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, body.Close()) }()
		msg, err := mail.ReadMessage(io.NewSectionReader(body, 0, m.Size()))
		if err != nil {
			return err
		}
		text, err := io.ReadAll(base64.NewDecoder(base64.StdEncoding, msg.Body))
		all = append(all, mime.DecodeWords(msg.Header.Get("Subject"))+"\n"+strings.ReplaceAll(string(text), "\r\n", "\n"))
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return all
}

// Every notice and alarm of the relay, in both orders of the languages, is what
// stands in its golden file.
func TestNoticesAreWhatTheyWere(t *testing.T) {
	for _, language := range []string{"it", "en"} {
		r := newReading(t, language)
		r.submissions()
		r.alarms()
		r.watches()
		r.ordinary()
		got := r.out.String()
		name := filepath.Join("..", "testdata", "golden", "notices", language+".txt")
		if *update {
			if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s is\n%s\nwanted\n%s", name, got, want)
		}
		// What is a fault in any text: an accent that is an apostrophe, a verb of fmt
		// without its value, a space too many.
		if bad := regexp.MustCompile(`(?i)\b(e'|puo'|perche'|piu'|gia'|cosi'|sara')|%!|  +[a-z]|\.\.\s`).FindString(strings.ReplaceAll(got, "\n  ", "\n")); bad != "" && bad != "..." {
			t.Errorf("%s: %q", language, bad)
		}
		if at := strings.Index(got, ":\n\n"); at >= 0 { // what announces something, and nothing comes
			t.Errorf("%s: %q", language, got[max(0, at-60):at+1])
		}
	}
}

// submissions writes the notices about what somebody sends.
func (r *reading) submissions() {
	o := r.s.opt
	sub := func() *Submission {
		return &Submission{ID: "01abc", Box: testBox, User: "mario", MsgID: "uno@alfa.example", State: Queued,
			Recipients: []Recipient{{Address: "a@pec.example"}, {Address: "b@pec.example"}}}
	}
	answered := submit.Result{Stage: "data", Code: 554, Enhanced: "5.6.0", Text: "Messaggio non conforme"}
	r.notice("refused", noticeOf(sub(), NotAccepted, answered, o))
	child := sub()
	child.Batch = "01aaa"
	r.notice("refused, of a batch", noticeOf(child, NotAccepted, answered, o))
	r.notice("late", lateNotice(sub(), submit.Result{Stage: "mail", Code: 451, Enhanced: "4.3.0", Text: "riprovare"}, o))
	r.notice("poison", poisonNotice(sub(), o))
	r.notice("cancelled", cancelNotice(sub(), o))
	left := sub()
	left.State, left.StateReason = Held, ReasonUncertain
	r.notice("cancelled, may have left", cancelNotice(left, o))
	part := sub()
	part.Tally = &Tally{Messages: 3, States: map[State]int{HandedOver: 1}}
	r.notice("batch cancelled", cancelBatchNotice(part, o))
	r.notice("expired", expiredNotice(sub(), o))
	r.notice("time over, may have left", doubtfulEndNotice(left, o, "del PIN", "the PIN"))
	r.notice("rejected by capo", rejectedNotice(sub(), "capo", o))
	r.notice("rejected by the administrator", rejectedNotice(sub(), "", o))
	r.notice("unapproved", unapprovedNotice(sub(), o))
	twice := sub()
	twice.Identifier, twice.Twice = "opec1@gestore.example", "opec2@gestore.example"
	for _, what := range []string{toldHeld, toldResent, toldTwice} {
		r.notice("uncertain "+what, watchedNotice(twice, what, o))
	}
	for _, state := range []State{Accepted, NotAccepted} {
		settled := sub()
		settled.State = state
		r.notice("held, and now "+string(state), watchedNotice(settled, toldSettled, o))
	}
	d := digest{from: "mario@alfa.example", to: "a@pec.example", subject: "Ricorso", date: o.Store.Now(), size: 1234, sha256: "00ff",
		files: []digestFile{{name: "atto.pdf", size: 99, sha256: "ee"}}, more: 2}
	for _, lack := range []Lack{PINMissing, PINWrong, PINLocked, PINSpent} {
		r.notice("hold "+string(lack), holdNotice(sub(), hold{Until: o.Store.Now().Add(time.Hour), Lack: lack}, d, "token", o))
	}
	approved := sub()
	approved.Approver, approved.ApproverUser, approved.State, approved.StateReason = 2, "capo", ToApprove, ReasonPIN
	r.notice("hold of an approval", holdNotice(approved, hold{Until: o.Store.Now().Add(time.Hour), Lack: ForApproval}, d, "token", o))
	groupware := o
	groupware.Policy = func() *policy.Policy {
		return &policy.Policy{Users: []policy.User{{Login: "mario", Email: "mario@alfa.example"}, {Login: "capo"}},
			Relays: []policy.Relay{{Name: "exchange", Users: policy.ByEmail}}}
	}
	held := hold{Until: o.Store.Now().Add(time.Hour), Lack: PINMissing}
	r.notice("hold, with a groupware server", holdNotice(sub(), held, d, "token", groupware))
	by := sub()
	by.Relay = "exchange"
	r.notice("hold, by a groupware server", holdNotice(by, held, d, "token", groupware))
	r.notice("hold, of somebody whom no groupware server knows", holdNotice(approved, hold{Until: held.Until, Lack: ForApproval}, d, "token", groupware))
	r.notice("PIN locked", pinLockedNotice("mario", "mario", testBox, "2026-03-02", o))
	r.notice("restored", restoredNotice("capo", o.Store.Now(), []string{testBox}, map[string]int{testBox: 2}, o))
	r.filed("no room", func(ctx context.Context) error {
		return r.s.tellRoom(ctx, &shortage{sub: sub(), need: 3 << 20, free: 1 << 20, limit: 100 << 20})
	})
	r.alarm("never any room", roomHeldAlarm(sub(), &shortage{need: 300 << 20, limit: 100 << 20}))
}

// alarms writes what is told of mailboxes, providers and the gateway.
func (r *reading) alarms() {
	r.alarm("too many", r.s.tooMany(alarm{box: testBox, kind: "poison"}))
	r.alarm("set aside", r.s.asideAlarm(testBox, spot{folder: "INBOX", validity: 1, uid: 7}, "connection reset"))
	r.alarm("poison at the provider", r.s.poisonAlarm(testBox, spot{id: "UIDL7"}))
	r.alarm("receipts elsewhere", r.s.elsewhereAlarm(testBox, "INBOX.Ricevute, INBOX.2025"))
	late := r.s.queueLateAlarm(testBox, "connect: connection refused")
	r.alarm("nothing leaves", late)
	late.toSender()
	r.alarm("nothing leaves, to a sender", late)
	r.alarm("brake", r.s.brakeAlarm(testBox, "data: connection reset"))
	r.alarm("suspended", r.s.suspendedAlarm(r.acc, &refusal{Service: "smtp", Why: "535 5.7.8 no"}))
	r.alarm("switched off", r.s.suspendedAlarm(r.acc, &refusal{Service: "pop3", Why: "-ERR disabled", Off: true}))
	r.alarm("unanswered", r.s.suspendedAlarm(r.acc, &refusal{Service: "imap", Tries: 3}))
	for _, left := range []int{7, 1, -1} {
		a, _ := r.s.expiryAlarm(r.acc, r.store.Now().Add(time.Duration(left)*24*time.Hour), left, []string{"smtp", "imap"})
		r.alarm(fmt.Sprintf("password, %d days", left), a)
	}
	r.filed("numbered anew", func(ctx context.Context) error { return r.s.numberedAnew(ctx, testBox, "INBOX") })
	r.filed("unknown CA", func(ctx context.Context) error {
		return r.s.doubted(ctx, testBox, &pec.Report{Reason: "chain: signed by an unknown authority"})
	})
	r.alarm("folder missing", r.s.folderMissingAlarm(testBox, "INBOX.Ricevute"))
	r.filed("quota", func(ctx context.Context) error {
		return r.s.tellQuota(ctx, testBox, fetch.Quota{Used: 95 << 20, Limit: 100 << 20, Known: true}, 90)
	})
	r.filed("copy at the provider", func(ctx context.Context) error {
		return r.s.copyTried(ctx, testBox, "01abc", sentCopy{Tries: 99}, errors.New("append: NO quota exceeded"))
	})
	r.filed("another client", func(ctx context.Context) error {
		for range emptiedMany {
			r.update(func(tx *mailbox.Tx) error { return countGone(tx, testBox, false) })
		}
		return r.s.tellEmptied(ctx, testBox)
	})
}

// watches writes what the watchdogs tell.
func (r *reading) watches() {
	for _, of := range []awaited{awaitAcceptance, awaitDelivery, awaitReading} {
		a := alarm{box: testBox, kind: "overdue"}
		a.words(watchLine{For: of, Term: duration(90 * time.Minute)}, 2, "- 01abc  2026-03-01 08:00Z\n  a@pec.example")
		r.alarm("overdue "+string(of), a)
	}
	unseen := alarm{box: testBox, kind: "overdue"}
	unseen.words(watchLine{For: awaitAcceptance, Term: duration(30 * time.Minute), Unseen: true}, 2, "- 01abc  2026-03-01 08:00Z\n  a@pec.example")
	r.alarm("acceptance unseen", unseen)
	unseen.words(watchLine{For: awaitDelivery, Term: duration(12 * time.Hour), Unseen: true, Inactive: true}, 2, "- 01abc  2026-03-01 08:00Z\n  a@pec.example")
	r.alarm("receipts of a mailbox that is not active", unseen)
	one := alarm{box: testBox, kind: "overdue"}
	one.words(watchLine{For: awaitAcceptance, Term: duration(30 * time.Minute)}, 1, "- 01abc-0001  2026-03-01 08:00Z\n  a@pec.example")
	first, summary := one, one
	first.firstOfBatch()
	summary.summaryOfBatch()
	r.alarm("overdue, first of a batch", first)
	r.alarm("overdue, summary of a batch", summary)
	r.filed("not fetched", func(ctx context.Context) error {
		w := &worker{acc: r.acc}
		w.facts.fetchError = "dial: connection refused"
		if err := r.s.watchFetch(ctx, testBox, w, time.Hour, runClock{}); err != nil {
			return err
		}
		return r.s.watchFetch(ctx, testBox, w, time.Hour, runClock{Ran: 2 * time.Hour})
	})
	for _, own := range []bool{false, true} {
		r.filed(fmt.Sprintf("certificate, own %v", own), func(ctx context.Context) error {
			return r.s.watchCertificate(ctx, hostCertificate{own: own, host: "smtp.gestore.example", expires: r.store.Now().Add(6 * 24 * time.Hour), to: r.s.admins()})
		})
	}
}

// ordinary writes what is told of ordinary mail, and by it.
func (r *reading) ordinary() {
	failure := forward.Failure{Item: forward.Item{ID: "f1-0", To: "ufficio@example.org", Kind: "copy", Box: testBox}, Reason: "rcpt: 550 5.1.1 no such user", Final: true}
	r.filed("forward refused", func(ctx context.Context) error { return r.s.forwardFailed(ctx, failure) })
	failure.Content, failure.Reason = true, "data: 552 5.3.4 too large"
	r.filed("forward content refused", func(ctx context.Context) error { return r.s.forwardFailed(ctx, failure) })
	failure.Content, failure.Final, failure.Reason = false, false, "rcpt: 451 4.7.1 later"
	r.filed("forward given up", func(ctx context.Context) error { return r.s.forwardFailed(ctx, failure) })
	r.filed("smarthost denies", func(ctx context.Context) error {
		return r.s.relayDenied(ctx, failure.Item, "rcpt: 554 5.7.1 relay access denied")
	})
	r.filed("smarthost", func(ctx context.Context) error { return r.s.smarthostDown(ctx, errors.New("dial: connection refused")) })
	direct := forward.Failure{Item: forward.Item{ID: "f2-0", To: "archivio@example.org", Kind: "copy", Box: testBox}, Reason: "IMAP: APPEND: NO [OVERQUOTA]", Direct: true}
	r.filed("forward given up, by IMAP", func(ctx context.Context) error { return r.s.forwardFailed(ctx, direct) })
	d := &deliverer{s: r.s, way: &IMAPDelivery{}, rests: map[string]rest{}}
	r.filed("IMAP delivery", func(ctx context.Context) error { return d.down(ctx, errors.New("dial: connection refused")) })
	r.filed("IMAP delivery, one mailbox", func(ctx context.Context) error {
		return d.note(ctx, "mario@example.org", false, fmt.Errorf("%w: NO AUTHENTICATE failed", fetch.ErrAuthRefused))
	})
	r.filed("forward full", func(ctx context.Context) error { return r.s.forwardFull(ctx, 12) })
	r.s.opt.Readers = func(string) []Reader {
		return []Reader{{Login: "mario", NotifyNew: true, Sees: func(mailbox.Role) (mailbox.Scope, bool) { return mailbox.ScopeAll, true }}, {
			Login: "capo", Approves: true, Sees: func(mailbox.Role) (mailbox.Scope, bool) { return mailbox.ScopeAll, true }}}
	}
	r.s.opt.Smarthost, r.s.opt.Hello = &Smarthost{}, "gateway.example"
	r.take(r.envelope())
	r.filed("new PEC", func(ctx context.Context) error { return r.s.routeForwards(ctx) })
	r.s.opt.Digests = func() map[string]time.Duration { return map[string]time.Duration{"mario": 8 * time.Hour} }
	r.filed("digest", r.s.tellDigests)
	r.keep("attende", ForApproval)
	r.filed("to approve", func(ctx context.Context) error { return r.s.routeForwards(ctx) })
}

// The date of a notice is that of the appliance's zone, as people read it there.
func TestNoticeDateHasTheZone(t *testing.T) {
	zone := time.FixedZone("", 2*60*60+30*60)
	r := newReading(t, "it")
	o := r.s.opt
	o.Location = zone
	sub := &Submission{ID: "01abc", Box: testBox, User: "mario", MsgID: "uno@alfa.example"}
	for name, n := range map[string]*notice{
		"submission": cancelNotice(sub, o), "alarm": alarmNotice(alarm{box: testBox, kind: "x", to: []addressee{{user: "mario"}}}, o),
	} {
		msg, err := mail.ReadMessage(bytes.NewReader(n.bytes()))
		if err != nil {
			t.Fatal(err)
		}
		at, err := msg.Header.Date()
		if _, off := at.Zone(); err != nil || off != 9000 || at.Sub(o.Store.Now()).Abs() > time.Minute {
			t.Errorf("%s: %q, %v", name, msg.Header.Get("Date"), err)
		}
	}
}
