package main

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"pecgate/relay"
	"pecgate/relay/submit"
)

// byPOP3 is a mailbox of mailboxText that is fetched by POP3.
func byPOP3(text string) string {
	return strings.NewReplacer("protocol: imap", "protocol: pop3", "IMAPPORT", "POP3PORT").Replace(text)
}

// TestFetchedByPOP3: a message goes out, and what comes back is fetched by POP3.
// One mailbox leaves nothing at the provider, the other everything; people read
// the very bytes that the provider made.
func TestFetchedByPOP3(t *testing.T) {
	h := newHouse(t,
		byPOP3(mailboxText(boxA, false, "    provider_copy: delete\n", "mario")),
		byPOP3(mailboxText(boxB, false, "", "lucia")),
	).start()
	h.until("both were read", func() bool {
		for _, b := range h.status().Mailboxes {
			if b.LastFetch.IsZero() {
				return false
			}
		}
		return true
	})
	if r := h.send("mario", "mariomario", boxA, []string{boxB}, mail(boxA, boxB, "nota", "p1@alfa.example")); r.Class != submit.HandedOver {
		t.Fatalf("%+v", r)
	}
	h.settled("p1@alfa.example", relay.Accepted)
	h.until("it is delivered", func() bool {
		s, err := h.shown("p1@alfa.example")
		return err == nil && s.Recipients[0].State == relay.Delivered
	})
	at := func(box string) int {
		list, err := h.provider.Folder(box, "INBOX")
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	h.until("the provider's copies of the receipts are gone", func() bool { return at(boxA) == 0 })
	if n := at(boxB); n != 1 {
		t.Errorf("%d messages stand in the other mailbox", n)
	}
	h.until("it has arrived", func() bool { return len(h.folder("lucia", "PEC/"+boxB+"/Posta in arrivo")) == 1 })
	made := map[string]bool{}
	for _, e := range h.provider.Emitted() {
		made[e.SHA256] = true
	}
	var have []string
	have = append(have, h.folder("mario", "PEC/"+boxA+"/Ricevute/Accettazione")...)
	have = append(have, h.folder("mario", "PEC/"+boxA+"/Ricevute/Consegna")...)
	have = append(have, h.folder("lucia", "PEC/"+boxB+"/Posta in arrivo")...)
	for _, m := range have {
		s := sha256.Sum256([]byte(m))
		if !made[hex.EncodeToString(s[:])] {
			t.Errorf("not as the provider made it: %.80q", m)
		}
	}
	if len(have) != 3 {
		t.Errorf("%d messages", len(have))
	}
	// That they are gone is certain when they are listed no more.
	for range 2 {
		since := time.Now()
		h.until("it was read once more", func() bool { return h.status().Mailboxes[0].LastFetch.After(since) })
	}
	h.stop()
	deleted := 0
	for _, l := range h.audit("provider-copy") {
		if l.Result == "deleted" && made[l.More["sha256"]] {
			deleted++
		}
	}
	if deleted != 2 {
		t.Errorf("the audit log tells %d deletions", deleted)
	}
}
