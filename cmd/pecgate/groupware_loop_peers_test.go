//go:build peers

package main

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"pecgate/mailbox/mime"
	"pecgate/relay/submit/smarthosttest"
)

// Each message of the test bears its number in the subject, and each responder puts one more mark before it: so every message
// in any store says how long the chain is that it ends.
const (
	loopMessages = 1000
	loopFar      = "risponde@pec.gamma.example" // certified, answers every PEC
	loopOutside  = "comune@pec.delta.example"   // not certified, the same
	loopMark     = "Risposta+"
)

var loopNumber = regexp.MustCompile(`numero-([0-9]{4})\b`)

// What Dovecot answers for mario to every message whatever it is, also without a return path: to Reply-To, else to From.
const loopNotify = `require ["enotify", "variables", "vacation", "vacation-seconds"];
if header :matches "subject" "*" { set "subject" "${1}"; }
if address :matches "from" "*" { set "to" "${1}"; }
if address :matches "reply-to" "*" { set "to" "${1}"; }
if not header :contains "from" "MAILER-DAEMON" {
  notify :from "mario@ordinary.example" :message "[PEC] ` + loopMark + ` ${subject}" "mailto:${to}?body=Sono+assente";
}
vacation :seconds 0 :addresses ["mario@ordinary.example", "` + boxA + `"] :subject "[PEC] ` + loopMark + ` ${subject}" "Sono assente.";
`

// lucia's sends everything on to a PEC address.
const loopRedirect = `require ["copy"];
redirect :copy "` + loopFar + `.pec";
`

// agent answers everything that comes to anna, as one make of machine after the other does.
type agent struct {
	o        *office
	mail     *smarthosttest.Server
	answered int
}

// turn answers what is new, and tells whether there was any.
func (a *agent) turn() bool {
	all := a.mail.All()
	fresh := all[a.answered:]
	for _, m := range fresh {
		a.answered++
		head, _, _ := strings.Cut(m.Data, "\r\n\r\n")
		from, to, subject, id := "anna@ordinary.example", "", "", ""
		for _, f := range mime.Fields([]byte(head + "\r\n")) {
			value := mime.DecodeWords(f.Body())
			switch strings.ToLower(f.Name) {
			case "subject":
				subject = strings.Join(strings.Fields(value), " ")
			case "message-id":
				id = strings.TrimSpace(value)
			case "from", "reply-to":
				if found := regexp.MustCompile(`[^\s<>"]+@[^\s<>"]+`).FindAllString(value, -1); len(found) > 0 && (to == "" || strings.EqualFold(f.Name, "Reply-To")) {
					to = found[len(found)-1]
				}
			}
		}
		if to == "" || strings.HasPrefix(to, "MAILER-DAEMON@") {
			continue
		}
		kind := "Content-Type: text/plain\r\n"
		switch a.answered % 5 {
		case 0: // Exchange
			kind, from = "Auto-Submitted: auto-generated\r\nX-Auto-Response-Suppress: All\r\n", ""
		case 1: // the same where a transport rule gives it a sender
			kind = "Auto-Submitted: auto-generated\r\nX-Auto-Response-Suppress: All\r\n"
		case 2: // vacation(1)
			kind = "Auto-Submitted: auto-replied (vacation)\r\nPrecedence: bulk\r\n"
		case 3: // an agent of Domino
			kind = "Precedence: auto_reply\r\n"
		case 4: // that it was read
			kind = "Content-Type: multipart/report; report-type=disposition-notification; boundary=x\r\n"
		}
		err := sayPlainly(a.o.submission, from, to, kind+"From: Anna Verdi <anna@ordinary.example>\r\nTo: <"+to+">\r\nSubject: [PEC] "+loopMark+" "+subject+"\r\nIn-Reply-To: "+id+
			"\r\nDate: Mon, 16 Nov 2026 10:00:00 +0100\r\nMessage-ID: <auto"+fmt.Sprint(a.answered)+"@ordinary.example>\r\nMIME-Version: 1.0\r\n\r\nSono assente.\r\n")
		if err != nil {
			a.o.t.Errorf("the agent: %v", err)
		}
	}
	return len(fresh) > 0
}

// counterpart answers every PEC of ours by a PEC; it knows as little of machines as it can.
type counterpart struct {
	o        *office
	answered int
}

func (c *counterpart) turn() bool {
	ledger := c.o.provider.Ledger()
	fresh := ledger[c.answered:]
	for _, s := range fresh {
		c.answered++
		raw := "From: <" + s.Recipients[0] + ">\r\nTo: <" + s.From + ">\r\nSubject: " + loopMark + " " + field(c.o.t, string(s.Raw), "Subject") + "\r\nIn-Reply-To: " + s.MessageID +
			"\r\nMessage-ID: <far" + fmt.Sprint(c.answered) + "@pec.gamma.example>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\nSiamo in ferie.\r\n"
		if err := c.o.provider.SendRawFromOutside(s.Recipients[0], []string{s.From}, []byte(raw)); err != nil {
			c.o.t.Error(err)
		}
	}
	return len(fresh) > 0
}

// chain is how many messages stand in the chain that one ends; 0: it is of none.
func chain(raw string) int {
	head, _, _ := strings.Cut(strings.ReplaceAll(raw, "\r\n", "\n"), "\n\n")
	for _, f := range mime.Fields([]byte(strings.ReplaceAll(head, "\n", "\r\n") + "\r\n")) {
		if strings.EqualFold(f.Name, "Subject") {
			if s := mime.DecodeWords(f.Body()); loopNumber.MatchString(s) {
				return 1 + strings.Count(s, loopMark)
			}
		}
	}
	return 0
}

// TestGroupware_NothingLoops: a thousand messages in both directions between responders that answer everything. What a machine
// of the office answers to a copy, a receipt or a delivery report comes to an end at the gateway.
func TestGroupware_NothingLoops(t *testing.T) {
	marks := strings.NewReplacer("[pec.beta.example]", "[pec.gamma.example, pec.delta.example, pec.gestore.example, pec.altro-gestore.example]",
		"[anna@ordinary.example]", "[anna@ordinary.example, lucia@ordinary.example, mario@ordinary.example]", "    mailbox: "+boxA+"\n", "").Replace(officeMarks)
	answers := smarthosttest.New(t)
	o := newOffice(t, marks, map[string]string{"mario": loopNotify, "lucia": loopRedirect},
		mailboxText(boxA, false, "", "mario", "anna, preset: send only"),
		mailboxText(boxB, false, "", "lucia"))
	o.postfix.run(nil, "postconf", "-e", "transport_maps = inline:{ anna@ordinary.example=smtp:["+strings.Replace(answers.Addr(), ":", "]:", 1)+" }, "+
		strings.TrimSpace(o.postfix.run(nil, "postconf", "-h", "transport_maps")), "in_flow_delay = 0", "lmtp_destination_concurrency_limit = 5")
	o.postfix.run(nil, "postfix", "reload")
	if err := o.provider.SetBehaviour(loopFar, "delivered"); err != nil {
		t.Fatal(err)
	}
	o.fetched()
	began := time.Now()

	// The messages, in four lines at once.
	var lines sync.WaitGroup
	const out = loopMessages / 2
	for line := range 4 {
		lines.Go(func() {
			for n := line; n < loopMessages; n += 4 {
				if err := o.loopMessage(n); err != nil {
					t.Errorf("message %d: %v", n, err)
				}
			}
		})
	}
	machine, far := &agent{o: o, mail: answers}, &counterpart{o: o}
	longest := 0
	for still := 0; still < 3; {
		moved := machine.turn()
		moved = far.turn() || moved
		for _, s := range o.provider.Ledger() {
			longest = max(longest, chain(string(s.Raw)))
		}
		if longest > 3 || len(o.provider.Ledger()) > out {
			t.Fatalf("%d messages have left, of %d; a chain has %d", len(o.provider.Ledger()), out, longest)
		}
		if time.Since(began) > 4*time.Minute {
			t.Fatalf("it does not end: %d have left, %d in Postfix, %+v", len(o.provider.Ledger()), o.postfix.waiting(), o.status())
		}
		if s := o.status(); !moved && far.answered == out && s.Forwards == 0 && o.postfix.waiting() == 0 {
			still++
		} else {
			still = 0
		}
		time.Sleep(300 * time.Millisecond) // between two looks
	}
	lines.Wait()
	t.Logf("over after %s", time.Since(began).Round(time.Second))

	// Everything that is anywhere.
	seen, stores := map[string]int{}, map[string]int{}
	count := func(store, raw string) {
		n := chain(raw)
		longest = max(longest, n)
		if n > 3 {
			t.Errorf("%s: a chain of %d:\n%.600s", store, n, raw)
		}
		stores[store]++
		if head, _, _ := strings.Cut(strings.ReplaceAll(raw, "\r\n", "\n"), "\n\n"); store != "emitted" && strings.Contains(head, "posta-certificata@") && strings.Contains(head, "by localhost (pecgate) id ") {
			stores["copies"]++
		}
		if n > 0 {
			seen[loopNumber.FindString(mime.DecodeWords(raw[:min(len(raw), 8000)]))]++
		}
	}
	for _, s := range o.provider.Ledger() {
		count("sent", string(s.Raw))
	}
	for _, e := range o.provider.Emitted() {
		if e.Mailbox == boxA || e.Mailbox == boxB {
			count("emitted", string(e.Raw))
		}
	}
	for _, m := range answers.All() {
		count("anna", m.Data)
	}
	for _, m := range o.ordinary.All() {
		count("usual way", m.Data)
	}
	for _, who := range []string{"mario", "lucia"} {
		for _, f := range o.files(filepath.Join(o.dovecot, "home", who, "mail")) {
			count(who, string(readFile(t, f)))
		}
	}
	t.Logf("%v, longest chain %d", stores, longest)
	if stores["sent"] != out || len(seen) != loopMessages || longest < 2 {
		t.Errorf("%d sent of %d, %d numbers seen, longest chain %d", stores["sent"], out, len(seen), longest)
	}
	if stores["copies"] != stores["emitted"] {
		t.Errorf("%d copies of %d messages of the provider are in the ordinary mailboxes", stores["copies"], stores["emitted"])
	}
	if stores["mario"] < 300 || stores["lucia"] < 300 || stores["anna"] < 200 || machine.answered < 200 {
		t.Errorf("the responders had too little: %v, the agent answered %d", stores, machine.answered)
	}
	log := string(readFile(t, filepath.Join(o.postfix.dir, "log")))
	if n := strings.Count(log, "(queue active)"); n > 8*loopMessages {
		t.Errorf("the Postfix had %d messages", n)
	}
	if n := strings.Count(log, "relay=localhost"); n < out+loopMessages {
		t.Errorf("only %d messages went to the gateway: the answers did not get there", n)
	}
	o.process.stop()
}

// loopMessage is one of the thousand: every second goes out, a tenth of the others comes in as ordinary mail.
func (o *office) loopMessage(n int) error {
	subject := fmt.Sprintf("numero-%04d", n)
	box := []string{boxA, boxB}[n/2%2]
	if n%2 == 1 {
		raw := "From: <cittadino@pec.gamma.example>\r\nTo: <" + box + ">\r\nSubject: " + subject + "\r\nMessage-ID: <in" + subject + "@pec.gamma.example>\r\n\r\nIstanza.\r\n"
		if n%20 == 1 {
			return o.provider.Ordinary(box, []byte(strings.ReplaceAll(raw, "pec.gamma.example>\r\nTo", "altrove.example>\r\nTo")))
		}
		return o.provider.SendRawFromOutside("cittadino@pec.gamma.example", []string{box}, []byte(raw))
	}
	who := []string{"mario", "lucia", "anna"}[n/2%3]
	to, notify := loopFar, ""
	if n%20 == 0 {
		notify = "NOTIFY=SUCCESS,FAILURE,DELAY"
	} else if n%4 == 0 {
		to = loopOutside
	}
	return sayDSN(o.submission, who+"@ordinary.example", to, notify, "e"+subject, "From: Nome <"+who+"@ordinary.example>\r\nTo: <"+to+">\r\nSubject: [PEC] "+subject+
		"\r\nDate: Mon, 16 Nov 2026 10:00:00 +0100\r\nMessage-ID: <out"+subject+"@ordinary.example>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\nIstanza.\r\n")
}

// files are the messages of a Maildir.
func (o *office) files(root string) (all []string) {
	o.t.Helper()
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if dir := filepath.Base(filepath.Dir(path)); err == nil && !e.IsDir() && (dir == "new" || dir == "cur") {
			all = append(all, path)
		}
		return err
	})
	if err != nil {
		o.t.Fatal(err)
	}
	return all
}

// waiting is how many messages are in the queue.
func (p *privatePostfix) waiting() (n int) {
	for _, dir := range []string{"maildrop", "incoming", "active", "deferred"} {
		// What is gone while it is looked at is gone.
		_ = filepath.WalkDir(filepath.Join(p.dir, "queue", dir), func(_ string, e fs.DirEntry, err error) error {
			if err == nil && !e.IsDir() {
				n++
			}
			return nil
		})
	}
	return n
}
