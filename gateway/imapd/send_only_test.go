package imapd

import (
	"strings"
	"testing"

	"pecgate/policy"
)

// Who may only send has no IMAP: no login, and what was open when the policy came to say so ends. With another mailbox to
// read they see that one alone.
func TestG12_SendOnly(t *testing.T) {
	h := newHouse(t)
	h.furnish()
	inbox, own := h.login("ugo"), h.login("ugo")
	inbox.ok(`SELECT "PEC/` + protocollo + `/Posta inviata"`)
	own.ok("SELECT INBOX")
	h.change(func(p *policy.Policy) { p.Mailboxes[0].Members[2].SendOnly = true })
	for _, cl := range []*client{inbox, own} {
		if bye := cl.gone(); !strings.HasPrefix(bye, "* BYE ") {
			t.Errorf("%q", bye)
		}
	}
	for _, name := range []string{"ugo", "ugo/" + protocollo, "ugo/" + protocollo + "#archivio"} {
		if _, answer := h.connect().cmd(`LOGIN "` + name + `" secret`); !strings.HasPrefix(answer, "NO [AUTHENTICATIONFAILED]") {
			t.Errorf("%s: %s", name, answer)
		}
	}
	h.change(func(p *policy.Policy) {
		p.Mailboxes[0].Members[2].SendOnly = true
		p.Mailboxes[1].Members = append(p.Mailboxes[1].Members, policy.Member{User: "ugo", Receive: true})
	})
	if got := shown(h.login("ugo"), "PEC"); got["/"+protocollo+"/Posta inviata"] != "" || got["/"+privata+"/Posta in arrivo"] == "" {
		t.Errorf("%s", lines(got))
	}
	if _, answer := h.connect().cmd(`LOGIN "ugo/` + protocollo + `" secret`); !strings.HasPrefix(answer, "NO") {
		t.Errorf("%s", answer)
	}
}
