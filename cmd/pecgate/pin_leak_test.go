package main

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io/fs"
	"mime"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"pecgate/relay"
	"pecgate/relay/submit"
)

// traces are the forms in which a PIN could survive: plain, quoted-printable,
// percent, UTF-16 in both orders, and base64 at its three alignments.
func traces(pin string) [][]byte {
	var qp, percent strings.Builder
	for i := range len(pin) {
		fmt.Fprintf(&qp, "=%02X", pin[i])
		fmt.Fprintf(&percent, "%%%02X", pin[i])
	}
	le, be := []byte{}, []byte{}
	for _, u := range utf16.Encode([]rune(pin)) {
		le = binary.LittleEndian.AppendUint16(le, u)
		be = binary.BigEndian.AppendUint16(be, u)
	}
	out := [][]byte{[]byte(pin), []byte(qp.String()), []byte(percent.String()), le, be}
	for shift := range 3 {
		b64 := base64.RawStdEncoding.EncodeToString(append(make([]byte, shift), pin...))
		// The first and the last character mix in their neighbours' bits.
		out = append(out, []byte(b64[(shift*8+5)/6:len(b64)-1]))
	}
	return out
}

func randomPIN() string {
	var b [8]byte
	rand.Read(b[:])
	return fmt.Sprintf("%012d", binary.BigEndian.Uint64(b[:])%1e12)
}

// subjects are ways in which clients write a subject that holds the PIN.
func subjects(pin string) []string {
	mark := "[PIN:" + pin + "]"
	b := func(s string) string { return mime.BEncoding.Encode("utf-8", s) }
	q := func(s string) string { return mime.QEncoding.Encode("iso-8859-1", s) }
	half := len(mark) / 2
	word := func(s string) string { return "=?utf-8?B?" + base64.StdEncoding.EncodeToString([]byte(s)) + "?=" }
	qword := func(s string) string {
		var w strings.Builder
		for i := range len(s) {
			fmt.Fprintf(&w, "=%02X", s[i])
		}
		return "=?utf-8?Q?" + w.String() + "?="
	}
	return []string{
		"Diffida " + mark,
		mark + " Diffida",
		"Diffida " + mark + " urgente",
		"Diffida\r\n " + mark + "\r\n urgente",
		b("Diffida è " + mark),
		q("Diffida \xe8 " + mark + " fine"),
		word("Diffida "+mark[:half]) + "\r\n " + word(mark[half:]+" fine"),
		qword("a"+mark[:half]) + " " + qword(mark[half:]),
		"Diffida " + word(mark),
		qword(mark),
	}
}

// TestG6_PINLeavesNoTrace submits with right and wrong PINs in every spelling a
// client has, appends copies as clients do, and then searches every byte that
// was kept, sent or logged.
func TestG6_PINLeavesNoTrace(t *testing.T) {
	pin := randomPIN()
	h := newHouse(t, mailboxText(boxA, true, "", "mario"), mailboxText(boxB, false, "", "lucia"))
	text := h.policy
	start := strings.Index(text, "    pin: ")
	end := start + strings.IndexByte(text[start:], '\n')
	h.writePolicy(text[:start] + "    pin: " + cheapHash(t, pin) + text[end:])
	h.start()

	var secrets []string
	sent := 0
	message := func(n int, subject string, topic bool) string {
		m := "From: <" + boxA + ">\r\nTo: <" + boxB + ">\r\nSubject: " + subject + "\r\n"
		if topic {
			m += "Thread-Topic: " + subject + "\r\n"
		}
		return m + fmt.Sprintf("Date: Sat, 21 Nov 2026 10:00:00 +0100\r\nMessage-ID: <p%d@alfa.example>\r\n\r\ncorpo\r\n", n)
	}
	send := func(subject string, topic bool) submit.Result {
		sent++
		return h.send("mario", "mariomario", boxA, []string{boxB}, message(sent, subject, topic))
	}
	for round := range 20 {
		for _, s := range subjects(pin) {
			if r := send(s, round%2 == 1); r.Class != submit.HandedOver {
				t.Errorf("subject %d with the right PIN: %d %s", sent, r.Code, r.Text)
			}
		}
	}
	accepted := sent
	for i := range 8 {
		wrong := randomPIN()
		secrets = append(secrets, wrong)
		if r := send(subjects(wrong)[i], true); r.Class != submit.Permanent {
			t.Errorf("wrong PIN %d: %d %s", i, r.Code, r.Text)
		}
	}
	for i, s := range subjects(pin) {
		h.append("mario", `"Bozze"`, message(1000+i, s, true))
		h.append("mario", `"Posta inviata"`, message(i+1, s, false)) // the client's copy of what it sent
		h.append("mario", `"PEC/`+boxA+`/Posta inviata"`, message(2000+i, s, true))
	}
	h.until("everything is accepted", func() bool { return h.status().Queue[relay.Accepted] == accepted })
	h.until("everything is delivered", func() bool { return len(h.folder("lucia", treeB+"Posta in arrivo")) == accepted })
	h.stop()

	places := map[string][]byte{"the log": []byte(h.log.String())}
	for _, l := range h.provider.Ledger() {
		places["what the provider got: "+l.ID] = l.Raw
	}
	err := filepath.WalkDir(filepath.Join(h.dir, "data"), func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		places[path] = b
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(all(places), []byte("Diffida")) {
		t.Error("the search does not even find the subject: it would find no PIN either")
	}
	searched := 0
	for where, b := range places {
		searched += len(b)
		for _, secret := range append(secrets, pin) {
			for i, trace := range traces(secret) {
				if bytes.Contains(b, trace) {
					t.Errorf("a PIN stands in %s (form %d)", where, i)
				}
			}
		}
	}
	t.Logf("%d sends, %d appended, %d bytes in %d places searched", sent, 3*len(subjects(pin)), searched, len(places))
}

func all(places map[string][]byte) []byte {
	var b []byte
	for _, p := range places {
		b = append(b, p...)
	}
	return b
}

// TestTracesAreFound is the control of the search: each form that a subject can
// have is found by one of the traces, unless its halves are encoded apart.
func TestTracesAreFound(t *testing.T) {
	pin := randomPIN()
	for i, s := range subjects(pin) {
		found := false
		for _, trace := range traces(pin) {
			found = found || bytes.Contains([]byte(s), trace)
		}
		if split := i == 6 || i == 7; !found && !split {
			t.Errorf("nothing finds the PIN in %q", s)
		}
	}
}

// append puts a message into a folder by IMAP, as a mail client does.
func (h *house) append(login, folder, message string) {
	h.t.Helper()
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: 10 * time.Second}, "tcp", h.imaps, &tls.Config{RootCAs: h.roots(), ServerName: "localhost"})
	if err != nil {
		h.t.Fatal(err)
	}
	defer c.Close() // the answers have been read
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		h.t.Fatal(err)
	}
	r := bufio.NewReader(c)
	expect := func(prefix string) {
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				h.t.Fatalf("waiting for %q: %v", prefix, err)
			}
			if strings.HasPrefix(line, prefix) {
				return
			}
			if !strings.HasPrefix(line, "* ") {
				h.t.Fatalf("%q instead of %q", line, prefix)
			}
		}
	}
	expect("* OK")
	fmt.Fprintf(c, "a LOGIN %s %s\r\n", login, login+login)
	expect("a OK")
	fmt.Fprintf(c, "b APPEND %s {%d}\r\n", folder, len(message))
	expect("+")
	fmt.Fprintf(c, "%s\r\n", message)
	expect("b OK")
}
