package main

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pecgate/mailbox/archive/bundle"
	"pecgate/mailbox/pec"
	"pecgate/relay"
	"pecgate/relay/providersim"
)

// evidence makes a bundle and reads it.
func (h *house) evidence(ids ...string) (file string, made evidenceMade, members map[string][]byte) {
	h.t.Helper()
	file = filepath.Join(h.t.TempDir(), "evidence.zip")
	state, out, errs := program(h.t, "", append([]string{"--config", h.config(), "evidence", "--json", "--out", file}, ids...)...)
	if state != exitGood {
		h.t.Fatalf("evidence %v: %d %s%s", ids, state, out, errs)
	}
	if err := json.Unmarshal([]byte(out), &made); err != nil {
		h.t.Fatal(err)
	}
	return file, made, unzipped(h.t, file)
}

// unzipped reads a bundle with another reader than its own.
func unzipped(t testing.TB, file string) map[string][]byte {
	t.Helper()
	z, err := zip.OpenReader(file)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close() // nothing was written
	out := map[string][]byte{}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		out[f.Name] = b
	}
	return out
}

func reportOf(t testing.TB, members map[string][]byte) (r bundle.Report) {
	t.Helper()
	if err := json.Unmarshal(members["report.json"], &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// of are the messages of a case by role.
func of(c *bundle.Case, role string) (list []*bundle.Message) {
	for _, m := range c.Messages {
		if m.Role == role {
			list = append(list, m)
		}
	}
	return list
}

// believes verifies a bundle with the provider's CA.
func (h *house) believes(file string, more ...string) (state int, out string) {
	h.t.Helper()
	state, out, errs := program(h.t, "", append([]string{"verify", file, "--trust", filepath.Join(h.dir, "ca.pem")}, more...)...)
	return state, out + errs
}

// TestEvidence: of a message, by its id, its Message-ID, its identifier or that of a
// receipt, while the gateway runs and while nothing does: the bytes that the provider
// got and issued, the report, the lines of the log; nothing of the machine or of other
// people. Nothing is written over, and what has no such message leaves no file.
func TestEvidence(t *testing.T) {
	h := newHouse(t).start()
	id := accepted(t, h.send("mario", "mariomario", boxA, []string{boxB}, strings.Replace(mail(boxA, boxB, "Diffida", "e1@alfa.example"), "Subject: ", "Subject: [PIN:"+pinMario+"] ", 1)))
	other := accepted(t, h.send("mario", "mariomario", boxA, []string{boxB}, strings.Replace(mail(boxA, boxB, "Segreto", "e2@alfa.example"), "Subject: ", "Subject: [PIN:"+pinMario+"] ", 1)))
	for _, id := range []string{id, other} {
		h.until("it is delivered", func() bool {
			s, err := h.shown(id)
			return err == nil && len(s.Recipients[0].Receipts) == 1 && s.Identifier != ""
		})
	}
	h.folder("anna", treeA+"Ricevute/Consegna") // somebody reads a receipt
	s, _ := h.shown(id)
	file, made, members := h.evidence(id)
	r := reportOf(t, members)
	if len(r.Cases) != 1 || made.Messages != 3 || made.Fingerprint == "" {
		t.Fatalf("%+v, %d cases", made, len(r.Cases))
	}
	c := r.Cases[0]
	if c.ID != id || c.Subject != "Diffida" || c.State != "accepted" || c.Identifier != s.Identifier || c.Recipients[0].State != "delivered" ||
		len(c.Recipients[0].Receipts) != 1 || len(of(c, bundle.RoleReceipt)) != 2 || len(c.Events) == 0 {
		t.Errorf("%+v", c)
	}
	onWire := h.provider.Ledger()[0]
	if got := members[of(c, bundle.RoleSubmission)[0].File]; !bytes.Equal(got, onWire.Raw) {
		t.Errorf("another message than the provider got: %q", got)
	}
	for _, m := range of(c, bundle.RoleReceipt) {
		if m.Pec.Verdict != pec.Valid || m.AtArrive != pec.Valid || len(m.Chain) < 2 || members[m.Daticert] == nil || members[m.Certificates] == nil {
			t.Errorf("%s: %+v", m.File, m)
		}
		if m.Pec.Kind == pec.Delivery && (m.Original == nil || m.Original.Likeness != pec.LikeSame) {
			t.Errorf("%s: %+v", m.File, m.Original)
		}
	}
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{pinMario, h.dir, "Segreto", "e2@alfa.example", "anna", "policy.yaml", "PRIVATE"} {
		if bytes.Contains(whole, []byte(secret)) {
			t.Errorf("%q stands in the bundle", secret)
		}
	}
	if state, out := h.believes(file); state != exitGood || !strings.Contains(out, "evidence: valid") || strings.Count(out, ": valid. Signed by") != 2 {
		t.Errorf("verify: %d\n%s", state, out)
	}
	if state, out := h.believes(file, "--key", made.Fingerprint); state != exitGood || !strings.Contains(out, "the one that was given") {
		t.Errorf("verify --key: %d\n%s", state, out)
	}
	if state, out := h.believes(file, "--key", filepath.Join(h.dir, "data", "audit.key.pub")); state != exitGood {
		t.Errorf("verify --key FILE: %d\n%s", state, out)
	}
	if state, out := h.believes(file, "--key", strings.Repeat("ab", 32)); state != exitFailed || !strings.Contains(out, "not by the one that was given") {
		t.Errorf("another key: %d\n%s", state, out)
	}
	// Without the CA or the key anybody could have made it.
	if state, out, _ := program(t, "", "verify", file); state != exitFailed || !strings.Contains(out, "only the bundle itself vouches") {
		t.Errorf("without trust: %d\n%s", state, out)
	}
	if state, out, _ := program(t, "", "verify", "--json", "--key", made.Fingerprint, file); state != exitGood ||
		!strings.Contains(out, `"kind":"evidence"`) || !strings.Contains(out, `"checks":[`) {
		t.Errorf("--json: %d\n%s", state, out)
	}
	if state, _, errs := program(t, "", "--config", h.config(), "evidence", id, "--out", file); state != exitFailed || !strings.Contains(errs, "is there already") {
		t.Errorf("a file that is there: %d %s", state, errs)
	}
	none := filepath.Join(t.TempDir(), "none.zip")
	if state, _, errs := program(t, "", "--config", h.config(), "evidence", "nobody@alfa.example", "--out", none); state != exitFailed || !strings.Contains(errs, "no submission") {
		t.Errorf("no such message: %d %s", state, errs)
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(none), ".*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	receipt := pec.NormalizeID(headerOf(members[of(c, bundle.RoleReceipt)[1].File], "Message-ID"))
	for _, name := range []string{"<e1@alfa.example>", s.Identifier, receipt, of(c, bundle.RoleReceipt)[0].SHA256} {
		if _, _, members := h.evidence(name); reportOf(t, members).Cases[0].ID != id {
			t.Errorf("by %s: another", name)
		}
	}
	if _, _, members := h.evidence(id, other, "e1@alfa.example"); len(reportOf(t, members).Cases) != 2 {
		t.Error("two of three are one")
	}
	h.stop()
	if lines := h.audit("evidence"); len(lines) < 6 || lines[0].Actor != "control socket" {
		t.Errorf("%d audit lines: %+v", len(lines), lines)
	}
	file, _, members = h.evidence(id)
	if c := reportOf(t, members).Cases[0]; len(c.Messages) != 3 {
		t.Errorf("%d messages while nothing runs", len(c.Messages))
	}
	if state, out := h.believes(file); state != exitGood {
		t.Errorf("made while nothing runs: %d\n%s", state, out)
	}
	if state, out, errs := program(t, "", "--config", h.config(), "audit", "verify"); state != exitGood {
		t.Errorf("the log: %s%s", out, errs)
	}
}

func hexSum(b string) string {
	sum := sha256.Sum256([]byte(b))
	return hex.EncodeToString(sum[:])
}

func headerOf(message []byte, name string) string {
	for line := range strings.Lines(string(message)) {
		if v, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// TestEvidence_Incoming: of a message that came in it is the envelope as the provider
// issued it and the message inside.
func TestEvidence_Incoming(t *testing.T) {
	h := newHouse(t, mailboxText(boxA, false, "", "mario"), mailboxText(boxB, false, "", "lucia")).start()
	h.until("both were met", func() bool { return h.fetched(boxA) && h.fetched(boxB) })
	h.webmail(boxA, "provider-a", boxB, mail(boxA, boxB, "Istanza", "in1@alfa.example"))
	var came []string
	h.until("it came", func() bool { came = h.folder("lucia", "PEC/"+boxB+"/Posta in arrivo"); return len(came) == 1 })
	id := pec.NormalizeID(headerOf([]byte(came[0]), "Message-ID"))
	h.stop() // the mailbox that sent it would be asked first
	h.writePolicy(users(t) + "mailboxes:\n" + mailboxText(boxB, false, "", "lucia"))
	h.start()
	file, _, members := h.evidence(hexSum(came[0]))
	c := reportOf(t, members).Cases[0]
	if c.Direction != bundle.Incoming || c.Mailbox != boxB || c.Sender != boxA || c.Subject != "Istanza" || c.Identifier != id || len(c.Messages) != 1 || c.Register == "" {
		t.Fatalf("%+v", c)
	}
	m := c.Messages[0]
	if string(members[m.File]) != came[0] || !strings.Contains(string(members[m.Content]), "Si trasmette Ista.") {
		t.Errorf("%+v", m)
	}
	if state, out := h.believes(file); state != exitGood || !strings.Contains(out, "certified message: valid") {
		t.Errorf("%d\n%s", state, out)
	}
}

// TestH10_EvidenceOfFifty: a message to fifty, of whom one fails and one is no PEC:
// each recipient stands there with the receipt about it, and all verifies.
func TestH10_EvidenceOfFifty(t *testing.T) {
	to := []string{boxB, "nessuno@pec.beta.example", "esterno@ordinary.example"}
	for i := range 47 {
		to = append(to, fmt.Sprintf("u%02d@pec.altri.example", i))
	}
	h := newHouseAt(t, providersim.Options{External: to[3:]}, mailboxText(boxA, false, "", "mario"), mailboxText(boxB, false, "", "lucia")).start()
	id := accepted(t, h.send("mario", "mariomario", boxA, to, mail(boxA, strings.Join(to, ">,\r\n <"), "Circolare", "h10@alfa.example")))
	h.until("all receipts are there", func() bool {
		s, err := h.shown(id)
		return err == nil && s.Counts.C == 48 && s.Counts.E == 1
	})
	file, made, members := h.evidence(id)
	c := reportOf(t, members).Cases[0]
	states := map[string]int{}
	for _, r := range c.Recipients {
		states[r.State]++
		if want := 1; r.State != "uncertified" && len(r.Receipts) != want {
			t.Errorf("%s: %d receipts", r.Address, len(r.Receipts))
		}
		for _, f := range r.Receipts {
			if !bytes.Contains(members[strings.Replace(strings.Replace(f[:12], "messages", "daticert", 1), "-", "", 1)+".xml"], []byte("<consegna>"+r.Address)) {
				t.Errorf("%s is not about %s", f, r.Address)
			}
		}
	}
	if states["delivered"] != 48 || states["failed"] != 1 || states["uncertified"] != 1 || made.Messages != 51 {
		t.Errorf("%v, %d messages", states, made.Messages)
	}
	if state, out := h.believes(file); state != exitGood || strings.Count(out, ": valid. Signed by") != 50 {
		t.Errorf("%d\n%s", state, out)
	}
	if page := string(members["report.html"]); strings.Count(page, `<tr class="good"><td>`) < 48 || strings.Contains(page, "<script") {
		t.Error("the page does not show them")
	}
}

// TestEvidence_Unhappy: a non-acceptance, a receipt that cannot be verified, what stood
// there before the gateway did, and a message that was split: each says what it is.
func TestEvidence_Unhappy(t *testing.T) {
	t.Run("not accepted", func(t *testing.T) {
		h := newHouseAt(t, providersim.Options{MaxProduct: 1000}, mailboxText(boxA, false, "", "mario"), mailboxText(boxB, false, "", "lucia")).start()
		id := accepted(t, h.send("mario", "mariomario", boxA, []string{boxB}, mail(boxA, boxB, "Grande", "n1@alfa.example")+strings.Repeat("riga\r\n", 400)))
		h.settled(id, relay.NotAccepted)
		file, _, members := h.evidence(id)
		c := reportOf(t, members).Cases[0]
		if c.State != "not-accepted" || len(of(c, bundle.RoleReceipt)) != 1 || of(c, bundle.RoleReceipt)[0].Pec.Kind != pec.NonAcceptance {
			t.Errorf("%+v", c)
		}
		if state, out := h.believes(file); state != exitGood {
			t.Errorf("%d\n%s", state, out)
		}
	})
	t.Run("unverifiable", func(t *testing.T) {
		h := newHouse(t, mailboxText(boxA, false, "", "mario"), mailboxText(boxB, false, "", "lucia"))
		h.provider.Faults().ForeignCA.On()
		h.start()
		id := accepted(t, h.send("mario", "mariomario", boxA, []string{boxB}, mail(boxA, boxB, "Dubbia", "u1@alfa.example")))
		h.settled(id, relay.HandedOver)
		var members map[string][]byte
		var file string
		h.until("its receipts came", func() bool {
			file, _, members = h.evidence(id)
			return len(of(reportOf(t, members).Cases[0], bundle.RoleReceipt)) == 2
		})
		c := reportOf(t, members).Cases[0]
		if c.State != "handed-over" || c.Recipients[0].State != "waiting" || len(c.Notes) == 0 {
			t.Errorf("%+v", c)
		}
		for _, m := range of(c, bundle.RoleReceipt) {
			if m.Pec.Verdict != pec.Unverifiable || !bytes.Contains(members["README.txt"], []byte(m.File+": NON provato")) {
				t.Errorf("%s: %s", m.File, m.Pec.Verdict)
			}
		}
		if !bytes.Contains(members["report.html"], []byte("UNVERIFIABLE")) || bytes.Contains(members["timeline.json"], []byte(`"provider"`)) {
			t.Error("the report believes them")
		}
		if state, out := h.believes(file); state != exitFailed || !strings.Contains(out, "evidence: valid") {
			t.Errorf("%d\n%s", state, out)
		}
	})
	t.Run("history", func(t *testing.T) {
		h := newHouse(t, mailboxText(boxA, false, "", "mario"), mailboxText(boxB, false, "", "lucia"))
		h.webmail(boxA, "provider-a", boxB, mail(boxA, boxB, "Antica", "old@alfa.example"))
		h.start()
		var came []string
		h.until("it was taken in", func() bool { came = h.folder("lucia", "PEC/"+boxB+"/Posta in arrivo"); return len(came) == 1 })
		file, _, members := h.evidence(hexSum(came[0]))
		if c := reportOf(t, members).Cases[0]; !c.History || len(c.Notes) != 1 {
			t.Errorf("%+v", c)
		}
		if state, out := h.believes(file); state != exitGood {
			t.Errorf("%d\n%s", state, out)
		}
	})
	t.Run("split", func(t *testing.T) {
		h := newHouse(t, mailboxText(boxA, false, "    split: always\n", "mario"), mailboxText(boxB, false, "", "lucia")).start()
		to, message := circular(4)
		id := accepted(t, h.send("mario", "mariomario", boxA, to, message))
		h.until("all are accepted", func() bool {
			s, err := h.shown(id)
			return err == nil && s.Batch != nil && s.Batch.Accepted == 4 && s.Batch.Delivered == 1
		})
		file, _, members := h.evidence(id)
		r := reportOf(t, members)
		if len(r.Cases) != 5 || r.Cases[0].Parts != 4 || r.Cases[1].Part != id {
			t.Fatalf("%d cases, %+v", len(r.Cases), r.Cases[0])
		}
		var sent []string
		for _, l := range h.provider.Ledger() {
			sent = append(sent, string(l.Raw))
		}
		for _, c := range r.Cases[1:] {
			if own := of(c, bundle.RoleSubmission); len(own) != 1 || !slices.Contains(sent, string(members[own[0].File])) {
				t.Errorf("%s: not what the provider got", c.ID)
			}
		}
		if state, out := h.believes(file); state != exitGood {
			t.Errorf("%d\n%s", state, out)
		}
	})
}

// writeZip writes files in their order, but for one that is left out where without.
func writeZip(w io.Writer, order []string, members map[string][]byte, name string, without bool) error {
	z := zip.NewWriter(w)
	for _, n := range order {
		if n == name && without {
			continue
		}
		f, err := z.CreateHeader(&zip.FileHeader{Name: n, Method: zip.Store})
		if err == nil {
			_, err = f.Write(members[n])
		}
		if err != nil {
			return err
		}
	}
	return z.Close()
}

// TestEvidence_EveryByte: whatever byte of a bundle is flipped, verify finds it: each
// of the zip itself and of the short files, and of the long ones so many that every kind
// of content is among them. What is packed anew, has a file more, less or twice, or
// something before or behind it, is no bundle either.
func TestEvidence_EveryByte(t *testing.T) {
	h := newHouse(t, mailboxText(boxA, false, "", "mario"), mailboxText(boxB, false, "", "lucia")).start()
	id := accepted(t, h.send("mario", "mariomario", boxA, []string{boxB}, mail(boxA, boxB, "Diffida", "byte@alfa.example")))
	h.until("it is delivered", func() bool {
		s, err := h.shown(id)
		return err == nil && len(s.Recipients[0].Receipts) == 1 && s.State == relay.Accepted
	})
	file, _, members := h.evidence(id)
	h.stop()
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	found := func(b []byte) bool {
		c, err := bundle.Check(t.Context(), bytes.NewReader(b), int64(len(b)), bundle.CheckOptions{})
		return err == nil && !c.OK()
	}
	if found(whole) {
		t.Fatal("the bundle itself is bad")
	}
	// One in so many bytes of the content of long files; a stride that is prime to all.
	const stride, short = 61, 120
	content := make([]bool, len(whole))
	for _, b := range members {
		if at := bytes.Index(whole, b); len(b) > short {
			for i := range b {
				content[at+i] = i%stride != 0
			}
		}
	}
	tried := 0
	b := bytes.Clone(whole)
	for i := range b {
		if content[i] {
			continue
		}
		tried++
		b[i] ^= 1 << (i % 8)
		if !found(b) {
			t.Errorf("byte %d of %d: nothing was found", i, len(b))
		}
		b[i] = whole[i]
	}
	t.Logf("%d of %d bytes", tried, len(whole))
	var order []string
	for line := range strings.Lines(string(members["MEMBERS.txt"])) {
		order = append(order, strings.TrimSpace(line))
	}
	for what, names := range map[string][]string{
		"packed anew": order, "a file more": append(slices.Clone(order), "x.txt"), "one less": order[:len(order)-1], "twice": append(slices.Clone(order), order[3]),
	} {
		var z bytes.Buffer
		if err := writeZip(&z, names, members, "", false); err != nil {
			t.Fatal(err)
		}
		if !bundle.Is(bytes.NewReader(z.Bytes()), int64(z.Len())) && what != "one less" || !found(z.Bytes()) {
			t.Errorf("%s: nothing was found", what)
		}
	}
	if !found(append([]byte("x"), whole...)) || !found(append(bytes.Clone(whole), 'x')) || !found(whole[:len(whole)-1]) || !found(nil) {
		t.Error("something before or behind it is not found")
	}
}
