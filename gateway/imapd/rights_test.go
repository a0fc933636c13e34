package imapd

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pecgate/mailbox"
	"pecgate/policy"
)

// shown is what a session sees: each folder with its number of messages, those
// without folders without.
func shown(c *client, at string) map[string]string {
	c.t.Helper()
	out := map[string]string{}
	for _, l := range c.ok(`LIST "" "` + at + `*" RETURN (STATUS (MESSAGES))`) {
		name, count := strings.TrimPrefix(l, "* STATUS "), ""
		if rest, list := strings.CutPrefix(l, "* LIST "); list {
			_, name, _ = strings.Cut(rest, ` "/" `)
		} else {
			name, count, _ = strings.Cut(name, " (MESSAGES ")
			count = strings.TrimSuffix(count, ")")
		}
		out[strings.TrimPrefix(strings.Trim(name, `"`), at)] = count
	}
	return out
}

// TestD1_RightsTable is the table of who sees what: every right alone and
// together, at both logins.
func TestD1_RightsTable(t *testing.T) {
	h := newHouse(t)
	h.furnish()
	mario, lucia := h.people["mario"], h.people["lucia"]
	// One receipt of each kind to the person, to another, and to nobody.
	for _, role := range []mailbox.Role{mailbox.RoleOrdinaryAcceptance, mailbox.RoleDelivery, mailbox.RoleErrors} {
		for _, who := range []mailbox.Person{mario, lucia, 0} {
			h.deliver(shared1(role), mail(fmt.Sprintf("<%s%d@pec.example.org>", role, who), "r"), mailbox.Filing{Audience: who})
		}
	}
	// What is between providers only is the administrator's.
	h.deliver(shared1(mailbox.RoleAnomalies), mail("<x2@pec.example.org>", "presa in carico"), mailbox.Filing{Audience: lucia})
	for _, who := range []mailbox.Person{mario, lucia} {
		h.deliver(shared1(mailbox.RoleOutcomes), mail(fmt.Sprintf("<e%d@pec.example.org>", who), "esito"), mailbox.Filing{Audience: who})
	}

	for _, role := range []mailbox.Role{mailbox.RoleToApprove, mailbox.RoleApproved} {
		for _, who := range []mailbox.Person{mario, lucia} {
			h.deliver(shared1(role), mail(fmt.Sprintf("<%s%d@pec.example.org>", role, who), "a"), mailbox.Filing{Audience: who})
		}
	}

	own := map[string]string{"Posta inviata": "1", "Ricevute": "", "Ricevute/Accettazione": "1", "Ricevute/Accettazione ordinaria": "1",
		"Ricevute/Consegna": "1", "Ricevute/Errori": "1", "Esiti": "1", "Bozze": "0", "Cestino": "0",
		"Archivio": "", "Archivio/2026": "", "Archivio/2026/03": "6"}
	receives := map[string]string{"Posta in arrivo": "3", "Contenuti": "3", "Posta inviata": "2", "Ricevute": "",
		"Ricevute/Accettazione": "2", "Ricevute/Accettazione ordinaria": "2", "Ricevute/Consegna": "2", "Ricevute/Errori": "2",
		"Esiti": "2", "Bozze": "0", "Cestino": "0", "Archivio": "", "Archivio/2026": "", "Archivio/2026/03": "15"}
	with := func(base map[string]string, more map[string]string) map[string]string {
		out := maps.Clone(base)
		maps.Copy(out, more)
		return out
	}
	receipts := map[string]string{"Ricevute/Accettazione": "3", "Ricevute/Accettazione ordinaria": "3", "Ricevute/Consegna": "3",
		"Ricevute/Errori": "3", "Archivio/2026/03": "19"}
	for _, c := range []struct {
		name       string
		member     policy.Member
		receiptsTo string
		want       map[string]string
	}{
		{"send", policy.Member{Send: true}, "sender", own},
		{"send, receipts to the receivers", policy.Member{Send: true}, "receivers", own},
		{"compose", policy.Member{Compose: true}, "sender", with(own, map[string]string{"Da autorizzare": "1", "Autorizzati": "1"})},
		{"approve", policy.Member{Approve: true}, "sender", map[string]string{"Da autorizzare": "2", "Autorizzati": "2", "Bozze": "0", "Cestino": "0"}},
		{"receive", policy.Member{Receive: true}, "sender", receives},
		{"send and receive", policy.Member{Send: true, Receive: true}, "sender", receives},
		{"receipts to the receivers", policy.Member{Receive: true}, "receivers", with(receives, receipts)},
		{"receipts to both", policy.Member{Send: true, Receive: true}, "both", with(receives, receipts)},
		{"all", policy.Member{Send: true, Receive: true, Anomalies: true}, "sender", with(receives, map[string]string{"Anomalie": "1", "Archivio/2026/03": "16"})},
		{"anomalies alone", policy.Member{Anomalies: true}, "sender", map[string]string{"Anomalie": "1", "Bozze": "0", "Cestino": "0",
			"Archivio": "", "Archivio/2026": "", "Archivio/2026/03": "1"}},
		{"nothing", policy.Member{Delete: true}, "sender", map[string]string{}},
		{"over", policy.Member{Send: true, Receive: true, Expires: time.Unix(1, 0)}, "sender", map[string]string{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h.change(func(p *policy.Policy) {
				c.member.User = "mario"
				p.Mailboxes[0].Members[0], p.Mailboxes[0].ReceiptsTo = c.member, c.receiptsTo
			})
			differs := func(got, want map[string]string) {
				t.Helper()
				if !maps.Equal(got, want) {
					t.Errorf("got\n%v\nwant\n%v", lines(got), lines(want))
				}
			}
			tree := h.login("mario")
			differs(shown(tree, "PEC/"+protocollo+"/"), c.want)
			if len(c.want) == 0 {
				if got := shown(tree, "PEC"); len(got) != 0 {
					t.Errorf("%v", got)
				}
				if _, answer := h.connect().cmd(`LOGIN "mario/` + protocollo + `" secret`); !strings.HasPrefix(answer, "NO") {
					t.Errorf("the login of the mailbox: %s", answer)
				}
				return
			}
			// At the root the inbox is INBOX, an empty one for those who do not receive.
			root := maps.Clone(c.want)
			root["INBOX"] = "0"
			if n, ok := root["Posta in arrivo"]; ok {
				root["INBOX"] = n
				delete(root, "Posta in arrivo")
			}
			differs(shown(h.login("mario/"+protocollo), ""), root)
		})
	}
}

func lines(m map[string]string) (out string) {
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out += k + " " + m[k] + "\n"
	}
	return out
}

// TestG12_RightsOnOpenConnections: what is taken away ends the sessions that
// have it open, whether they idle or say nothing, and nobody else's.
func TestG12_RightsOnOpenConnections(t *testing.T) {
	h := newHouse(t)
	h.furnish()
	tree := "PEC/" + protocollo + "/"
	member := func(change func(*policy.Member)) func(*policy.Policy) {
		return func(p *policy.Policy) { change(&p.Mailboxes[0].Members[1]) }
	}
	for _, c := range []struct {
		name, login, folder string
		change              func(*policy.Policy)
	}{
		{"the user leaves", "lucia", "INBOX", func(p *policy.Policy) { p.Users = slices.Delete(p.Users, 1, 2) }},
		{"the mailbox leaves", "lucia", tree + "Bozze", func(p *policy.Policy) { p.Mailboxes = p.Mailboxes[1:] }},
		{"the member leaves", "lucia", tree + "Cestino", func(p *policy.Policy) { p.Mailboxes[0].Members = p.Mailboxes[0].Members[:1] }},
		{"the time is over", "lucia", tree + "Posta inviata", member(func(m *policy.Member) { m.Expires = time.Unix(1, 0) })},
		{"receives no more", "lucia", tree + "Posta in arrivo", member(func(m *policy.Member) { m.Receive = false })},
		{"receives no more, inner", "lucia/" + protocollo, "Contenuti", member(func(m *policy.Member) { m.Receive = false })},
		{"own only", "lucia", tree + "Posta inviata", member(func(m *policy.Member) { m.Receive, m.Anomalies = false, false })},
		{"own only, outcomes", "lucia", tree + "Esiti", member(func(m *policy.Member) { m.Receive, m.Anomalies = false, false })},
		{"own only, receipts", "lucia", tree + "Ricevute/Errori", member(func(m *policy.Member) { m.Receive, m.Anomalies = false, false })},
		{"no anomalies", "lucia/" + protocollo, "Anomalie", member(func(m *policy.Member) { m.Anomalies = false })},
		{"a folder of one's own", "lucia", tree + "Pratiche", func(p *policy.Policy) { p.Mailboxes[0].Members = p.Mailboxes[0].Members[:1] }},
		{"no folder open", "lucia/" + protocollo, "", func(p *policy.Policy) { p.Mailboxes[0].Members = p.Mailboxes[0].Members[:1] }},
	} {
		t.Run(c.name, func(t *testing.T) {
			h.change(func(*policy.Policy) {})
			h.login("lucia").cmd(`CREATE "` + tree + `Pratiche"`) // is there after the first time
			other := h.login("mario")
			other.ok(`SELECT "` + tree + `Posta in arrivo"`)
			open := func() *client {
				cl := h.login(c.login)
				if c.folder != "" {
					cl.ok(`SELECT "` + c.folder + `"`)
				}
				return cl
			}
			silent, idle, busy := open(), open(), open()
			idle.send("x IDLE\r\n")
			if l := idle.read(); l != "+ idling" {
				t.Fatal(l)
			}
			h.change(c.change)
			for _, cl := range []*client{silent, idle} {
				if bye := cl.gone(); bye != "* BYE L'accesso a questa cartella e' terminato / Access to this folder has ended" {
					t.Errorf("%q", bye)
				}
			}
			// One that speaks at once gets nothing either.
			if _, err := fmt.Fprintf(busy.conn, "y FETCH 1:* (UID BODY[])\r\n"); err == nil {
				for {
					line, err := busy.r.ReadString('\n')
					if strings.Contains(line, "FETCH (") {
						t.Errorf("read after the change: %s", line)
					}
					if err != nil {
						break
					}
				}
			}
			if c.name != "the mailbox leaves" {
				other.ok("NOOP")
			}
		})
	}
}
