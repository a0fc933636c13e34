package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"pecgate/mailbox/pec"
	"pecgate/relay"
	"pecgate/relay/providersim"
	"pecgate/relay/submit"
)

const (
	treeA = "PEC/" + boxA + "/"
	treeB = "PEC/" + boxB + "/"
)

// The main job of the product, as a newcomer runs it.
func TestDemoOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "demo")
	var out, errs bytes.Buffer
	if state := run(context.Background(), []string{"demo", "--once", "--dir", dir}, strings.NewReader(""), &out, &errs); state != 0 {
		t.Fatalf("status %d\n%s\n%s", state, &out, &errs)
	}
	for _, want := range []string{
		"without his PIN: refused", "with his PIN", "receipt: acceptance, signature valid", "receipt: delivery, signature valid",
		"receipt: delivery-error, signature valid", "Lucia reads the incoming PEC", "IMAP",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the demo does not say %q:\n%s", want, &out)
		}
	}
	for _, f := range []string{"ca.pem", "tls/ca.pem", "pecgate.yaml", "policy.yaml", "accounts.txt", "timeline.json"} {
		if _, err := os.Stat(filepath.Join(dir, f)); err != nil {
			t.Error(err)
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "messages", "*.eml"))
	if err != nil || len(files) < 4 {
		t.Fatalf("%d messages: %v", len(files), err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if hex256(b)+".eml" != filepath.Base(f) {
			t.Errorf("%s has other bytes", f)
		}
	}
}

func TestRefusedSubmissions(t *testing.T) {
	h := newHouse(t).start()
	ok := mail(boxA, boxB, "x [PIN:"+pinMario+"]", "m@x.example")
	for name, c := range map[string]struct {
		login, password, from, message string
		class                          submit.Class
		code                           int
	}{
		"missing PIN":                 {"mario", "mariomario", boxA, mail(boxA, boxB, "no pin", "m@x.example"), submit.Permanent, 550},
		"wrong PIN":                   {"mario", "mariomario", boxA, mail(boxA, boxB, "x [PIN:000000]", "m@x.example"), submit.Permanent, 550},
		"wrong password":              {"mario", "wrong", boxA, ok, submit.AuthRefused, 535},
		"unknown user":                {"nobody", "nobodynobody", boxA, ok, submit.AuthRefused, 535},
		"member who may not send":     {"anna", "annaanna", boxA, ok, submit.Permanent, 550},
		"no member":                   {"lucia", "lucialucia", boxA, ok, submit.Permanent, 550},
		"expired member":              {"piero", "pieropiero", boxA, ok, submit.Permanent, 550},
		"unknown mailbox":             {"mario", "mariomario", "x@pec.alfa.example", mail("x@pec.alfa.example", boxB, "x [PIN:"+pinMario+"]", "m@x.example"), submit.Permanent, 550},
		"login for another mailbox":   {"mario/" + boxB, "mariomario", boxA, ok, submit.AuthRefused, 535},
		"From differs from the path":  {"mario", "mariomario", boxA, strings.Replace(ok, "From: <"+boxA, "From: <"+boxB, 1), submit.Permanent, 550},
		"a recipient not in the text": {"mario", "mariomario", boxA, strings.Replace(ok, "To: <"+boxB, "To: <x@pec.beta.example", 1), submit.Permanent, 550},
	} {
		t.Run(name, func(t *testing.T) {
			r := h.send(c.login, c.password, c.from, []string{boxB}, c.message)
			if r.Class != c.class || r.Code != c.code {
				t.Errorf("%s %d %s %q at %s: %v", r.Class, r.Code, r.Enhanced, r.Text, r.Stage, r.Err)
			}
			if c.code == 550 && len(strings.Fields(r.Text)) < 5 {
				t.Errorf("the refusal is not in plain words: %q", r.Text)
			}
		})
	}
	st := h.status()
	if len(st.Queue) != 0 || len(h.provider.Ledger()) != 0 {
		t.Errorf("queue %v, %d messages at the provider", st.Queue, len(h.provider.Ledger()))
	}
	for _, secret := range []string{pinMario, "mariomario", "provider-a"} {
		if strings.Contains(h.log.String(), secret) {
			t.Errorf("the log holds a secret")
		}
	}
}

func TestAMessageGoesOutAndItsReceiptsComeBack(t *testing.T) {
	h := newHouse(t).start()
	r := h.send("mario", "mariomario", boxA, []string{boxB}, mail(boxA, boxB, "Diffida [PIN:"+pinMario+"]", "m1@alfa.example"))
	if r.Class != submit.HandedOver {
		t.Fatalf("%+v", r)
	}
	h.until("delivered", func() bool {
		s, err := h.shown("m1@alfa.example")
		return err == nil && s.Recipients[0].State == relay.Delivered && s.State == relay.Accepted
	})
	s, _ := h.shown("m1@alfa.example")
	if byID, err := h.shown(s.Identifier); err != nil || byID.ID != s.ID {
		t.Errorf("found by identifier %q: %v, %v", s.Identifier, byID.ID, err)
	}
	h.until("lucia has it", func() bool { return len(h.folder("lucia", treeB+"Posta in arrivo")) == 1 })
	emitted := map[string]bool{}
	for _, e := range h.provider.Emitted() {
		emitted[string(e.Raw)] = true
	}
	for _, f := range []struct{ login, folder string }{
		{"mario", treeA + "Ricevute/Accettazione"}, {"mario", treeA + "Ricevute/Consegna"}, {"lucia", treeB + "Posta in arrivo"},
		{"mario/" + boxA, "Ricevute/Consegna"}, {"lucia/" + boxB, "INBOX"},
	} {
		got := h.folder(f.login, f.folder)
		if len(got) != 1 || !emitted[got[0]] {
			t.Errorf("%s sees %d messages in %s, or other bytes than the provider's", f.login, len(got), f.folder)
		}
	}
	for _, f := range []struct{ login, folder string }{{"mario", treeA + "Posta inviata"}, {"mario", "Posta inviata"}, {"anna", treeA + "Posta inviata"}} {
		if got := h.folder(f.login, f.folder); len(got) != 1 || strings.Contains(got[0], pinMario) || got[0] != string(h.provider.Ledger()[0].Raw) {
			t.Errorf("%s sees %d messages in %s, or other bytes than were sent", f.login, len(got), f.folder)
		}
	}
	// Receipts go to the sender: anna receives for the mailbox, but these are Mario's.
	if got := h.folder("anna", treeA+"Ricevute/Consegna"); len(got) != 0 {
		t.Errorf("anna sees %d receipts of Mario", len(got))
	}
}

func TestAProviderThatIsNotSafeGetsNoLogin(t *testing.T) {
	h := newHouse(t)
	expired, err := h.provider.CA().TLSLeaf(providersim.TLSLeafOptions{NotBefore: time.Now().AddDate(-2, 0, 0), NotAfter: time.Now().AddDate(0, 0, -1)})
	if err != nil {
		t.Fatal(err)
	}
	h.provider.SetTLS(providersim.TLSOptions{Certificate: &expired})
	h.start()
	if r := h.send("mario", "mariomario", boxA, []string{boxB}, mail(boxA, boxB, "x [PIN:"+pinMario+"]", "m1@alfa.example")); r.Class != submit.HandedOver {
		t.Fatalf("%+v", r)
	}
	h.until("status says why", func() bool {
		for _, m := range h.status().Mailboxes {
			if m.Address == boxA && strings.Contains(m.LastError, "sending") && strings.Contains(m.LastError, "expired") {
				return true
			}
		}
		return false
	})
	if s, err := h.shown("m1@alfa.example"); err != nil || s.State != relay.Queued && s.State != relay.Attempting {
		t.Errorf("the submission is %s: %v", s.State, err)
	}
	if n := len(h.provider.Logins()); n != 0 {
		t.Errorf("%d logins were sent", n)
	}
	h.provider.SetTLS(providersim.TLSOptions{})
	h.settled("m1@alfa.example", relay.Accepted)
}

func TestB2_LostAnswerIsUncertainAndSentOnce(t *testing.T) {
	h := newHouse(t)
	h.provider.Faults().CutAfterDot.Next(1)
	h.start()
	if r := h.send("mario", "mariomario", boxA, []string{boxB}, mail(boxA, boxB, "x [PIN:"+pinMario+"]", "m1@alfa.example")); r.Class != submit.HandedOver {
		t.Fatalf("%+v", r)
	}
	s := h.settled("m1@alfa.example", relay.Accepted)
	seen := false
	for _, e := range s.Events {
		seen = seen || e.What == string(relay.Uncertain)
	}
	if !seen || len(h.provider.Ledger()) != 1 {
		t.Errorf("uncertain told: %t, messages at the provider: %d", seen, len(h.provider.Ledger()))
	}
}

func TestB6_RefusalOfTheProviderIsTold(t *testing.T) {
	h := newHouse(t)
	h.provider.Faults().RejectAtDot.Next(1)
	h.start()
	if r := h.send("mario", "mariomario", boxA, []string{boxB}, mail(boxA, boxB, "x [PIN:"+pinMario+"]", "m1@alfa.example")); r.Class != submit.HandedOver {
		t.Fatalf("%+v", r)
	}
	s := h.settled("m1@alfa.example", relay.NotAccepted)
	if s.StateReason != relay.ReasonRefused {
		t.Errorf("reason %q", s.StateReason)
	}
	h.until("a notice in INBOX", func() bool { return len(h.folder("mario", "INBOX")) == 1 })
	if len(h.provider.Ledger()) != 0 {
		t.Error("the provider has it all the same")
	}
}

func TestB5_TemporaryRefusalIsTriedAgain(t *testing.T) {
	h := newHouse(t)
	h.provider.Faults().DeferAtDot.Next(2)
	h.start()
	if r := h.send("mario", "mariomario", boxA, []string{boxB}, mail(boxA, boxB, "x [PIN:"+pinMario+"]", "m1@alfa.example")); r.Class != submit.HandedOver {
		t.Fatalf("%+v", r)
	}
	h.settled("m1@alfa.example", relay.Accepted)
	if n := len(h.provider.Ledger()); n != 1 {
		t.Errorf("%d messages at the provider", n)
	}
}

// TestA4_RetryOfTheClient and A5: the same again is recognised, something else
// under the same Message-ID gets an id of its own.
func TestA4_RetryOfTheClient(t *testing.T) {
	h := newHouse(t).start()
	first := mail(boxA, boxB, "uno [PIN:"+pinMario+"]", "m1@alfa.example")
	id := func(r submit.Result) string {
		if r.Class != submit.HandedOver {
			t.Fatalf("%+v", r)
		}
		words := strings.Fields(r.Text)
		return words[len(words)-1]
	}
	a := id(h.send("mario", "mariomario", boxA, []string{boxB}, first))
	b := id(h.send("mario", "mariomario", boxA, []string{boxB}, first))
	second := strings.Replace(first, "Si trasmette", "Si ritrasmette", 1)
	c := id(h.send("mario", "mariomario", boxA, []string{boxB}, second))
	d := id(h.send("mario", "mariomario", boxA, []string{boxB}, second)) // the retry of what got an id of our own
	if a != b || a == c || c != d {
		t.Errorf("ids %s, %s, %s, %s", a, b, c, d)
	}
	h.settled(a, relay.Accepted)
	s := h.settled(c, relay.Accepted)
	if s.MsgID == "m1@alfa.example" || s.Alias != "m1@alfa.example" {
		t.Errorf("Message-ID %s, alias %s", s.MsgID, s.Alias)
	}
	ids := map[string]int{}
	for _, l := range h.provider.Ledger() {
		ids[l.MessageID]++
	}
	if len(h.provider.Ledger()) != 2 || len(ids) != 2 {
		t.Errorf("at the provider: %v", ids)
	}
}

// TestA4_RetriesAtTheSameTime brings one message on eight connections at once,
// under a Message-ID that another one has already: it goes out once.
func TestA4_RetriesAtTheSameTime(t *testing.T) {
	h := newHouse(t).start()
	first := mail(boxA, boxB, "uno [PIN:"+pinMario+"]", "m1@alfa.example")
	h.send("mario", "mariomario", boxA, []string{boxB}, first)
	second := strings.Replace(first, "Si trasmette", "Si ritrasmette", 1)
	var wg sync.WaitGroup
	answers := make([]submit.Result, 8)
	for i := range answers {
		wg.Go(func() { answers[i] = h.send("mario", "mariomario", boxA, []string{boxB}, second) })
	}
	wg.Wait()
	for _, r := range answers {
		if r.Class != submit.HandedOver || r.Text != answers[0].Text {
			t.Errorf("%q and %q", r.Text, answers[0].Text)
		}
	}
	h.until("both are accepted", func() bool { return h.status().Queue[relay.Accepted] == 2 })
	if n := len(h.provider.Ledger()); n != 2 {
		t.Errorf("%d messages at the provider", n)
	}
}

// TestA4_RetryWithoutDate repeats a message whose Date the gateway adds: the
// same again, although the gateway's own bytes differ.
func TestA4_RetryWithoutDate(t *testing.T) {
	h := newHouse(t).start()
	text := strings.Replace(mail(boxA, boxB, "uno [PIN:"+pinMario+"]", "m1@alfa.example"), "Date: Sat, 21 Nov 2026 10:00:00 +0100\r\n", "", 1)
	a := h.send("mario", "mariomario", boxA, []string{boxB}, text)
	time.Sleep(1100 * time.Millisecond) // the Date that is added has another second
	b := h.send("mario", "mariomario", boxA, []string{boxB}, text)
	if a.Class != submit.HandedOver || a.Text != b.Text {
		t.Errorf("%q and %q", a.Text, b.Text)
	}
}

// TestA4_NewTryAfterRefusal sends what the provider refused once more, as the
// notice says: it must go out, not be taken for a retry.
func TestA4_NewTryAfterRefusal(t *testing.T) {
	h := newHouse(t)
	h.provider.Faults().RejectAtDot.Next(1)
	h.start()
	text := mail(boxA, boxB, "uno [PIN:"+pinMario+"]", "m1@alfa.example")
	h.send("mario", "mariomario", boxA, []string{boxB}, text)
	first := h.settled("m1@alfa.example", relay.NotAccepted)
	r := h.send("mario", "mariomario", boxA, []string{boxB}, text)
	words := strings.Fields(r.Text)
	again := words[len(words)-1]
	if r.Class != submit.HandedOver || again == first.ID {
		t.Fatalf("%+v", r)
	}
	h.settled(again, relay.Accepted)
}

// TestH1_ForgedReceiptsChangeNothing injects receipts that are not to be
// believed: no state moves, they lie among the anomalies, the audit line says
// why.
func TestH1_ForgedReceiptsChangeNothing(t *testing.T) {
	h := newHouse(t)
	h.provider.Faults().NoReceipts.On()
	h.start()
	if r := h.send("mario", "mariomario", boxA, []string{boxB}, mail(boxA, boxB, "x [PIN:"+pinMario+"]", "m1@alfa.example")); r.Class != submit.HandedOver {
		t.Fatalf("%+v", r)
	}
	h.settled("m1@alfa.example", relay.HandedOver)
	h.provider.Faults().NoReceipts.Off()
	faults := []*providersim.Switch{&h.provider.Faults().WrongSignature, &h.provider.Faults().ExpiredLeaf, &h.provider.Faults().ForeignCA}
	want := 0
	for _, f := range faults {
		f.On()
		// The same message again, straight to the provider: its receipts quote
		// the Message-ID of ours.
		w := h.provider.SMTPAddr()
		pool := x509Pool(t, h.provider.CAPEM())
		r := sendTo(t, w, pool, boxA, "provider-a", boxA, []string{boxB}, mail(boxA, boxB, "x", "m1@alfa.example"))
		if r.Class != submit.HandedOver {
			t.Fatalf("%+v", r)
		}
		if err := h.provider.Settle(context.Background()); err != nil {
			t.Fatal(err)
		}
		f.Off()
		want += 2 // acceptance and delivery
	}
	unsigned := "From: posta-certificata@pec.gestore.example\r\nTo: " + boxA + "\r\nSubject: CONSEGNA: x\r\nX-Ricevuta: avvenuta-consegna\r\n" +
		"X-Riferimento-Message-ID: <m1@alfa.example>\r\nMessage-ID: <f1@x.example>\r\n\r\nconsegnato\r\n"
	if err := h.provider.Inject(boxA, []byte(unsigned)); err != nil {
		t.Fatal(err)
	}
	want++
	h.until("the forged receipts are filed", func() bool { return len(h.folder("mario", treeA+"Anomalie")) == want })
	s, err := h.shown("m1@alfa.example")
	if err != nil || s.State != relay.HandedOver || s.Recipients[0].State != relay.Waiting || len(s.Receipts)+len(s.Recipients[0].Receipts) != 0 {
		t.Errorf("a forged receipt was believed: %+v, %v", s, err)
	}
	for _, f := range []string{"Accettazione", "Consegna", "Errori", "Accettazione ordinaria"} {
		if n := len(h.folder("mario", treeA+"Ricevute/"+f)); n != 0 {
			t.Errorf("%d forged receipts in %s", n, f)
		}
	}
	// An envelope of an unknown CA stays in sight, marked.
	h.provider.Faults().ForeignCA.On()
	if err := h.provider.SendFromOutside("x@pec.altrove.example", boxA, "da fuori", "testo"); err != nil {
		t.Fatal(err)
	}
	h.until("the envelope is in the inbox", func() bool { return len(h.folder("mario", treeA+"Posta in arrivo")) == 1 })
	h.stop()
	lines := h.audit("arrival")
	unbelieved := 0
	for _, l := range lines {
		if l.Box == boxA && l.Reason != "" && !strings.HasSuffix(l.Result, " "+pec.Valid) {
			unbelieved++
		}
	}
	if unbelieved != want+1 {
		t.Errorf("%d audit lines give a reason instead of %d: %+v", unbelieved, want+1, lines)
	}
}

// TestH2_OuterHeadersAreHints swaps the outer headers of genuine receipts: what
// they become is what the signed part says.
func TestH2_OuterHeadersAreHints(t *testing.T) {
	h := newHouse(t).start()
	if r := h.send("mario", "mariomario", boxA, []string{boxB}, mail(boxA, boxB, "x [PIN:"+pinMario+"]", "m1@alfa.example")); r.Class != submit.HandedOver {
		t.Fatalf("%+v", r)
	}
	h.until("delivered", func() bool {
		s, err := h.shown("m1@alfa.example")
		return err == nil && s.State == relay.Accepted && s.Recipients[0].State == relay.Delivered
	})
	delivery := h.folder("mario", treeA+"Ricevute/Consegna")[0]
	forged := strings.NewReplacer("X-Ricevuta: avvenuta-consegna", "X-Ricevuta: errore-consegna",
		"X-Riferimento-Message-ID: <m1@alfa.example>", "X-Riferimento-Message-ID: <other@alfa.example>",
		"Subject: CONSEGNA", "Subject: AVVISO DI MANCATA CONSEGNA").Replace(delivery)
	header, _, _ := strings.Cut(delivery, "\r\n\r\n")
	inner := strings.TrimPrefix(delivery, header)
	forged = forged[:strings.Index(forged, "\r\n\r\n")] + inner
	if forged == delivery {
		t.Fatal("no header was swapped")
	}
	if err := h.provider.Inject(boxA, []byte(forged)); err != nil {
		t.Fatal(err)
	}
	h.until("filed as what it is", func() bool { return len(h.folder("mario", treeA+"Ricevute/Consegna")) == 2 })
	s, err := h.shown("m1@alfa.example")
	if err != nil || s.State != relay.Accepted || s.Recipients[0].State != relay.Delivered {
		t.Errorf("the state moved: %+v, %v", s, err)
	}
	if n := len(h.folder("mario", treeA+"Ricevute/Errori")); n != 0 {
		t.Errorf("%d messages among the errors", n)
	}
}
