//go:build peers

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// imaplibSync brings an account to a folder of the disk as small programs do:
// UIDs decide what is new, flags are read for what is known, and a list of
// commands goes first.
const imaplibSync = `
import imaplib, json, os, re, ssl, sys
port, ca, password, state, folder, moved, orders = sys.argv[1:8]
have = json.load(open(state)) if os.path.exists(state) else {}
c = imaplib.IMAP4_SSL("localhost", int(port), ssl_context=ssl.create_default_context(cafile=ca))
c.login("mario", password)
def ok(answer):
    assert answer[0] == "OK", answer
    return answer[1]
if orders:
    ok(c.select('"%s"' % folder))
    find = lambda s: ok(c.uid("SEARCH", "SUBJECT", s))[0].split()[0]
    ok(c.uid("STORE", find("prima"), "+FLAGS", r"(\Seen \Flagged)"))
    ok(c.uid("COPY", find("seconda"), '"%s"' % moved))
    ok(c.uid("STORE", find("seconda"), "+FLAGS", r"(\Deleted)"))
    ok(c.uid("STORE", find("terza"), "+FLAGS", r"(\Deleted)"))
    ok(c.expunge())
    ok(c.append("Bozze", r"(\Draft)", None, orders.encode()))
fetched = 0
for line in ok(c.list()):
    flags, name = re.match(rb'\(([^)]*)\) "/" "?([^"]*)"?$', line).groups()
    name = name.decode()
    if b"\\noselect" in flags.lower() or name.endswith("/Contenuti") or "/Archivio" in name:
        continue
    ok(c.select('"%s"' % name, readonly=True))
    validity = c.response("UIDVALIDITY")[1][0].decode()
    old = have.get(name, {})
    if old.get("validity") != validity:
        old = {"validity": validity, "messages": {}}
    now = {}
    for row in ok(c.uid("FETCH", "1:*", "(FLAGS)")):
        if row is None:
            continue
        uid = re.search(rb"UID (\d+)", row).group(1).decode()
        now[uid] = {"flags": sorted(f.decode() for f in imaplib.ParseFlags(row))}
    for uid in now:
        if uid in old["messages"]:
            now[uid]["body"] = old["messages"][uid]["body"]
            continue
        head, body = ok(c.uid("FETCH", uid, "(RFC822.SIZE BODY.PEEK[])"))[0]
        assert b"RFC822.SIZE %d" % len(body) in head, head
        now[uid]["body"] = body.decode("latin-1")
        fetched += 1
    have[name] = {"validity": validity, "messages": now}
c.logout()
json.dump(have, open(state, "w"))
print(fetched)
`

func syncWithImaplib(t *testing.T, a *account) {
	state := filepath.Join(a.dir, "state.json")
	run := func(orders string) heard {
		t.Helper()
		peer(t, []byte(imaplibSync), "python3", "-", a.tap.port, a.ca(), a.password["mario"], state, a.folder, a.moved, orders)
		return a.tap.take()
	}
	same := func() map[string]struct {
		Messages map[string]struct{ Flags []string }
	} {
		t.Helper()
		b, err := os.ReadFile(state)
		if err != nil {
			t.Fatal(err)
		}
		near := map[string]struct {
			Messages map[string]struct{ Flags []string }
		}{}
		if err := json.Unmarshal(b, &near); err != nil {
			t.Fatal(err)
		}
		far := a.far.folders()
		for f, n := range far {
			if len(near[f].Messages) != n {
				t.Errorf("%s: the client has %d messages, the server %d", f, len(near[f].Messages), n)
			}
		}
		if len(near) != len(far) || len(far) < 8 {
			t.Errorf("the client has %d folders, the server %d", len(near), len(far))
		}
		return near
	}
	if n := run("").contents(); n < 8 {
		t.Errorf("%d messages came", n)
	}
	same()
	run("").quiet(t, "second sync")

	a.change()
	run(a.letter(subjectDraft))
	a.arrived(t)
	if got := strings.Join(same()[a.folder].Messages["4"].Flags, " "); got != `\Answered` {
		t.Errorf("the answered message has %q", got)
	}
	run("").quiet(t, "sync after the changes")
}
