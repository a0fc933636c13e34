package smtpd

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pecgate/mailbox/mime"
	"pecgate/policy"
)

// What Exchange, Microsoft 365 and Domino hand over goes through by DATA and by BDAT
// with the same outcome: what has no sender to the administrator, winmail.dat nowhere,
// all else as PEC, with the body untouched and without the ordinary address or the
// inside of the company in its header.
func TestRelaySamples(t *testing.T) {
	const dir, box = "../../testdata/groupware", "protocollo@pec.comune.example"
	readme, err := os.ReadFile(filepath.Join(dir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.eml"))
	if err != nil {
		t.Fatal(err)
	}
	p := relays(t)
	p.Relays[0].Users, p.Relays[0].InternalWarn = "user:mario", true
	p.Mailboxes = []policy.Mailbox{{Address: box, Active: true, Receipt: "complete", Members: []policy.Member{{User: "mario", Send: true, Receive: true}}}}
	for _, name := range files {
		base := filepath.Base(name)
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		end := headerEnd(raw, 0)
		seen, err := readFields(raw[:end])
		if err != nil {
			t.Errorf("%s: %v", base, err)
			continue
		}
		_, row, _ := strings.Cut(string(readme), "| `"+base+"` |")
		row, _, _ = strings.Cut(row, "\n")
		null, reply := strings.Contains(row, "*null*"), strings.Contains(base, "pin-reply")
		from, err := plainAddress(value(seen["from"][0]))
		if err != nil && !null {
			t.Errorf("%s: From: %v", base, err)
			continue
		}
		if null {
			from = ""
		}
		var outcomes [2]string
		for way := range outcomes {
			s, a := relayServer(t, func(o *Options, _ *Peer) { o.Policy = func() *policy.Policy { return p } })
			c := newClient(t, s.pipes(t).dial(1))
			c.greet()
			c.do("MAIL FROM:<"+from+">", "250 ")
			for _, to := range named(raw[:end]) {
				c.do("RCPT TO:<"+to+">", "250 ")
			}
			if way == 0 {
				c.do("DATA", "354 ")
				c.send(stuff(string(raw)))
			} else {
				c.send(fmt.Sprintf("BDAT %d\r\n%s", len(raw)/2, raw[:len(raw)/2]))
				c.reply()
				c.send(fmt.Sprintf("BDAT %d LAST\r\n%s", len(raw)-len(raw)/2, raw[len(raw)/2:]))
			}
			got := c.reply()
			outcomes[way] = strings.Replace(got[:min(len(got), 9)], "-", " ", 1)
			s.stop(t)
			all := s.store.all()
			want := "250 2.0.0"
			switch {
			case null:
				if a.count() != 1 || len(all) != 0 || !bytes.Equal(a.got[0], raw) {
					t.Errorf("%s: %d for the administrator, %d sent", base, a.count(), len(all))
				}
				continue
			case strings.Contains(base, "winmail"):
				want = "550 5.6.1"
			case reply:
				want = "550 5.7.1" // there is no held message here, and it bears no mark
			case len(all) != 1:
			default:
				h, body, _ := bytes.Cut(all[0].data, []byte("\r\n\r\n"))
				if !bytes.Equal(body, raw[end:]) {
					t.Errorf("%s: the body was changed", base)
				}
				out, err := readFields(append(h, "\r\n\r\n"...))
				if err != nil {
					t.Fatal(err)
				}
				for _, f := range mime.Fields(h) {
					switch strings.ToLower(f.Name) {
					case "message-id", "references", "in-reply-to", "to", "cc":
						continue
					}
					if v := strings.ToLower(f.Body()); strings.Contains(v, "@comune.example") || strings.Contains(v, ".comune.example") && !strings.Contains(v, "@pec.comune.example") || strings.Contains(v, "192.0.2.") {
						t.Errorf("%s: left in the header: %s", base, f.Raw)
					}
				}
				if a, err := plainAddress(value(out["from"][0])); err != nil || a != box {
					t.Errorf("%s: From %q", base, out["from"][0].Raw)
				}
				if subject := mime.DecodeWords(value(out["subject"][0])); strings.Contains(subject, "[PEC") {
					t.Errorf("%s: Subject %q", base, subject)
				}
			}
			if outcomes[way] != want {
				t.Errorf("%s by way %d: %s, want %s", base, way, got, want)
			}
		}
		if outcomes[0] != outcomes[1] {
			t.Errorf("%s: %v", base, outcomes)
		}
	}
}
