//go:build peers

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// syncWithOfflineimap keeps a whole copy of the account in Maildir folders.
func syncWithOfflineimap(t *testing.T, a *account) {
	m := maildir{t, filepath.Join(a.dir, "mail")}
	rc := filepath.Join(a.dir, "offlineimaprc")
	conf := fmt.Sprintf(`[general]
accounts = pec
metadatadir = %s
ui = basic

[Account pec]
localrepository = near
remoterepository = far

[Repository near]
type = Maildir
localfolders = %s
sep = /

[Repository far]
type = IMAP
remotehost = localhost
remoteport = %s
remoteuser = mario
remotepass = %s
ssl = yes
sslcacertfile = %s
folderfilter = lambda name: not name.endswith('/Contenuti') and '/Archivio' not in name
`, filepath.Join(a.dir, "meta"), m.root, a.tap.port, a.password["mario"], a.ca())
	if err := os.WriteFile(rc, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func() heard {
		t.Helper()
		peer(t, nil, "offlineimap", "-c", rc, "-o")
		return a.tap.take()
	}
	run()
	m.same(a.far.folders())
	run().quiet(t, "second sync")

	m.mark(a.folder, subjectMarked, "FS")
	m.move(a.folder, subjectMoved, a.moved)
	if err := os.Remove(m.find(a.folder, subjectDeleted)); err != nil {
		t.Fatal(err)
	}
	m.put("Bozze", a.letter(subjectDraft), "D")
	a.change()
	run()
	a.arrived(t)
	m.same(a.far.folders())
	if f := m.find(a.folder, subjectStays); !strings.HasSuffix(f, ":2,R") {
		t.Errorf("the answered message is %s", f)
	}
	run().quiet(t, "sync after the changes")

	// Here the copy is on the server before the message is sent.
	before := a.far.folders()
	m.put(sentFolder, a.letter("inviata"), "S")
	run()
	a.send(t, "inviata")
	a.delivered("inviata")
	run()
	a.sentOnce(t, "inviata", before)
	run()
	a.sentOnce(t, "inviata", before)
	m.same(a.far.folders())
	run().quiet(t, "sync after sending")

	// A copy that is put after sending is taken for the one that is here. (The
	// client has fetched that one just before, and keeps both files under its UID:
	// what it has on disk is not compared.)
	before = a.far.folders()
	m.put(sentFolder, a.send(t, "dopo"), "S")
	a.delivered("dopo")
	for range 2 {
		run()
		a.sentOnce(t, "dopo", before)
	}
	run().quiet(t, "sync after a copy of what was sent")
}
