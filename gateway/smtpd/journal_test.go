package smtpd

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pecgate/policy"
)

const groupware = "../../testdata/groupware/"

// said writes a journal report in one line.
func (j *Journal) said() string {
	out := []string{j.Sender, j.OnBehalfOf, j.Subject, j.MessageID}
	for _, r := range j.Recipients {
		out = append(out, strings.Trim(fmt.Sprint(r.Field, ":", r.Address, " ", r.Expanded, " ", r.Forwarded), " "))
	}
	return strings.Join(out, "|")
}

func TestReadJournal(t *testing.T) {
	for name, want := range map[string]string{
		"exchange-journal": "mario.rossi@comune.example||Istanza di accesso|<8d1e4c6f0b7a4f1c9e2d3a5b6c7d8e9f@comune.example>|" +
			"to:ufficio@pec.azienda.example.pec|cc:anna.verdi@comune.example segreteria@comune.example|bcc:archivio@comune.example",
		"journal-redirected": "mario.rossi@comune.example||Convocazione [PEC]|<5b6c7d8e9f00112233445566778899aa@comune.example>|" +
			"to:ufficio@pec.azienda.example|to:anna.verdi@comune.example consiglio@comune.example|cc:luca.neri@comune.example consiglio@comune.example|" +
			"cc:supplente@comune.example  lucia.bianchi@comune.example|bcc:Ufficio@pec.azienda.example|recipient:protocollo@comune.example",
		"journal-m365": "anna.verdi@comune.example|protocollo@comune.example|Richiesta di attivit\u00e0 con un oggetto che il server ha scritto su pi\u00f9 righe|" +
			"<AS8PR01MB0001F2A4C6E8B0D1E3F5A7B9@comune.example>|to:ufficio@pec.azienda.example.pec|bcc:archivio@comune.example",
		"journal-base64": "|||<00112233445566778899aabbccddeeff@comune.example>|recipient:mario.rossi@comune.example",
	} {
		b, err := os.ReadFile(groupware + name + ".eml")
		if err != nil {
			t.Fatal(err)
		}
		j, err := ReadJournal(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := j.said(); got != want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, want)
		}
		// The range is the message, from its first field to its last line.
		original := string(b[j.Offset : j.Offset+j.Length])
		first, _, _ := strings.Cut(original, ":")
		if (first != "From" && first != "Received") || strings.Contains(original, "\r\n--a1b2") || !strings.HasSuffix(original, "\r\n") ||
			!strings.Contains(original, "Message-ID: "+j.MessageID) {
			t.Errorf("%s: the message inside is\n%s", name, original)
		}
		if name == "journal-redirected" && !slices.Equal(j.To(), []string{"ufficio@pec.azienda.example", "anna.verdi@comune.example",
			"luca.neri@comune.example", "supplente@comune.example", "protocollo@comune.example"}) {
			t.Errorf("to %v", j.To())
		}
	}
	for _, name := range []string{"journal-hostile-subject", "journal-two-copies"} {
		b, err := os.ReadFile(groupware + name + ".eml")
		if err != nil {
			t.Fatal(err)
		}
		if j, err := ReadJournal(bytes.NewReader(b), int64(len(b))); !errors.Is(err, ErrBadJournal) || j != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Nothing else that a groupware server sends is taken for a report.
func TestReadJournal_OtherMail(t *testing.T) {
	files, err := filepath.Glob(groupware + "*.eml")
	if err != nil || len(files) < 40 {
		t.Fatal(len(files), err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(filepath.Base(name), "journal") {
			continue
		}
		if _, err := ReadJournal(bytes.NewReader(b), int64(len(b))); !errors.Is(err, ErrNoJournal) {
			t.Errorf("%s: %v", filepath.Base(name), err)
		}
	}
}

// What differs from a good report in one thing is none.
func TestReadJournal_Strict(t *testing.T) {
	b, err := os.ReadFile(groupware + "exchange-journal.eml")
	if err != nil {
		t.Fatal(err)
	}
	const subject, id = "Subject: Istanza di accesso\r\nMessage-Id", "Message-Id: <8d1e4c6f0b7a4f1c9e2d3a5b6c7d8e9f@comune.example>\r\nTo:"
	for _, c := range []struct{ name, old, new string }{
		{"two marks", "X-MS-Journal-Report:\r\n", "X-MS-Journal-Report:\r\nX-MS-Journal-Report:\r\n"},
		{"another multipart", "multipart/mixed", "multipart/alternative"},
		{"a text that is HTML", "text/plain; charset=\"us-ascii\"\r\nContent-Transfer-Encoding: 7bit\r\n\r\nSender", "text/html; charset=\"us-ascii\"\r\nContent-Transfer-Encoding: 7bit\r\n\r\nSender"},
		{"a charset in which letters are others", "text/plain; charset=\"us-ascii\"\r\nContent-Transfer-Encoding: 7bit\r\n\r\nSender", "text/plain; charset=\"utf-16\"\r\nContent-Transfer-Encoding: 7bit\r\n\r\nSender"},
		{"no message", "message/rfc822", "application/octet-stream"},
		{"an encoded message", "message/rfc822\r\n", "message/rfc822\r\nContent-Transfer-Encoding: base64\r\n"},
		{"no sender", "Sender: mario.rossi@comune.example\r\nSubject", "Subject"},
		{"a bad sender", "Sender: mario.rossi@comune.example\r\nSubject", "Sender: Mario <mario.rossi@comune.example>\r\nSubject"},
		{"two senders", "Sender: mario.rossi@comune.example\r\nSubject", "Sender: mario.rossi@comune.example\r\nSender: mario.rossi@comune.example\r\nSubject"},
		{"no subject", subject, "Message-Id"},
		{"a subject of two lines", subject, "Subject: Istanza\r\ndi accesso\r\nMessage-Id"},
		{"a subject with a bare LF", subject, "Subject: Istanza\nTo: x@y.example\r\nMessage-Id"},
		{"a subject with a bare CR", subject, "Subject: Istanza\rTo: x@y.example\r\nMessage-Id"},
		{"a recipient before the Message-ID", subject, "Subject: Istanza\r\nTo: x@y.example\r\nMessage-Id"},
		{"on behalf of, in the subject", subject, "Subject: Istanza\r\nOn-Behalf-Of: sindaco@comune.example\r\nMessage-Id"},
		{"on behalf of two", subject, "Subject: Istanza di accesso\r\nMessage-Id"[:0] + "On-Behalf-Of: a@comune.example\r\nOn-Behalf-Of: b@comune.example\r\n" + subject},
		{"another Message-ID", id, "Message-Id: <1@comune.example>\r\nTo:"},
		{"a Message-ID without brackets", id, "Message-Id: 8d1e4c6f0b7a4f1c9e2d3a5b6c7d8e9f@comune.example\r\nTo:"},
		{"two Message-IDs", id, id[:len(id)-3] + id},
		{"an unknown line", "\r\nBcc:", "\r\nPriority: high\r\nBcc:"},
		{"an empty line inside", "\r\nBcc:", "\r\n\r\nBcc:"},
		{"no recipient", "\r\nTo: ufficio@pec.azienda.example.pec\r\nCc: anna.verdi@comune.example, Expanded: segreteria@comune.example\r\nBcc: archivio@comune.example\r\n", "\r\n"},
		{"a bad recipient", "Bcc: archivio@comune.example", "Bcc: archivio"},
		{"two recipients in a line", "Bcc: archivio@comune.example", "Bcc: archivio@comune.example, x@y.example"},
		{"another redirection", "Expanded:", "Delegated:"},
		{"two redirections", "Expanded: segreteria@comune.example", "Expanded: segreteria@comune.example, Forwarded: x@y.example"},
		{"a redirection from nobody", "Expanded: segreteria@comune.example", "Expanded:"},
		{"a message without Message-ID", "Date: Mon, 16 Nov 2026 08:11:04 +0000\r\nMessage-ID:", "Date: Mon, 16 Nov 2026 08:11:04 +0000\r\nX-ID:"},
		{"a message with two", "Date: Mon, 16 Nov 2026 08:11:04 +0000\r\n", "Date: Mon, 16 Nov 2026 08:11:04 +0000\r\nMessage-ID: <1@comune.example>\r\n"},
	} {
		other := bytes.Replace(b, []byte(c.old), []byte(c.new), 1)
		if bytes.Equal(other, b) {
			t.Errorf("%s changes nothing", c.name)
		}
		if j, err := ReadJournal(bytes.NewReader(other), int64(len(other))); !errors.Is(err, ErrBadJournal) || j != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	long := bytes.Replace(b, []byte("Bcc:"), append(bytes.Repeat([]byte("To: x@y.example\r\n"), maxJournalRecipients), "Bcc:"...), 1)
	if _, err := ReadJournal(bytes.NewReader(long), int64(len(long))); !errors.Is(err, ErrBadJournal) {
		t.Errorf("too many recipients: %v", err)
	}
	long = bytes.Replace(b, []byte("Subject: Istanza di accesso\r\nMessage-Id"), append(append([]byte("Subject: "), bytes.Repeat([]byte("x"), maxJournalText)...), "\r\nMessage-Id"...), 1)
	if _, err := ReadJournal(bytes.NewReader(long), int64(len(long))); !errors.Is(err, ErrBadJournal) {
		t.Errorf("a long text: %v", err)
	}
	if _, err := ReadJournal(failing{}, 1000); err == nil || errors.Is(err, ErrBadJournal) || errors.Is(err, ErrNoJournal) {
		t.Errorf("a message that cannot be read: %v", err)
	}
}

// failing is a message on a broken disk.
type failing struct{}

func (failing) ReadAt([]byte, int64) (int, error) { return 0, os.ErrClosed }

// Whatever is read: the message is a range inside the report that bears the Message-ID, and all addresses are plain.
func FuzzReadJournal(f *testing.F) {
	files, err := filepath.Glob(groupware + "*journal*.eml")
	if err != nil || len(files) < 6 {
		f.Fatal(len(files), err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		j, err := ReadJournal(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			if j != nil || !errors.Is(err, ErrBadJournal) && !errors.Is(err, ErrNoJournal) {
				t.Fatal(j, err)
			}
			return
		}
		if j.Offset <= 0 || j.Length <= 0 || j.Offset+j.Length > int64(len(b)) {
			t.Fatalf("%d octets from %d of %d", j.Length, j.Offset, len(b))
		}
		if len(j.Recipients) == 0 || len(j.To()) > len(j.Recipients) || strings.ContainsAny(j.MessageID, "\r\n") || strings.ContainsAny(j.Subject, "\r\n") {
			t.Fatalf("%q", j.said())
		}
		all := j.To()
		for _, one := range []string{j.Sender, j.OnBehalfOf} {
			if one != "" {
				all = append(all, one)
			}
		}
		for _, a := range all {
			if plain, err := policy.ParseAddress(a); err != nil || plain != a {
				t.Fatalf("%q", a)
			}
		}
	})
}
