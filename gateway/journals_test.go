package gateway

import (
	"errors"
	"testing"

	"pecgate/gateway/smtpd"
	"pecgate/mailbox"
	"pecgate/policy"
	"pecgate/relay"
)

// What comes inside of a report is a submission and noted in one step: two reports at the same time make one, and what was
// not committed leaves no note.
func TestJournalReportsAreTakenOnce(t *testing.T) {
	store, err := mailbox.Open(mailbox.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	book := journals{relay.New(relay.Options{Store: store, Accounts: func() []relay.Account { return nil }})}
	const header = "From: ufficio@pec.example.org\r\nMessage-ID: <1@ex.example>\r\n\r\n"
	of := smtpd.JournalOf{Relay: "exchange", Sender: "mario@example.org", User: "mario", Box: "ufficio@pec.example.org", MessageID: "<1@ex.example>", To: []string{"a@pec.example.net"}}
	begin := func(body string) smtpd.Delivery {
		t.Helper()
		d, err := (&intake{store: store}).Begin(t.Context(), smtpd.Submission{
			Identity: policy.Identity{User: "mario"}, Mailbox: of.Box, From: of.Box, Envelope: of.To, Recipients: of.To,
			MessageID: of.MessageID, ClientMessageID: of.MessageID, HeaderSize: int64(len(header)), Relay: "exchange", ReturnTo: of.Sender, Journal: &of,
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Write([]byte(header + body)); err != nil {
			t.Fatal(err)
		}
		return d
	}
	left := func() int {
		t.Helper()
		all, err := book.Left(t.Context(), of)
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	begin("lost\r\n").Abort() // the server stopped before it was durable
	if left() != 1 {
		t.Fatal("noted without a submission")
	}
	one, two := begin("uno\r\n"), begin("due, as another server of the house wrote it\r\n")
	defer two.Abort()
	if r, err := one.Commit(t.Context()); err != nil || r.ID == "" || r.Duplicate {
		t.Fatal(r, err)
	}
	if r, err := two.Commit(t.Context()); !errors.Is(err, relay.ErrJournalTaken) {
		t.Fatalf("the same message went twice: %+v, %v", r, err)
	}
	if left() != 0 {
		t.Error("not noted")
	}
	// Over the connector comes the message itself, and in the other order.
	direct := of
	of.MessageID = "<2@ex.example>"
	self := func(id string) smtpd.Receipt {
		t.Helper()
		d, err := (&intake{store: store}).Begin(t.Context(), smtpd.Submission{
			Identity: policy.Identity{User: "mario"}, Mailbox: of.Box, From: of.Box, Envelope: of.To, Recipients: of.To,
			MessageID: id, ClientMessageID: id, HeaderSize: 2, Relay: "exchange", ReturnTo: of.Sender,
		})
		if err != nil {
			t.Fatal(err)
		}
		defer d.Abort()
		if _, err := d.Write([]byte("\r\nx\r\n")); err != nil {
			t.Fatal(err)
		}
		r, err := d.Commit(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if r := self(direct.MessageID); !r.Duplicate {
		t.Errorf("sent once by its report and once by itself: %+v", r)
	}
	if left() != 1 {
		t.Fatal("another message is the same")
	}
	if r := self(of.MessageID); r.Duplicate || left() != 0 {
		t.Errorf("sent once by itself (%+v), and %d left for its report", r, left())
	}
	if err := book.Refuse(t.Context(), of, smtpd.JournalRefusal{Code: 550, Enhanced: "5.7.1", Italian: "No.", English: "No."}); err != nil {
		t.Error(err)
	}
}
