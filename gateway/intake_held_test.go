package gateway

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"pecgate/gateway/smtpd"
	"pecgate/mailbox"
	"pecgate/policy"
	"pecgate/relay"
)

// TestOriginTellsOfAHold: what a submission had to wait for stands beside its
// bytes, where it outlives the records.
func TestOriginTellsOfAHold(t *testing.T) {
	dir := t.TempDir()
	store, err := mailbox.Open(mailbox.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	const message = "From: ufficio@pec.example.org\r\nMessage-ID: <%@client.example.org>\r\n\r\ntesto\r\n"
	for id, lack := range map[string]relay.Lack{"free": "", "missing": relay.PINMissing, "wrong": relay.PINWrong, "approval": relay.ForApproval} {
		text := strings.Replace(message, "%", id, 1)
		d, err := (&intake{store: store}).Begin(t.Context(), smtpd.Submission{
			Identity: policy.Identity{User: "mario"}, Mailbox: "ufficio@pec.example.org", From: "ufficio@pec.example.org",
			Envelope: []string{"a@pec.example.net"}, Recipients: []string{"a@pec.example.net"},
			MessageID: "<" + id + "@client.example.org>", ClientMessageID: "<" + id + "@client.example.org>", HeaderSize: int64(strings.Index(text, "testo")),
		})
		if err != nil {
			t.Fatal(err)
		}
		if lack != "" {
			d.Hold(smtpd.Lack(lack))
		}
		if _, err := d.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "records")); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex // several messages are looked at at once
	got := map[string]string{}
	look := func(_ context.Context, st *mailbox.Stored) (func(*mailbox.Tx, *mailbox.Message) error, error) {
		mu.Lock()
		defer mu.Unlock()
		got[strings.Trim(st.Index.MessageID, "<>")] = st.Origin.Held
		return nil, nil
	}
	_, err = mailbox.Rebuild(t.Context(), mailbox.Options{Dir: dir}, func(*mailbox.Store) (mailbox.Look, error) { return look, nil }, nil)
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]string{"free": "", "missing": "pin", "wrong": "pin", "approval": "approval"} {
		if held, ok := got[id+"@client.example.org"]; !ok || held != want {
			t.Errorf("%s: %q of %v", id, held, got)
		}
	}
}
