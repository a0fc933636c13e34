package main

import (
	"strings"
	"testing"
)

// TestC13_AnotherClientEmptiesTheMailbox: somebody moves a dozen messages that the
// gateway has. Each has its audit line, and the administrator is told once.
func TestC13_AnotherClientEmptiesTheMailbox(t *testing.T) {
	const many = 12
	for _, protocol := range []string{"imap", "pop3"} {
		t.Run(protocol, func(t *testing.T) {
			a := mailboxText(boxA, false, "", "mario")
			if protocol == "pop3" {
				a = byPOP3(a)
			}
			h := newHouse(t, a, mailboxText(boxB, false, "", "lucia"))
			for range many {
				if err := h.provider.SendFromOutside("x@pec.altra.example", boxA, "Atto", "testo"); err != nil {
					t.Fatal(err)
				}
			}
			if err := h.provider.Settle(t.Context()); err != nil {
				t.Fatal(err)
			}
			h.start()
			h.until("they are there", func() bool { return len(h.folder("mario", treeA+"Posta in arrivo")) == many })
			h.stop()
			in, err := h.provider.Folder(boxA, "INBOX")
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range in {
				if err := h.provider.Move(boxA, m.UID, h.provider.SentFolder()); err != nil {
					t.Fatal(err)
				}
			}
			h.start()
			told := func() (n int) {
				for _, m := range h.folder("lucia", "INBOX") {
					if strings.Contains(m, "Un altro programma svuota la casella PEC") || strings.Contains(m, "Un_altro_programma_svuota") {
						n++
					}
				}
				return n
			}
			h.until("the administrator is told", func() bool { return told() > 0 })
			h.stop()
			h.start()
			h.until("another round", func() bool { return h.fetched(boxA) })
			notices, inbox := told(), len(h.folder("mario", treeA+"Posta in arrivo"))
			h.stop()
			gone := 0
			for _, l := range h.audit("provider-copy") {
				if l.Result == "gone" && l.Box == boxA {
					gone++
				}
			}
			if notices != 1 || gone != many || inbox != many {
				t.Errorf("%d notices, %d audit lines", notices, gone)
			}
		})
	}
}
