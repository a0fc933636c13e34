package relay

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pecgate/mailbox"
	"pecgate/mailbox/mime"
	"pecgate/relay/providersim" // composes receipts as a provider does
)

var update = flag.Bool("update", false, "write the golden files anew; read the difference before it is kept")

// reports is an intake whose clock the test sets, and whose reporter works when
// the test says so.
type reports struct {
	*intake
	mu  sync.Mutex
	now time.Time
}

func newReports(t *testing.T) *reports {
	t.Helper()
	r := &reports{intake: newIntake(t), now: time.Now().Truncate(time.Second)}
	r.on(mailbox.Options{Dir: t.TempDir()})
	return r
}

// on opens a store with the test's clock.
func (r *reports) on(o mailbox.Options) {
	r.t.Helper()
	o.Now = func() time.Time {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.now
	}
	store, err := mailbox.Open(o)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		if err := store.Close(); err != nil {
			r.t.Error(err)
		}
	})
	r.store = store
	opt := r.s.opt
	opt.Store, opt.Address = store, "pecgate@gateway.example"
	r.s = New(opt)
}

func (r *reports) later(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now = r.now.Add(d)
}

// work lets the reporter do what is due, and returns when it has something to do
// again.
func (r *reports) work() time.Duration {
	r.t.Helper()
	wait, err := r.s.reportDue(context.Background())
	if err != nil {
		r.t.Fatal(err)
	}
	if strings.Contains(r.log.String(), "outcomes") {
		r.t.Fatalf("%s", r.log)
	}
	return wait
}

// standing is a report as a person sees it.
type standingReport struct {
	uid   mailbox.UID
	id    mailbox.MessageID
	flags []string
	raw   []byte
}

// seen returns the reports that a viewer sees.
func (r *reports) seen(v mailbox.Viewer) (out []standingReport) {
	r.t.Helper()
	ctx := context.Background()
	snap, err := r.store.Snapshot(ctx, outcomesOf(testBox), v)
	if err != nil {
		r.t.Fatal(err)
	}
	err = r.store.Entries(ctx, snap.Folder, v, snap.UIDs, mailbox.Want{Flags: true}, func(e *mailbox.Entry) error {
		out = append(out, standingReport{uid: e.UID, id: e.Message, flags: slices.Clone(e.Flags)})
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	for i := range out {
		m, err := r.store.Message(ctx, out[i].id)
		if err != nil {
			r.t.Fatal(err)
		}
		body, err := r.store.Open(m)
		if err != nil {
			r.t.Fatal(err)
		}
		out[i].raw, err = io.ReadAll(io.NewSectionReader(body, 0, m.Size()))
		if err := body.Close(); err != nil {
			r.t.Error(err)
		}
		if err != nil {
			r.t.Fatal(err)
		}
	}
	return out
}

// one returns the only report, as its sender sees it.
func (r *reports) one() standingReport {
	r.t.Helper()
	all := r.seen(own)
	if len(all) != 1 {
		r.t.Fatalf("%d reports", len(all))
	}
	return all[0]
}

var own = mailbox.Viewer{Person: sender, Scope: mailbox.ScopeOwn}

// parts reads a report as a client does: header, text and page.
func parts(t *testing.T, raw []byte) (header map[string]string, text, page string) {
	t.Helper()
	ix, err := mime.Parse(bytes.NewReader(raw), int64(len(raw)), mime.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	h, err := mime.ReadHeader(bytes.NewReader(raw), &ix.Root)
	if err != nil {
		t.Fatal(err)
	}
	header = map[string]string{}
	for _, f := range mime.Fields(h) {
		if header[f.Name] != "" {
			t.Errorf("%s stands twice", f.Name)
		}
		header[f.Name] = mime.DecodeWords(f.Body())
	}
	if ix.Root.Subtype != "alternative" || len(ix.Root.Children) != 2 {
		t.Fatalf("%s/%s with %d parts", ix.Root.Type, ix.Root.Subtype, len(ix.Root.Children))
	}
	read := func(n int, subtype string) string {
		p := &ix.Root.Children[n]
		if p.Type != "text" || p.Subtype != subtype || p.Params["charset"] != "utf-8" {
			t.Errorf("part %d is %s/%s, %v", n, p.Type, p.Subtype, p.Params)
		}
		b, err := io.ReadAll(mime.Content(bytes.NewReader(raw), p))
		if err != nil {
			t.Fatal(err)
		}
		return strings.ReplaceAll(string(b), "\r\n", "\n")
	}
	return header, read(0, "plain"), read(1, "html")
}

// story is a submission in which much has happened.
func story(language string) *outcomeReport {
	at := time.Date(2026, 11, 21, 9, 3, 4, 0, time.UTC)
	s := &Submission{
		ID: "05r3ab", MsgID: "nuovo@alfa.example", Alias: "m1@client.example", Identifier: pecID, Box: testBox, User: "mario",
		State: Accepted, SubmittedAt: at,
	}
	for i, state := range []RecipientState{Delivered, Failed, Late, Uncertified, Waiting} {
		s.Recipients = append(s.Recipients, Recipient{Address: fmt.Sprintf("d%d@pec.example", i), State: state, External: state == Uncertified})
	}
	rome := time.FixedZone("", 3600)
	return &outcomeReport{
		sub: s, subject: "Diffida n. 7/2026 – sollecito", at: at.Add(time.Hour), from: "pecgate@gateway.example", zone: rome, words: wordsOf(language),
		deciding: map[int]lastReceipt{
			-1: {At: at.Add(time.Second)}, 0: {At: at.Add(time.Minute)},
			1: {At: at.Add(2 * time.Minute), Error: "5.1.1 - Gestore - indirizzo non valido"}, 2: {At: at.Add(12 * time.Hour)},
		},
	}
}

// Both languages are what stands in their golden files; one state makes the same
// bytes always.
func TestOutcomeReportIsWhatItWas(t *testing.T) {
	for _, language := range []string{"it", "en"} {
		raw := story(language).bytes()
		if !bytes.Equal(raw, story(language).bytes()) {
			t.Error("one state makes two reports")
		}
		header, text, page := parts(t, raw)
		got := ""
		for _, f := range []string{"From", "To", "Subject", "Date", "Message-ID", "References", "Auto-Submitted", "X-PEC-Esito"} {
			got += f + ": " + header[f] + "\n"
		}
		got += "\n" + text + "\n" + page
		name := filepath.Join("..", "testdata", "golden", "outcome", language+".txt")
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
		for _, line := range strings.Split(string(raw), "\r\n") {
			if len(line) > 78 || strings.ContainsAny(line, "\r\n") {
				t.Errorf("%d bytes in one line: %q", len(line), line)
			}
		}
	}
}

// What strangers write (subject, addresses, ids, a provider's words) is text and
// nothing else, in header, text and page.
func TestOutcomeReportHoldsNobodysMarkup(t *testing.T) {
	evil := "<script>alert(1)</script>\r\nBcc: x@y.example\r\n\r\n<img src=http://x.example/>\x00\x1b[2J\u202egnp.exe\u2028\"'&"
	o := story("it")
	o.subject = "=?utf-8?q?=0D=0ABcc:_x@y.example?= " + evil
	o.answer = evil
	o.sub.User, o.sub.MsgID, o.sub.Identifier, o.sub.Alias = evil, evil, "\u00e8@x.example", strings.Repeat("x", 5000)
	o.sub.Recipients[1].Address = evil + "@x.example"
	o.deciding[1] = lastReceipt{Error: evil + strings.Repeat("à", 5000)}
	raw := o.bytes()
	header, text, page := parts(t, raw)
	if len(header) != 9 || header["Bcc"] != "" || header["References"] != "" {
		t.Errorf("%q", header)
	}
	if !strings.Contains(header["Subject"], "=?utf-8?q?=0D=0ABcc:_x@y.example?= <script>alert(1)</script> Bcc: x@y.example") {
		t.Errorf("the subject is not what was written: %q", header["Subject"])
	}
	for _, bad := range []string{"<script", "<img", "\r", "\x00", "\x1b", "\u202e", "\u2028"} {
		if strings.Contains(page, bad) || bad[0] != '<' && strings.Contains(text, bad) {
			t.Errorf("%q stands in the report", bad)
		}
	}
	if strings.Contains(text, "\nBcc:") || len(raw) > 12000 {
		t.Errorf("%d bytes:\n%s", len(raw), text)
	}
}

// A report of a thousand recipients is bounded, and so is one of more, which
// names first what went wrong.
func TestOutcomeReportOfAThousand(t *testing.T) {
	o := story("it")
	o.sub.Recipients = nil
	for i := range 1500 {
		o.sub.Recipients = append(o.sub.Recipients, Recipient{Address: fmt.Sprintf("%s%d@pec.example", strings.Repeat("x", 60), i), State: Delivered})
		o.deciding[i] = lastReceipt{At: o.at}
	}
	o.sub.Recipients[1400].State = Failed
	raw := o.bytes()
	_, text, _ := parts(t, raw)
	if n := strings.Count(text, "consegnata, 2"); n != 1000 || !strings.Contains(text, "x1400@pec.example: non consegnata") || !strings.Contains(text, "+ 500 altri") {
		t.Errorf("%d lines", n)
	}
	if len(raw) > 1<<20 {
		t.Errorf("%d bytes", len(raw))
	}
	if c := o.sub.counts(); c != (Counts{D: 1500, A: 1, C: 1499, E: 1}) {
		t.Errorf("%s", c)
	}
}

// Every state has a headline in both languages, and every one is used.
func TestOutcomeHeadlines(t *testing.T) {
	it, en := wordsOf("it"), wordsOf("en")
	used := map[string]bool{}
	for _, state := range []State{Held, ToApprove, Queued, Attempting, Uncertain, HandedOver, Accepted, NotAccepted, Cancelled} {
		for _, why := range []Reason{"", ReasonUncertain, ReasonRestored, ReasonOperator, ReasonPIN, ReasonApproval, ReasonRefused, ReasonFormal, ReasonVirus, ReasonExpired} {
			for mix := range 1 << 5 {
				s := &Submission{State: state, StateReason: why}
				for i, r := range []RecipientState{Waiting, Delivered, Failed, Late, Uncertified} {
					if mix&(1<<i) != 0 {
						s.Recipients = append(s.Recipients, Recipient{State: r})
					}
				}
				h := s.headline(it)
				if h == "" || s.headline(en) == "" {
					t.Fatalf("%s %s has no headline", state, why)
				}
				used[h] = true
			}
		}
	}
	for k, h := range it.states {
		if !used[h] || en.states[k] == "" {
			t.Errorf("%s is of no use, or not in English", k)
		}
	}
}

// TestOutcomeIsReplaced: one report stands for a submission at any time. It comes
// anew, under a new UID, at the acceptance, the first failure and the end; what
// people marked stays, and it is unseen again only where the news are worse.
func TestOutcomeIsReplaced(t *testing.T) {
	r := newReports(t)
	ctx := context.Background()
	r.send("s1", testMsgID, sentText, "a@pec.example", "b@pec.example")
	if r.work() != firstReport || len(r.seen(own)) != 0 {
		t.Error("the first report does not wait for the acceptance")
	}
	r.later(firstReport)
	r.work()
	first := r.one()
	header, text, _ := parts(t, first.raw)
	if header["X-PEC-Esito"] != "D=2 A=0 C=0 E=0" || header["References"] != "<"+testMsgID+">" || !strings.Contains(text, "in attesa di accettazione") {
		t.Errorf("%q\n%s", header, text)
	}
	if n := len(r.seen(mailbox.Viewer{Person: member, Scope: mailbox.ScopeOwn})); n != 0 {
		t.Errorf("a member without receive sees %d reports", n)
	}
	if n := len(r.seen(mailbox.Viewer{Person: member})); n != 1 {
		t.Errorf("a member who receives sees %d reports", n)
	}
	flag := func(p mailbox.Person, uid mailbox.UID, flags ...string) {
		t.Helper()
		snap, err := r.store.Snapshot(ctx, outcomesOf(testBox), mailbox.Viewer{Person: p})
		if err == nil {
			_, err = r.store.SetFlags(ctx, snap.Folder, mailbox.Viewer{Person: p}, []mailbox.UID{uid}, mailbox.FlagsAdd, flags)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	has := func(what string, flags []string, want ...string) {
		t.Helper()
		slices.Sort(flags)
		if slices.Sort(want); !slices.Equal(flags, want) {
			t.Errorf("%s: %q instead of %q", what, flags, want)
		}
	}
	flag(sender, first.uid, `\Seen`, `\Flagged`, "Pratica7")
	flag(member, first.uid, `\Deleted`)

	r.take(r.receipt(providersim.Acceptance, nil))
	r.work()
	second := r.one()
	header, _, _ = parts(t, second.raw)
	if second.uid <= first.uid || header["X-PEC-Esito"] != "D=2 A=1 C=0 E=0" || header["References"] != "<"+testMsgID+"> <"+pecID+">" {
		t.Errorf("UID %d, %q", second.uid, header)
	}
	has("accepted", second.flags, `\Seen`, `\Flagged`, "Pratica7")
	has("of another member", r.seen(mailbox.Viewer{Person: member})[0].flags, "Pratica7")

	r.take(r.receipt(providersim.DeliveryError, nil))
	r.work()
	third := r.one()
	if header, text, _ = parts(t, third.raw); header["X-PEC-Esito"] != "D=2 A=1 C=0 E=1" || !strings.Contains(text, "5.1.1 - Gestore - indirizzo non valido") {
		t.Errorf("%q\n%s", header, text)
	}
	has("failed", third.flags, `\Flagged`, "Pratica7")
	flag(sender, third.uid, `\Seen`)

	again := r.receipt(providersim.Delivery, func(n *providersim.Notice) { n.Recipient = "b@pec.example" })
	r.take(again)
	r.work()
	last := r.one()
	if header, _, _ = parts(t, last.raw); header["X-PEC-Esito"] != "D=2 A=1 C=1 E=1" {
		t.Errorf("%q", header)
	}
	has("ended", last.flags, `\Seen`, `\Flagged`, "Pratica7")

	// What changes nothing makes no report.
	r.take(again)
	r.take(r.receipt(providersim.DeliveryWarning, nil))
	if wait := r.work(); wait != reportIdle || r.one().uid != last.uid {
		t.Errorf("due in %s", wait)
	}
	r.gone(first, second, third)
}

// gone tells that nothing is left of reports that were replaced: no record, no
// entry, no bytes that count, nothing that a person had there.
func (r *reports) gone(old ...standingReport) {
	r.t.Helper()
	ctx := context.Background()
	if _, err := r.store.Sweep(ctx); err != nil {
		r.t.Fatal(err)
	}
	err := r.store.View(ctx, func(tx *mailbox.Tx) error {
		for _, o := range old {
			ids, err := tx.ByContent(sha256.Sum256(o.raw))
			if err != nil || len(ids) != 0 {
				r.t.Errorf("report %d stays: %v %v", o.id, ids, err)
			}
		}
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	if found, err := r.store.Recover(ctx, func(string) string { return "capo" }); err != nil || found.Filed+found.Waiting+found.Dropped != 0 {
		r.t.Errorf("%+v, %v", found, err)
	}
}

// TestOutcomeOnceAMinute: what is no acceptance, first failure or end waits until
// the report is a minute old, however much happens.
func TestOutcomeOnceAMinute(t *testing.T) {
	r := newReports(t)
	var to []string
	for i := range 20 {
		to = append(to, fmt.Sprintf("r%d@pec.example", i))
	}
	r.send("s1", testMsgID, sentText, to...)
	about := func(k providersim.Kind, n int) []byte {
		return r.receipt(k, func(x *providersim.Notice) {
			x.Recipients = nil
			for _, a := range to {
				x.Recipients = append(x.Recipients, providersim.Recipient{Address: a})
			}
			if k != providersim.Acceptance {
				x.Recipient = to[n]
			}
		})
	}
	r.take(about(providersim.Acceptance, 0))
	r.work()
	made := r.one()
	for n := range 10 {
		r.take(about(providersim.Delivery, n))
		r.later(time.Second)
		if wait := r.work(); wait != reportEvery-time.Duration(n+1)*time.Second || r.one().uid != made.uid {
			t.Fatalf("after delivery %d: due in %s", n, wait)
		}
	}
	r.later(reportEvery)
	r.work()
	ten := r.one()
	if header, _, _ := parts(t, ten.raw); header["X-PEC-Esito"] != "D=20 A=1 C=10 E=0" || ten.uid != made.uid+1 {
		t.Errorf("%q, UID %d after %d", header, ten.uid, made.uid)
	}
	for n := 10; n < 20; n++ {
		k := providersim.Delivery
		if n == 12 || n == 13 {
			k = providersim.DeliveryError
		}
		r.take(about(k, n))
		r.work()
	}
	// The first failure and the end, at once.
	if last := r.one(); last.uid != ten.uid+2 {
		t.Errorf("UID %d after %d", last.uid, ten.uid)
	}
}

// TestNoOutcomeOfHistory: a submission that is made anew has no report, and its
// receipts, read as history, make none; a report that stands is kept true.
func TestNoOutcomeOfHistory(t *testing.T) {
	r := newReports(t)
	r.send("s1", testMsgID, sentText, "a@pec.example", "b@pec.example")
	r.update(func(tx *mailbox.Tx) error {
		s, err := load(tx, "s1")
		if err != nil {
			return err
		}
		m, err := tx.Message(s.Message)
		if err != nil {
			return err
		}
		m.History = true
		return tx.PutMessage(m)
	})
	r.later(time.Hour)
	r.work()
	for _, k := range []providersim.Kind{providersim.Acceptance, providersim.DeliveryError} {
		r.take(r.receipt(k, nil))
	}
	r.update(func(tx *mailbox.Tx) error {
		if due, next, err := dueOutcomes(tx, 10); err != nil || len(due) > 0 || !next.IsZero() {
			t.Errorf("due are %v, then %s: %v", due, next, err)
		}
		return nil
	})
	if wait := r.work(); wait != reportIdle || len(r.seen(own)) != 0 {
		t.Errorf("history has %d reports, the next due in %s", len(r.seen(own)), wait)
	}
}

// TestOutcomeKeepsWhatPeopleKeep: a report that a person copied stays for them
// when it is replaced, and so does one under a legal hold.
func TestOutcomeKeepsWhatPeopleKeep(t *testing.T) {
	r := newReports(t)
	ctx := context.Background()
	r.send("s1", testMsgID, sentText, "a@pec.example", "b@pec.example")
	r.later(firstReport)
	r.work()
	first := r.one()
	snap, err := r.store.Snapshot(ctx, outcomesOf(testBox), own)
	if err != nil {
		t.Fatal(err)
	}
	mine := mailbox.FolderKey{Owner: sender, Role: mailbox.RoleCustom, Name: "Pratiche"}
	if _, err := r.store.Copy(ctx, snap.Folder, own, []mailbox.UID{first.uid}, mine); err != nil {
		t.Fatal(err)
	}
	r.take(r.receipt(providersim.Acceptance, nil))
	r.work()
	second := r.one()
	if _, err := r.store.PlaceHold(ctx, mailbox.Hold{ID: "causa", Who: "capo"}, []mailbox.MessageID{second.id}); err != nil {
		t.Fatal(err)
	}
	r.take(r.receipt(providersim.DeliveryError, nil))
	r.work()
	r.one()
	for _, old := range []standingReport{first, second} {
		if m, err := r.store.Message(ctx, old.id); err != nil || m.SHA256() != fmt.Sprintf("%x", sha256.Sum256(old.raw)) {
			t.Errorf("report %d: %v", old.id, err)
		}
	}
	if st, err := r.store.Status(ctx, mine, own); err != nil || st.Messages != 1 {
		t.Errorf("%+v, %v", st, err)
	}
}

// TestOutcomeOnAFullDisk: without room no report is written and nothing is lost;
// with room again it comes.
func TestOutcomeOnAFullDisk(t *testing.T) {
	r := newReports(t)
	var full atomic.Bool
	r.on(mailbox.Options{Dir: t.TempDir(), MinFree: 1 << 20, Free: func() (mailbox.DiskFree, error) {
		if full.Load() {
			return mailbox.DiskFree{Bytes: 800 << 10, Inodes: -1}, nil
		}
		return mailbox.DiskFree{Bytes: 1 << 40, Inodes: -1}, nil
	}})
	r.send("s1", testMsgID, sentText, "a@pec.example", "b@pec.example")
	r.later(firstReport)
	full.Store(true)
	if _, err := r.s.reportDue(t.Context()); err == nil {
		t.Error("no fault")
	}
	full.Store(false)
	r.work()
	r.one()
}

// TestReportThatFailsStopsNoOther puts a report off whose submission cannot be
// read.
func TestReportThatFailsStopsNoOther(t *testing.T) {
	r := newReports(t)
	r.send("s0", "m0@alfa.example", strings.ReplaceAll(sentText, testMsgID, "m0@alfa.example"), "a@pec.example")
	r.send("s1", testMsgID, sentText, "a@pec.example", "b@pec.example")
	r.update(func(tx *mailbox.Tx) error { return tx.Space(room).Put("r/s0/0000", "no list") })
	r.later(firstReport)
	if wait, err := r.s.reportDue(t.Context()); err != nil || wait != reportAgain || len(r.seen(own)) != 1 {
		t.Errorf("%v, due in %s, %d reports", err, wait, len(r.seen(own)))
	}
	if !strings.Contains(r.log.String(), "report of submission s0") {
		t.Errorf("%s", r.log)
	}
}

// A line of the list that no record of a report knows ends: it would be due for
// ever, and the reporter would do nothing else.
func TestStrayLineOfAReportEnds(t *testing.T) {
	r := newReports(t)
	r.send("s1", testMsgID, sentText, "a@pec.example", "b@pec.example")
	r.later(time.Hour)
	r.work()
	before := r.one()
	r.update(func(tx *mailbox.Tx) error {
		sp := tx.Space(room)
		return errors.Join(
			sp.Put(dueKey(tx.Now().Add(-time.Minute), "s1"), nil),
			sp.Put(dueKey(tx.Now().Add(-time.Minute), "nobody"), nil))
	})
	if wait := r.work(); wait != reportIdle {
		t.Errorf("the next is due in %s", wait)
	}
	if after := r.one(); after.uid != before.uid {
		t.Error("a stray line made a new report")
	}
}
