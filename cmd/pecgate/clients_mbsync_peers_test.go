//go:build peers

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// syncWithMbsync keeps a whole copy of the account in Maildir folders. (mbsync
// compares the certificate with host names only, hence localhost.)
func syncWithMbsync(t *testing.T, a *account) {
	m := maildir{t, filepath.Join(a.dir, "mail")}
	for _, d := range []string{m.root, filepath.Join(a.dir, "state")} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	rc := filepath.Join(a.dir, "mbsyncrc")
	conf := fmt.Sprintf(`IMAPAccount pec
Host localhost
Port %s
User mario
Pass %s
SSLType IMAPS
CertificateFile %s

IMAPStore far
Account pec

MaildirStore near
Path %s/
Inbox %s/INBOX
SubFolders Verbatim

Channel all
Far :far:
Near :near:
Patterns * !PEC/*/Contenuti !PEC/*/Archivio*
Create Both
Expunge Both
Sync All
SyncState %s/
`, a.tap.port, a.password["mario"], a.ca(), m.root, m.root, filepath.Join(a.dir, "state"))
	if err := os.WriteFile(rc, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func() heard {
		t.Helper()
		peer(t, nil, "mbsync", "-c", rc, "-a")
		return a.tap.take()
	}
	run()
	m.same(a.far.folders())
	run().quiet(t, "second sync")

	m.mark(a.folder, subjectMarked, "FS")
	m.move(a.folder, subjectMoved, a.moved)
	m.mark(a.folder, subjectDeleted, "T")
	m.put("Bozze", a.letter(subjectDraft), "D")
	a.change()
	run()
	a.arrived(t)
	m.same(a.far.folders())
	if f := m.find(a.folder, subjectStays); !strings.HasSuffix(f, ":2,R") {
		t.Errorf("the answered message is %s", f)
	}
	run().quiet(t, "sync after the changes")

	// The client puts its copy into the sent folder itself, PIN and all.
	before := a.far.folders()
	m.put(sentFolder, a.send(t, "inviata"), "S")
	a.delivered("inviata")
	run()
	a.sentOnce(t, "inviata", before)
	run()
	a.sentOnce(t, "inviata", before)
	m.same(a.far.folders())
	run().quiet(t, "sync after sending")
}
