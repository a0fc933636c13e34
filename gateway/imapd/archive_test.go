package imapd

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pecgate/mailbox"
	"pecgate/policy"
)

// TestD1_ArchiveOfOthers: an archive that may not be seen, and a period of which
// nothing may be seen, answer as what does not exist.
func TestD1_ArchiveOfOthers(t *testing.T) {
	h := newHouse(t)
	h.furnish()
	mario, ugo := h.login("mario"), h.login("ugo")
	mario.ok("CREATE Lavoro")
	ugo.ok("CREATE Lavoro")
	h.deliver(shared1(mailbox.RoleSent), mail("<u1@pec.example.org>", "di ugo"), mailbox.Filing{Audience: h.people["ugo"]})
	same := func(c *client, real, absent string) {
		t.Helper()
		a, b := answers(c, `"PEC/`+real+`"`), answers(c, `"PEC/`+absent+`"`)
		for i := range a {
			if a[i] != b[i] {
				t.Errorf("%s\n%s", a[i], b[i])
			}
		}
	}
	for _, period := range []string{"", "/2026", "/2026/03", "/2026/03/05", "/x"} {
		same(mario, privata+"/Archivio"+period, "nondirez@pec.example.org/Archivio"+period)
	}
	for _, period := range []string{"/2026/04", "/2025/03", "/2026/13", "/2026/3", "/02026/03", "/2026/00", "/+026/03", "/2026/03/05"} {
		same(mario, protocollo+"/Archivio"+period, protocollo+"/Archivio/1999/01")
	}
	// Ugo sees of it what he sent.
	if got := ugo.ok(`STATUS "PEC/` + protocollo + `/Archivio/2026/03" (MESSAGES)`)[0]; !strings.HasSuffix(got, "(MESSAGES 1)") {
		t.Error(got)
	}
	h.change(func(p *policy.Policy) {
		p.Mailboxes[0].Members[2].Send = false
		p.Mailboxes[0].Members[2].Receive = false
	})
	for _, cmd := range []string{"SELECT", "EXAMINE", "SUBSCRIBE", "DELETE", "GETQUOTAROOT", "MYRIGHTS", "CREATE"} {
		_, real := ugo.cmd(cmd + ` "PEC/` + protocollo + `/Archivio/2026/03"`)
		if _, absent := ugo.cmd(cmd + ` "PEC/nondirez@pec.example.org/Archivio/2026/03"`); real != absent || strings.HasPrefix(real, "OK") {
			t.Errorf("%s: %s instead of %s", cmd, real, absent)
		}
	}
}

// TestG12_ArchiveFollowsThePolicy: a right more or less ends the session that
// has an archive open, also one that idles; afterwards it has another
// UIDVALIDITY and shows what the right allows.
func TestG12_ArchiveFollowsThePolicy(t *testing.T) {
	h := newHouse(t)
	h.furnish()
	const folder = `"PEC/` + protocollo + `/Archivio/2026/03"`
	status := func() string { return h.login("mario").ok("STATUS " + folder + " (MESSAGES UIDVALIDITY)")[0] }
	before := status()
	for i, change := range []func(*policy.Policy){
		func(p *policy.Policy) { p.Mailboxes[0].Members[0].Anomalies = true },
		func(p *policy.Policy) { p.Mailboxes[0].ReceiptsTo = "receivers" },
		func(p *policy.Policy) { p.Mailboxes[0].Members[0].Receive = false },
	} {
		c, idle := h.login("mario"), h.login("mario/"+protocollo+"#archivio")
		c.ok("SELECT " + folder)
		idle.ok("SELECT Archivio/2026/03/05")
		idle.send("x IDLE\r\n")
		if l := idle.read(); l != "+ idling" {
			t.Fatal(l)
		}
		h.change(change)
		c.gone()
		idle.gone()
		after := status()
		if after == before || !strings.Contains(after, fmt.Sprintf("(MESSAGES %d ", []int{8, 8, 2}[i])) {
			t.Errorf("before %s, after %s", before, after)
		}
		h.change(func(*policy.Policy) {})
		before = status()
	}
	// A member whose time is over has no archive.
	c := h.login("mario/" + protocollo + "#archivio")
	h.change(func(p *policy.Policy) { p.Mailboxes[0].Members[0].Expires = time.Unix(1, 0) })
	c.gone()
}

// The English names, and words for who reads English.
func TestArchiveInEnglish(t *testing.T) {
	h := newHouse(t, func(o *Options) { o.Language = "en" })
	h.furnish()
	c := h.login("mario/" + protocollo)
	c.ok("SELECT Archive/2026/03")
	if _, answer := c.cmd(`STORE 1 +FLAGS (\Seen)`); answer != "NO [NOPERM] L'archivio si riempie da solo e si puo' solo leggere / The archive fills itself and can only be read" {
		t.Error(answer)
	}
	if _, answer := c.cmd("SELECT Archivio/2026/03"); !strings.HasPrefix(answer, "NO [NONEXISTENT]") {
		t.Error(answer)
	}
}

// The archive shows flags as the folders do, also where \Seen is common.
func TestArchiveSharedSeen(t *testing.T) {
	h := newHouse(t)
	h.furnish()
	h.change(func(p *policy.Policy) { p.Mailboxes[0].SharedSeen = true })
	lucia := h.login("lucia/" + protocollo)
	lucia.ok("SELECT INBOX")
	lucia.ok(`STORE 1 +FLAGS (\Seen)`)
	mario := h.login("mario/" + protocollo)
	mario.ok("SELECT Archivio/2026/03")
	if got := mario.ok("FETCH 1:2 FLAGS"); got[0] != `* 1 FETCH (FLAGS (\Seen))` || got[1] != "* 2 FETCH (FLAGS ())" {
		t.Errorf("%q", got)
	}
}
