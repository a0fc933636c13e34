package smtpd

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pecgate/gateway/auth"
	"pecgate/mailbox/mime"
	"pecgate/policy"
	"pecgate/relay/providersim" // judges what leaves as a provider does
)

const (
	townBox    = "protocollo@pec.comune.example"
	townSecret = "riservata@pec.comune.example"
	townMario  = "mario.rossi@comune.example"
	townFar    = "pec.azienda.example"
)

// town is the organization of the samples with one way to mark and one to say who the user is.
func town(t *testing.T, mark, users string) *policy.Policy {
	t.Helper()
	p := people(t)
	p.Users[0].Email = townMario
	p.Users = append(p.Users, policy.User{Login: "nicolo", Email: "nicolo.dalbo@comune.example", Password: p.Users[0].Password})
	both := []policy.Member{{User: "mario", Send: true, Receive: true}, {User: "nicolo", Send: true, Receive: true}}
	p.Mailboxes = []policy.Mailbox{
		{Address: townBox, Active: true, Receipt: "complete", Members: both},
		{Address: townSecret, Active: true, Receipt: "complete", PINRequired: true, PINMethods: []string{policy.PINByReply}, Members: both[:1]},
	}
	p.Relays = []policy.Relay{{
		Name: "exchange", Users: users, Trigger: "[PEC]", Marks: []string{mark}, Mailbox: townBox, PINs: []string{policy.PINByReply}, InternalWarn: true,
		Domains: []string{townFar}, Senders: []string{townMario, "nicolo.dalbo@comune.example", "protocollo@comune.example"},
	}}
	if mark == policy.MarkSuffix {
		p.Relays[0].Suffix = "pec"
	}
	return p
}

// marked is a sample with this mark and no suffix else, and who the user is where a rule of the server says that.
func marked(raw []byte, mark, users string) string {
	end := headerEnd(raw, 0)
	head, body := string(raw[:end]), string(raw[end:])
	head = strings.ReplaceAll(head, "@"+townFar+".pec", "@"+townFar)
	switch mark {
	case policy.MarkSuffix:
		head = strings.ReplaceAll(head, "@"+townFar, "@"+townFar+".pec")
	case policy.MarkSubject:
		if !slices.ContainsFunc(mime.Fields([]byte(head)), func(f mime.Field) bool {
			return strings.EqualFold(f.Name, "Subject") && strings.Contains(mime.DecodeWords(f.Body()), "[PEC")
		}) {
			head = strings.NewReplacer("\r\nSubject: ", "\r\nSubject: [PEC] ", "\r\nThread-Topic: ", "\r\nThread-Topic: [PEC] ").Replace("\r\n" + head)[2:]
		}
	case policy.MarkFrom:
		for _, f := range mime.Fields([]byte(head)) {
			if a, err := plainAddress(value(f)); err == nil && strings.EqualFold(f.Name, "From") {
				head = head[:f.Off] + strings.Replace(string(f.Raw), a, townBox, 1) + head[f.Off+len(f.Raw):]
				break
			}
		}
	}
	if strings.HasPrefix(users, "header:") && !strings.Contains(head, "X-Pecgate-User:") {
		head = "X-Pecgate-User: " + townMario + "\r\n" + head
	}
	return head + body
}

// TestRelaySamplesByEveryWay: what Exchange, Microsoft 365 and Domino hand over passes by each mark and each way to say who the
// user is, as the table has it, and what leaves is a message that a provider accepts and that shows nothing of the inside.
func TestRelaySamplesByEveryWay(t *testing.T) {
	const dir = "../../testdata/groupware"
	readme, err := os.ReadFile(filepath.Join(dir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.eml"))
	if err != nil || len(files) < 50 {
		t.Fatalf("%d samples, %v", len(files), err)
	}
	// The reply by what the name of a sample holds, and by way to say who the user is.
	table := []struct{ holds, byEmail, named string }{
		{"winmail", "550 5.6.1", "550 5.6.1"},
		{"send-as", "550 5.7.1", "250 2.0.0"},   // nothing in the message names the person
		{"on-behalf", "550 5.7.1", "250 2.0.0"}, // nor does the envelope
		{"pin-reply", "250 2.0.0 Confermato", "250 2.0.0 Confermato"},
		{"", "250 2.0.0", "250 2.0.0"},
	}
	left := 0
	for i, mark := range []string{policy.MarkFrom, policy.MarkSubject, policy.MarkSuffix, policy.MarkDomains, policy.MarkSenders} {
		for j, users := range []string{policy.ByEmail, "header:X-Pecgate-User", "user:mario"} {
			p := town(t, mark, users)
			room := &waitroom{w: Waiting{ID: "held1", Mailbox: townSecret, Waits: true}, owner: "mario"}
			s, strays := relayServer(t, func(o *Options, _ *Peer) {
				o.Policy = func() *policy.Policy { return p }
				o.Auth = auth.New(auth.Options{Policy: o.Policy, Events: o.Events})
				o.Confirm = room
			})
			dialer := s.pipes(t)
			for n, name := range files {
				base := filepath.Base(name)
				raw, err := os.ReadFile(name)
				if err != nil {
					t.Fatal(err)
				}
				_, row, _ := strings.Cut(string(readme), "| `"+base+"` |")
				row, _, _ = strings.Cut(row, "\n")
				null, reply := strings.Contains(row, "*null*"), strings.Contains(base, "pin-reply")
				way := fmt.Sprintf("%s, %s, %s", base, mark, users)
				seen, err := readFields(raw[:headerEnd(raw, 0)])
				if err != nil {
					t.Fatalf("%s: %v", base, err)
				}
				from := ""
				if !null {
					if from, err = plainAddress(value(seen["from"][0])); err != nil {
						t.Fatalf("%s: %v", base, err)
					}
				}
				message := marked(raw, mark, users)
				to := named([]byte(message)[:headerEnd([]byte(message), 0)])
				if reply {
					message = strings.ReplaceAll(string(raw), "471193", pin)
					if strings.HasPrefix(users, "header:") {
						message = "X-Pecgate-User: mario\r\n" + message
					}
					to = []string{"confirm+" + heldToken + "@pecgate.example.org"}
				}
				before, strayed, freed := len(s.store.all()), strays.count(), room.again()
				c := newClient(t, dialer.dial(i*1000+j*100+n))
				c.greet()
				got := strings.Replace(c.message(from, message, to...), "-", " ", 1)
				all := s.store.all()
				if null {
					if !strings.HasPrefix(got, "250 2.0.0") || strays.count() != strayed+1 || len(all) != before {
						t.Errorf("%s: %s, %d for the administrator, %d sent", way, got, strays.count()-strayed, len(all)-before)
					}
					continue
				}
				k := slices.IndexFunc(table, func(row struct{ holds, byEmail, named string }) bool { return strings.Contains(base, row.holds) })
				want := table[k].named
				if users == policy.ByEmail {
					want = table[k].byEmail
				}
				out := want == "250 2.0.0"
				if !strings.HasPrefix(got, want) || len(all) != before+map[bool]int{true: 1}[out] || strays.count() != strayed || room.released() != freed+map[bool]int{true: 1}[reply] {
					t.Errorf("%s: %s, want %s; %d sent, %d for the administrator, %d released", way, got, want, len(all)-before, strays.count()-strayed, room.released()-freed)
					continue
				}
				if !out {
					continue
				}
				left++
				sent := all[before]
				if sent.From != townBox || len(sent.Recipients) != 1 || !strings.HasSuffix(sent.Recipients[0], "@"+townFar) {
					t.Errorf("%s: from %s to %v", way, sent.From, sent.Recipients)
				}
				if j := providersim.Judge(sent.data, sent.From, sent.Recipients, 0); j.Fault != "" {
					t.Errorf("%s: a provider says %s", way, j.Fault)
				}
				h, body, _ := bytes.Cut(sent.data, []byte("\r\n\r\n"))
				if !bytes.Equal(body, raw[headerEnd(raw, 0):]) {
					t.Errorf("%s: the body was changed", way)
				}
				outside(t, way, h)
			}
			s.stop(t)
		}
	}
	if left < 300 {
		t.Errorf("only %d left", left)
	}
}

// again has the message wait once more, and tells how often one was released.
func (h *waitroom) again() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.w.Waits = true
	return h.freed
}

func (h *waitroom) released() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.freed
}

// outside wants a header that shows no address and no host of the inside.
func outside(t *testing.T, way string, header []byte) {
	t.Helper()
	for _, f := range mime.Fields(append(slices.Clip(header), "\r\n"...)) {
		name := strings.ToLower(f.Name)
		if name == "message-id" || name == "in-reply-to" || name == "references" {
			continue // threads need them
		}
		v := strings.ToLower(strings.ReplaceAll(mime.DecodeWords(f.Body()), "pec.comune.example", ""))
		for _, inside := range []string{"comune.example", "192.0.2.", "fe80:", "ex01", "outlook.com", "127.0.0.1", "mario.rossi", "nicolo.dalbo", ".pec"} {
			if strings.Contains(v, inside) {
				t.Errorf("%s: %q is left in %s", way, inside, f.Raw)
			}
		}
		if isCut(name) || name == "received" || name == "sender" {
			t.Errorf("%s: %s is left", way, f.Name)
		}
	}
}
