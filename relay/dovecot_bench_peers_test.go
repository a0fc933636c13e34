//go:build peers

package relay

import (
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pecgate/relay/upstream/dovecottest"
)

// BenchmarkDovecotFetch is 5,000 signed envelopes of 20 KB at first contact, by IMAP
// and POP3, beside mbsync and fetchmail (which must be installed) at the same server.
// In each round all have their turn, and another one begins, so that none profits
// from what the one before it read. Ours verifies and syncs, mbsync syncs, fetchmail
// writes into one file. Figures: messages/s of each.
func BenchmarkDovecotFetch(b *testing.B) {
	const n, size = 5000, 20 << 10
	t := &testing.T{}
	all, _ := signed(t, n, size, false)
	d := startDovecot(b, "1G", all...)
	ca := filepath.Join(b.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: testCA().Cert.Raw}), 0o600); err != nil {
		b.Fatal(err)
	}
	ours := func(service string) func() time.Duration {
		return func() time.Duration {
			f := newFetched(t, dovecotAccount(d, service))
			defer os.RemoveAll(f.dir) // soon: it holds all
			defer f.close()
			began := time.Now()
			f.round()
			return time.Since(began)
		}
	}
	ways := []struct {
		name  string
		fetch func() time.Duration
	}{
		{"imaps", ours("imaps")},
		{"mbsync", func() time.Duration { return mbsync(b, d) }},
		{"fetchmail-imaps", func() time.Duration { return fetchmail(b, d, "imaps", ca, n) }},
		{"pop3s", ours("pop3s")},
		{"fetchmail-pop3s", func() time.Duration { return fetchmail(b, d, "pop3s", ca, n) }},
	}
	took := map[string]time.Duration{}
	round := 0
	for ; b.Loop(); round++ {
		for i := range ways {
			w := ways[(i+round)%len(ways)]
			took[w.name] += w.fetch()
		}
	}
	for _, w := range ways {
		b.ReportMetric(float64(n*round)/took[w.name].Seconds(), w.name+"-msgs/s")
	}
}

// mbsync is how long it takes to fetch all into a new folder.
func mbsync(b *testing.B, d *dovecottest.Server) time.Duration {
	b.Helper()
	dir := b.TempDir()
	rc := filepath.Join(dir, "rc")
	defer os.RemoveAll(dir) // soon: it holds all
	return runTimed(b, rc, fmt.Sprintf("IMAPAccount a\nHost localhost\nPort %d\nUser %s\nPass segreta\nSSLType IMAPS\nCertificateFile %s\n\n"+
		"IMAPStore r\nAccount a\n\nMaildirStore l\nPath %s/\nInbox %s/INBOX\n\nChannel c\nFar :r:\nNear :l:\nPatterns INBOX\nCreate Near\nSync Pull\nSyncState *\n",
		d.Ports["imaps"], dovecotLogin, filepath.Join(d.Dir, "cert.pem"), dir, dir), "mbsync", "-c", rc, "c")
}

// fetchmail is the same into a file of its own, where n messages have to be.
func fetchmail(b *testing.B, d *dovecottest.Server, service, ca string, n int) time.Duration {
	b.Helper()
	dir := b.TempDir()
	rc, into := filepath.Join(dir, "rc"), filepath.Join(dir, "bsmtp")
	protocol, args := "IMAP", []string{"-f", rc, "--idfile", filepath.Join(dir, "ids"), "--pidfile", filepath.Join(dir, "pid"), "--nosyslog", "--silent"}
	if service == "pop3s" {
		protocol = "POP3"
	} else {
		args = append(args, "--all") // those that another has read too
	}
	took := runTimed(b, rc, fmt.Sprintf("poll localhost protocol %s port %d username %q password \"segreta\" ssl sslproto \"TLS1.2+\" sslcertck sslcertfile %q keep no mimedecode no rewrite bsmtp %q\n",
		protocol, d.Ports[service], dovecotLogin, ca, into), "fetchmail", args...)
	text, err := os.ReadFile(into)
	if got := strings.Count(string(text), "\nDATA"); err != nil || got != n {
		b.Fatalf("fetchmail wrote %d messages: %v", got, err)
	}
	if err := os.Remove(into); err != nil {
		b.Fatal(err)
	}
	return took
}

// runTimed runs a program with a configuration of its own.
func runTimed(b *testing.B, rc, text, name string, args ...string) time.Duration {
	b.Helper()
	if err := os.WriteFile(rc, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	began := time.Now()
	if out, err := exec.CommandContext(b.Context(), name, args...).CombinedOutput(); err != nil {
		b.Fatalf("%s: %v\n%.2000s", name, err, out)
	}
	return time.Since(began)
}
