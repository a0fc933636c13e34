package smtpd

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pecgate/mailbox/mime"
)

// The messages of groupware servers are as SMTP carries them, each is explained, and each reply to a hold notice gives the
// PIN that was typed in it, whatever the mail program put around it; no other message gives one.
func TestGroupwareSamples(t *testing.T) {
	const dir = "../../testdata/groupware"
	readme, err := os.ReadFile(filepath.Join(dir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.eml"))
	if err != nil {
		t.Fatal(err)
	}
	if rows := strings.Count(string(readme), "\n| `"); rows != len(files) {
		t.Errorf("%d files, %d explained", len(files), rows)
	}
	replies := 0
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		base := filepath.Base(name)
		if !strings.Contains(string(readme), "| `"+base+"` |") {
			t.Errorf("%s is not explained", base)
		}
		whole := bytes.ReplaceAll(b, []byte("\r\n"), nil)
		if bytes.ContainsAny(whole, "\r\n\x00") || !bytes.HasSuffix(b, []byte("\r\n")) {
			t.Errorf("%s has lines that do not end with CRLF", base)
		}
		for line := range bytes.SplitSeq(b, []byte("\r\n")) {
			if len(line) > 998 { // RFC 5322 section 2.1.1
				t.Errorf("%s has a line of %d octets", base, len(line))
			}
		}
		index, err := mime.Parse(bytes.NewReader(b), int64(len(b)), mime.Limits{})
		if err != nil {
			t.Errorf("%s: %v", base, err)
			continue
		}
		seen := map[string]int{}
		for _, f := range mime.Fields(b[:index.Root.HeaderLen]) {
			seen[strings.ToLower(f.Name)]++
		}
		for _, field := range []string{"from", "to", "date", "message-id", "mime-version", "content-type", "subject"} {
			if seen[field] != 1 {
				t.Errorf("%s has %d fields %s", base, seen[field], field)
			}
		}
		want := ""
		if strings.Contains(base, "-pin-reply") {
			want, replies = "471193", replies+1
		}
		if got := replyPIN(b); got != want {
			t.Errorf("%s: PIN %q, want %q", base, got, want)
		}
	}
	if replies < 7 {
		t.Errorf("only %d replies", replies)
	}
}
