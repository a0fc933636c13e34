package imapd

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pecgate/mailbox"
	"pecgate/mailbox/events"
	"pecgate/policy"
)

func (h *house) audit() (out []string) {
	h.t.Helper()
	err := h.store.View(context.Background(), func(tx *mailbox.Tx) error {
		return tx.AuditTail(func(_ uint64, l mailbox.AuditLine) bool {
			if l.Event == "reading" || l.Event == "deletion" {
				out = append(out, fmt.Sprintf("%s %s %s %t", l.Actor, l.Event, l.Result, l.From != "" && l.Box == protocollo))
			}
			return true
		})
	})
	if err != nil {
		h.t.Fatal(err)
	}
	slices.Reverse(out)
	return out
}

// TestS7_WhoReadsAndDeletes: what lists a folder is no reading; the first look
// into a message is, with and without PEEK, once for each person.
func TestS7_WhoReadsAndDeletes(t *testing.T) {
	h := newHouse(t)
	h.furnish()
	var want []string
	step := func(c *client, cmd string, lines ...string) {
		t.Helper()
		c.ok(cmd)
		if want = append(want, lines...); !slices.Equal(h.audit(), want) {
			t.Fatalf("after %s:\n%s\nwant\n%s", cmd, strings.Join(h.audit(), "\n"), strings.Join(want, "\n"))
		}
	}
	inbox := `"PEC/` + protocollo + `/Posta in arrivo"`
	mario, lucia := h.login("mario"), h.login("lucia")
	step(mario, "SELECT "+inbox)
	step(mario, "FETCH 1:* (FLAGS UID ENVELOPE BODYSTRUCTURE RFC822.SIZE)")
	step(mario, "FETCH 1:* (BODY.PEEK[HEADER] BODY.PEEK[HEADER.FIELDS (Subject)] BINARY.SIZE[1])")
	step(mario, "FETCH 1 BODY.PEEK[TEXT]", "mario reading first true")
	step(mario, "FETCH 1:2 BODY[]", "mario reading first true")
	step(mario, "FETCH 1:2 (BODY[] BINARY[1])")
	step(mario, `STORE 3 +FLAGS (\Seen)`, "mario reading first true")
	step(mario, "FETCH 3 BODY.PEEK[1]")
	step(lucia, "EXAMINE "+inbox)
	step(lucia, "FETCH 1 BINARY.PEEK[1]", "lucia reading first true")
	step(mario, `STORE 1:2 +FLAGS.SILENT (\Deleted)`)
	step(mario, "EXPUNGE", "mario deletion hidden true")
	step(mario, "EXPUNGE")
	step(lucia, "FETCH 1 BODY.PEEK[]")
}

// TestS7_LoginWithoutARight: the right password for a mailbox that shows nothing
// is a refused login in the audit log too.
func TestS7_LoginWithoutARight(t *testing.T) {
	var mu sync.Mutex
	var got []events.Deed
	h := newHouse(t)
	h.srv.opt.Events.AuditTo(func(d events.Deed) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, d)
	})
	h.change(func(p *policy.Policy) { p.Mailboxes[0].Members[0].Expires = time.Unix(1, 0) })
	c := h.connect()
	if _, answer := c.cmd(`LOGIN "mario/` + protocollo + `" secret`); !strings.HasPrefix(answer, "NO") {
		t.Errorf("%s", answer)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(got) != 1 || got[0].Login != "mario" || got[0].Result != "refused" || got[0].Reason != "no-right" {
		t.Errorf("%+v", got)
	}
}
