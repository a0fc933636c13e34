package gateway

import (
	"crypto/sha256"
	"testing"

	"pecgate/gateway/smtpd"
	"pecgate/mailbox"
	"pecgate/policy"
)

// TestA4_RetryToAList: a retry of what went to a list is one after the list has
// changed too; to another list it is another message.
func TestA4_RetryToAList(t *testing.T) {
	const list = "sindaci@liste.example.org"
	store, err := mailbox.Open(mailbox.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	in := &intake{store: store}
	const header, body = "From: ufficio@pec.example.org\r\nMessage-ID: <1@client.example.org>\r\n\r\n", "testo\r\n"
	send := func(envelope string, members ...string) smtpd.Receipt {
		t.Helper()
		d, err := in.Begin(t.Context(), smtpd.Submission{
			Identity: policy.Identity{User: "mario"}, Mailbox: "ufficio@pec.example.org", From: "ufficio@pec.example.org",
			Envelope: []string{envelope}, Recipients: members, Split: "always",
			MessageID: "<1@client.example.org>", ClientMessageID: "<1@client.example.org>",
			HeaderSize: int64(len(header)), ClientHeader: sha256.Sum256([]byte(header)),
		})
		if err != nil {
			t.Fatal(err)
		}
		defer d.Abort()
		if _, err := d.Write([]byte(header + body)); err != nil {
			t.Fatal(err)
		}
		r, err := d.Commit(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	first := send(list, "a@pec.example.net", "b@pec.example.net")
	if again := send(list, "a@pec.example.net", "c@pec.example.net"); !again.Duplicate || again.ID != first.ID {
		t.Errorf("after a change of the list: %+v, first %+v", again, first)
	}
	if another := send("assessori@liste.example.org", "a@pec.example.net", "b@pec.example.net"); another.Duplicate {
		t.Errorf("to another list: %+v", another)
	}
}
