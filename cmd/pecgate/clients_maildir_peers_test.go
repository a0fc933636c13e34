//go:build peers

package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// maildir is a client's copy of an account, one Maildir for each folder, named
// as on the server.
type maildir struct {
	t    *testing.T
	root string
}

// messages lists the files of a folder.
func (m maildir) messages(folder string) []string {
	m.t.Helper()
	var out []string
	for _, sub := range []string{"new", "cur"} {
		found, err := os.ReadDir(filepath.Join(m.root, folder, sub))
		if err != nil {
			m.t.Fatal(err)
		}
		for _, f := range found {
			out = append(out, filepath.Join(m.root, folder, sub, f.Name()))
		}
	}
	return out
}

// same wants as many messages in each folder as the server has.
func (m maildir) same(far map[string]int) {
	m.t.Helper()
	near := map[string]int{}
	err := filepath.WalkDir(m.root, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() && e.Name() == "cur" {
			name, rerr := filepath.Rel(m.root, filepath.Dir(path))
			near[name], err = len(m.messages(name)), rerr
		}
		return err
	})
	if err != nil {
		m.t.Fatal(err)
	}
	total := 0
	for f, n := range far {
		total += n
		if got, ok := near[f]; got != n || !ok && n > 0 {
			m.t.Errorf("%s: the client has %d messages, the server %d", f, got, n)
		}
	}
	for f := range near {
		if _, ok := far[f]; !ok {
			m.t.Errorf("%s is not on the server", f)
		}
	}
	if total < 8 {
		m.t.Errorf("the server has %d messages", total)
	}
}

// find is the file of the message with a subject.
func (m maildir) find(folder, subject string) string {
	m.t.Helper()
	is := regexp.MustCompile(`(?m)^Subject: ` + regexp.QuoteMeta(subject) + `\r?$`)
	for _, f := range m.messages(folder) {
		b, err := os.ReadFile(f)
		if err != nil {
			m.t.Fatal(err)
		}
		if is.Match(b) {
			return f
		}
	}
	m.t.Fatalf("%s has no message %q", folder, subject)
	return ""
}

// mark gives a message these flags, as letters.
func (m maildir) mark(folder, subject, flags string) {
	m.t.Helper()
	from := m.find(folder, subject)
	base, _, _ := strings.Cut(filepath.Base(from), ":2,")
	m.rename(from, filepath.Join(m.root, folder, "cur", base+":2,"+flags))
}

// move puts a message into another folder under a new name, as a mail reader
// does.
func (m maildir) move(folder, subject, to string) {
	m.t.Helper()
	from := m.find(folder, subject)
	m.rename(from, filepath.Join(m.root, to, "cur", fmt.Sprintf("1795000000.%s.client:2,", subject)))
}

func (m maildir) rename(from, to string) {
	m.t.Helper()
	if err := os.Rename(from, to); err != nil {
		m.t.Fatal(err)
	}
}

// put stores a message of the client's own, with line ends as on disk.
func (m maildir) put(folder, text, flags string) {
	m.t.Helper()
	subject := regexp.MustCompile(`(?m)^Subject: (\w+)`).FindStringSubmatch(text)[1]
	name := filepath.Join(m.root, folder, "cur", fmt.Sprintf("1795000001.%s.client:2,%s", subject, flags))
	if err := os.WriteFile(name, bytes.ReplaceAll([]byte(text), []byte("\r\n"), []byte("\n")), 0o600); err != nil {
		m.t.Fatal(err)
	}
}
