package imapd

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pecgate/mailbox"
	"pecgate/policy"
)

// answers runs every command that takes a folder's name and returns all that
// the client reads, with the name itself made the same.
func answers(c *client, name string) []string {
	c.t.Helper()
	var out []string
	for _, form := range []string{
		`SELECT %s`, `EXAMINE %s`, `STATUS %s (MESSAGES)`, `CREATE %s`, `DELETE %s`, `RENAME %s altra`, `RENAME Lavoro %s`,
		`SUBSCRIBE %s`, `UNSUBSCRIBE %s`, `LIST "" %s`, `LSUB "" %s`, `LIST (SUBSCRIBED) "" %s RETURN (STATUS (MESSAGES))`,
		`APPEND %s {3+}` + "\r\nA:b", `GETQUOTAROOT %s`, `MYRIGHTS %s`, `GETACL %s`, `LISTRIGHTS %s mario`, `SETACL %s mario lr`, `DELETEACL %s mario`,
	} {
		lines, answer := c.cmd(fmt.Sprintf(form, name))
		out = append(out, fmt.Sprintf("%s: %v %s", form, lines, answer))
	}
	c.ok("SELECT " + `"PEC/` + protocollo + `/Posta inviata"`)
	for _, form := range []string{`COPY 1 %s`, `UID COPY 1 %s`, `MOVE 1 %s`, `UID MOVE 1 %s`, `UID COPY 99 %s`} {
		lines, answer := c.cmd(fmt.Sprintf(form, name))
		out = append(out, fmt.Sprintf("%s: %v %s", form, lines, answer))
	}
	c.ok("UNSELECT")
	return out
}

func TestD1_ForeignMailboxAnswersAsMissing(t *testing.T) {
	h := newHouse(t)
	h.furnish()
	mario, lucia := h.login("mario"), h.login("lucia")
	mario.ok("CREATE Lavoro")
	lucia.ok("CREATE Lavoro")
	lucia.ok("CREATE Segreti")
	lucia.ok(`CREATE "PEC/` + privata + `/Segreti"`)
	const there, missing = "direzione", "nondirez!"
	spellings := []func(string) string{
		func(s string) string { return `"` + s + `"` },
		func(s string) string { return fmt.Sprintf("{%d+}\r\n%s", len(s), s) },
		func(s string) string { return `"` + strings.ReplaceAll(s, "Posta", "&AFA-osta") + `"` }, // ASCII in modified UTF-7: not allowed
		func(s string) string { return `"` + strings.ReplaceAll(s, "@", "&AEA-") + `"` },
		func(s string) string { return `"` + strings.ReplaceAll(s, "Segreti", "Segret&AO0-") + `"` },
	}
	check := func(t *testing.T, c *client, real, absent string) {
		t.Helper()
		for i, spell := range spellings {
			a, b := answers(c, spell(real)), answers(c, spell(absent))
			for k := range a {
				if a[k] != b[k] {
					t.Errorf("spelling %d: a foreign folder differs from a missing one\n%s\n%s", i, a[k], b[k])
				}
				if strings.Contains(a[k], "OK") && !strings.Contains(a[k], "LIST") && !strings.Contains(a[k], "LSUB") && !strings.Contains(a[k], "UNSUBSCRIBE") {
					t.Errorf("spelling %d: %s", i, a[k])
				}
			}
		}
	}
	for _, sub := range []string{"/Posta in arrivo", "/Posta inviata", "/Anomalie", "/Ricevute/Consegna", "/Bozze", "/Segreti", ""} {
		check(t, mario, "PEC/"+there+"@pec.example.org"+sub, "PEC/"+missing+"@pec.example.org"+sub)
	}
	// A folder of another person, and one that mario has no right to in a tree
	// that he sees.
	for _, cmd := range []string{"SELECT", "EXAMINE", "DELETE", "SUBSCRIBE"} {
		_, foreign := mario.cmd(cmd + " Segreti")
		_, absent := mario.cmd(cmd + " Niente")
		_, noRight := mario.cmd(cmd + ` "PEC/` + protocollo + `/Anomalie"`)
		if foreign != absent || noRight != absent || !strings.HasPrefix(absent, "NO [NONEXISTENT] ") {
			t.Errorf("%s: %q, %q, %q", cmd, foreign, noRight, absent)
		}
	}
	// What lucia sees goes when the policy says so, also by other spellings.
	h.change(func(p *policy.Policy) { p.Mailboxes[1].Members = nil })
	check(t, lucia, "PEC/"+there+"@pec.example.org/Posta in arrivo", "PEC/"+missing+"@pec.example.org/Posta in arrivo")
	check(t, lucia, "PEC/"+there+"@pec.example.org/Segreti", "PEC/"+missing+"@pec.example.org/Segreti")
	for _, l := range lucia.ok(`LIST "" "*"`) {
		if strings.Contains(l, there) {
			t.Errorf("listed: %s", l)
		}
	}
}

// The rights table of interface.md, by what each person counts.
func TestD1_WhoSeesWhat(t *testing.T) {
	h := newHouse(t)
	h.furnish()
	h.deliver(shared1(mailbox.RoleSent), mail("<s3@pec.example.org>", "di ugo"), mailbox.Filing{Audience: h.people["ugo"]})
	h.deliver(shared1(mailbox.RoleAcceptance), mail("<a4@pec.example.org>", "ACCETTAZIONE: di ugo"), mailbox.Filing{Audience: h.people["ugo"]})
	type row map[string]int // folder: messages; -1: not there
	table := map[string]row{
		"mario": {"Posta in arrivo": 3, "Posta inviata": 3, "Ricevute/Accettazione": 2, "Anomalie": -1, "Bozze": 0},
		"lucia": {"Posta in arrivo": 3, "Posta inviata": 3, "Ricevute/Accettazione": 2, "Anomalie": 1, "Bozze": 0},
		"ugo":   {"Posta in arrivo": -1, "Posta inviata": 1, "Ricevute/Accettazione": 1, "Anomalie": -1, "Bozze": 0},
	}
	count := func(c *client, folder string) int {
		lines, answer := c.cmd(`STATUS "PEC/` + protocollo + `/` + folder + `" (MESSAGES)`)
		n := -1
		if strings.HasPrefix(answer, "OK") {
			fmt.Sscanf(lines[0][strings.LastIndex(lines[0], "("):], "(MESSAGES %d)", &n)
		}
		return n
	}
	for login, rows := range table {
		c := h.login(login)
		for folder, want := range rows {
			if got := count(c, folder); got != want {
				t.Errorf("%s counts %d in %s, want %d", login, got, folder, want)
			}
		}
	}
	mario := h.login("mario")
	h.change(func(p *policy.Policy) { p.Mailboxes[0].ReceiptsTo = "receivers" })
	if got := count(mario, "Ricevute/Accettazione"); got != 4 {
		t.Errorf("receipts for the receivers: mario counts %d", got)
	}
	// INBOX always exists, also where the shared one may not be seen.
	ugo := h.login("ugo/" + protocollo)
	if lines := ugo.ok("STATUS INBOX (MESSAGES)"); lines[0] != "* STATUS INBOX (MESSAGES 0)" {
		t.Error(lines[0])
	}
}

// A change of rights that leaves the folder but shows more of it gives another
// UIDVALIDITY, and ends the session that has it open.
func TestD1_ChangedScopeEndsOpenFolder(t *testing.T) {
	h := newHouse(t)
	h.furnish()
	folder := `"PEC/` + protocollo + `/Ricevute/Accettazione"`
	validity := func(lines []string) string {
		for _, l := range lines {
			if strings.Contains(l, "UIDVALIDITY") {
				return l
			}
		}
		return ""
	}
	c, idle := h.login("mario"), h.login("mario")
	before := validity(c.ok("SELECT " + folder))
	idle.ok("SELECT " + folder)
	idle.send("x IDLE\r\n")
	if l := idle.read(); l != "+ idling" {
		t.Fatal(l)
	}
	h.change(func(p *policy.Policy) { p.Mailboxes[0].ReceiptsTo = "both" })
	idle.gone()
	c.gone()
	if after := validity(h.login("mario").ok("SELECT " + folder)); after == before || after == "" {
		t.Errorf("UIDVALIDITY before %q, after %q", before, after)
	}
	// A login that leaves the policy ends too, whatever it has open.
	gone := h.login("ugo")
	h.change(func(p *policy.Policy) { p.Users = p.Users[:2] })
	gone.gone()
}

func TestD2_FolderNamesNeverReachTheDisk(t *testing.T) {
	h := newHouse(t)
	c := h.login("mario")
	bad := []string{
		"../x", "a/../../b", ".", "..", "./x", "x/.", "a//b", "/a", "a/./b", " a", "a ", "a/ b", "#news", "a*b", "a%b", `a\\b`,
		"&AC8-", "&AC4ALg-/x", "a&AAA-b", "&AAEAAg-", "&", "&AGEA", "a\x7fb", "INBOX/x", "inbox", "PEC", "pec/x", "Bozze/x", "sent/x",
		strings.Repeat("a", 10_000), strings.Repeat("a/", 1000) + "a", strings.Repeat("à", 250), "\xff\xfe", "&2AA-", "a&ICg-b",
	}
	for n := range 500 {
		bad = append(bad, strings.Repeat("../", n%40+1)+fmt.Sprint("f", n))
	}
	before := files(t, filepath.Dir(h.dir))
	for _, name := range bad {
		for _, cmd := range []string{"CREATE", "RENAME Lavoro", "SELECT", "SUBSCRIBE"} {
			form := fmt.Sprintf("%s {%d+}\r\n%s", cmd, len(name), name)
			if len(name) > maxLiteral {
				form = fmt.Sprintf("%s %s", cmd, name)
			}
			if _, answer := c.cmd(form); strings.HasPrefix(answer, "OK") {
				if cmd != "CREATE" && (strings.EqualFold(name, "inbox") || name == treeName) {
					continue // these are there
				}
				t.Errorf("%s %.40q: %s", cmd, name, answer)
			}
		}
	}
	c.ok(`CREATE "Ufficio &AOgA6Q-/due"`)
	known := regexp.MustCompile(`^([0-9]+\.(tar|tmp|sst|vlog|mem)|MANIFEST|KEYREGISTRY|LOCK|DISCARD|lock)$`)
	for _, f := range files(t, filepath.Dir(h.dir)) {
		if !slices.Contains(before, f) && !known.MatchString(filepath.Base(f)) {
			t.Errorf("a file was made: %s", f)
		}
	}
}

func files(t testing.TB, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			out = append(out, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestD3_CommandsAreBounded(t *testing.T) {
	h := newHouse(t)
	h.furnish()
	c := h.login("mario/" + protocollo)
	c.ok("SELECT INBOX")
	expect := func(cmd, want string) {
		t.Helper()
		if _, answer := c.cmd(cmd); !strings.HasPrefix(answer, want) {
			t.Errorf("%.60s: %s", cmd, answer)
		}
	}
	expect(`LIST "" "`+strings.Repeat("*a", 400)+`"`, "OK")
	expect(`LIST "" "`+strings.Repeat("*%", 20_000)+`"`, "NO [LIMIT]")
	expect(`LIST "" (`+strings.Repeat("* ", 100)+`*)`, "NO [LIMIT]")
	expect("UID FETCH 1:4294967295 UID", "OK")
	expect("UID FETCH 4294967295:1,"+strings.Repeat("1:4294967295,", 3000)+"1 UID", "OK")
	expect("FETCH 1:4294967295 UID", "BAD")
	expect("SEARCH "+strings.Repeat("OR ALL ", 10_000)+"ALL ALL", "BAD [TOOBIG]")
	expect("SEARCH "+strings.Repeat("OR ALL ", 5000)+"ALL", "NO [LIMIT]")
	expect("SEARCH "+strings.Repeat("NOT ", 5000)+"ALL", "NO [LIMIT]")
	expect("SEARCH "+strings.Repeat("(", 900)+"ALL"+strings.Repeat(")", 900), "OK")
	expect("SEARCH SUBJECT "+strings.Repeat("a", 5000), "NO [LIMIT]")
	expect("STORE 1 +FLAGS ("+strings.TrimSpace(strings.Repeat("k ", 5000))+")", "NO [LIMIT]")
	expect("STORE 1 +FLAGS ("+strings.Repeat("k", 5000)+")", "NO [LIMIT]")
	expect("FETCH 1 ("+strings.Repeat("BODY.PEEK[1] ", 300)+"UID)", "NO [LIMIT]")
	for i := range 70 {
		_, answer := c.cmd(fmt.Sprintf("STORE 1 +FLAGS (k%d)", i))
		if want := "OK"; i >= 64 && !strings.HasPrefix(answer, "NO [LIMIT]") || i < 64 && !strings.HasPrefix(answer, want) {
			t.Errorf("keyword %d: %s", i, answer)
		}
	}
	expect("NOOP", "OK")
}

func TestD3_ListMatcher(t *testing.T) {
	names := []string{"INBOX", "a", "ab", "a/b", "a/bc/d", "PEC/x@y/Ricevute/Consegna", "à/è"}
	patterns := []string{"*", "%", "a*", "a%", "%/%", "*/%", "%b", "*b*", "a/%/d", "inbox", "INB%", "**", "%*", "*%*", "", "a", "PEC/%/Ricevute/*", "à/%"}
	for _, p := range patterns {
		var re strings.Builder
		for _, r := range p {
			switch r {
			case '*':
				re.WriteString(".*")
			case '%':
				re.WriteString("[^/]*")
			default:
				re.WriteString(regexp.QuoteMeta(string(r)))
			}
		}
		want := regexp.MustCompile("^" + re.String() + "$")
		for _, n := range names {
			expect := want.MatchString(n) || n == "INBOX" && p == "inbox"
			if got := newMatcher(p).match(n); got != expect {
				t.Errorf("%q against %q: %v", p, n, got)
			}
		}
	}
}

func TestD5_UIDsAreNeverUsedAgain(t *testing.T) {
	h := newHouse(t)
	h.furnish()
	status := func() string {
		return h.login("mario/" + protocollo).ok("STATUS Cestino (UIDNEXT UIDVALIDITY MESSAGES)")[0]
	}
	c := h.login("mario/" + protocollo)
	c.ok("SELECT INBOX")
	c.ok("COPY 1:3 Cestino")
	c.ok("SELECT Cestino")
	c.ok(`STORE 2:3 +FLAGS (\Deleted)`)
	c.ok("EXPUNGE")
	before := status()
	if !strings.Contains(before, "UIDNEXT 4 ") || !strings.Contains(before, "MESSAGES 1") {
		t.Fatal(before)
	}
	h.shut()
	h.open()
	if after := status(); after != before {
		t.Errorf("after opening again: %s, before: %s", after, before)
	}
	c = h.login("mario/" + protocollo)
	c.ok("SELECT INBOX")
	if _, answer := c.cmd("COPY 1 Cestino"); !strings.HasSuffix(answer, " 1 4] COPY completed") {
		t.Error(answer)
	}
	// A folder made again under an old name has another UIDVALIDITY.
	c.ok("CREATE Pratiche")
	first := c.ok("STATUS Pratiche (UIDVALIDITY)")
	c.ok("DELETE Pratiche")
	c.ok("CREATE Pratiche")
	if second := c.ok("STATUS Pratiche (UIDVALIDITY)"); second[0] == first[0] {
		t.Errorf("UIDVALIDITY twice: %s", second[0])
	}
}

// D10: what a client puts somewhere is never a receipt, and receipt folders
// take nothing.
func TestD10_ReceiptFoldersTakeNothing(t *testing.T) {
	h := newHouse(t)
	h.furnish()
	c := h.login("lucia/" + protocollo)
	msg := mail("<forged@pec.example.org>", "ACCETTAZIONE: forged")
	for _, folder := range []string{"INBOX", "Ricevute/Accettazione", `"Ricevute/Accettazione ordinaria"`, "Ricevute/Consegna", "Ricevute/Errori", "Anomalie"} {
		if _, answer := c.cmd(fmt.Sprintf("APPEND %s {%d+}\r\n%s", folder, len(msg), msg)); !strings.HasPrefix(answer, "NO [NOPERM]") {
			t.Errorf("%s: %s", folder, answer)
		}
	}
}
