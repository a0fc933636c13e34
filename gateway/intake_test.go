package gateway

import (
	"crypto/sha256"
	"fmt"
	"testing"
	"time"

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

// TestA4_RetryOfAServer: a groupware server that has lost our answer repeats for days,
// and also what has no Message-ID of its own. It is sent once; what came another way is
// another message.
func TestA4_RetryOfAServer(t *testing.T) {
	now := time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)
	store, err := mailbox.Open(mailbox.Options{Dir: t.TempDir(), Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	in := &intake{store: store}
	made := 0
	send := func(server, id, way string) smtpd.Receipt {
		t.Helper()
		ours := id
		if ours == "" {
			made++
			ours = fmt.Sprintf("<made%d@pecgate.example.org>", made)
		}
		header := "From: ufficio@pec.example.org\r\nMessage-ID: " + ours + "\r\n\r\n"
		d, err := in.Begin(t.Context(), smtpd.Submission{
			Identity: policy.Identity{User: "mario"}, Mailbox: "ufficio@pec.example.org", From: "ufficio@pec.example.org",
			Envelope: []string{"a@pec.example.net"}, Recipients: []string{"a@pec.example.net"},
			MessageID: ours, ClientMessageID: id, Relay: server, Way: way, HeaderSize: int64(len(header)),
		})
		if err != nil {
			t.Fatal(err)
		}
		defer d.Abort()
		if _, err := d.Write([]byte(header + "testo\r\n")); err != nil {
			t.Fatal(err)
		}
		r, err := d.Commit(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	first, bare := send("postfix", "<1@x.example>", ""), send("postfix", "", "way1")
	if r := send("postfix", "", "way2"); r.Duplicate {
		t.Errorf("what came another way: %+v", r)
	}
	if r := send("postfix", "", ""); r.Duplicate {
		t.Errorf("what came no way: %+v", r)
	}
	client := send("", "<2@x.example>", "")
	now = now.Add(5 * 24 * time.Hour)
	if r := send("postfix", "<1@x.example>", ""); !r.Duplicate || r.ID != first.ID {
		t.Errorf("after five days: %+v, first %+v", r, first)
	}
	if r := send("postfix", "", "way1"); !r.Duplicate || r.ID != bare.ID {
		t.Errorf("without a Message-ID: %+v, first %+v", r, bare)
	}
	if r := send("", "<2@x.example>", ""); r.Duplicate || r.ID == client.ID {
		t.Errorf("a mail program's after five days: %+v", r)
	}
	now = now.Add(3 * 24 * time.Hour)
	if r := send("postfix", "<1@x.example>", ""); r.Duplicate {
		t.Errorf("after eight days: %+v", r)
	}
}
