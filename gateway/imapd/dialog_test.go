package imapd

import (
	"bufio"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"pecgate/mailbox"
	"pecgate/policy"
)

// A dialog is a file with one step a line:
//
//	C: text      client 1 sends a line; C2: client 2
//	S: text      client 1 reads a line; {{...}} in it is a regular expression
//	S: ...       client 1 passes over lines up to the next one expected
//	! words      something happens in the house; see step
//	# text       a comment
//
// Clients connect at their first step and read their greeting.
const dialogDir = "../../testdata/dialogs/imap"

type dialogLine struct {
	no     int
	who    byte // '1', '2', or '!'
	client bool
	text   string
}

func readDialog(t testing.TB, name string) []dialogLine {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dialogDir, name))
	if err != nil {
		t.Fatal(err)
	}
	var out []dialogLine
	shape := regexp.MustCompile(`^([CS])([12]?):(?: (.*))?$`)
	for i, line := range strings.Split(string(b), "\n") {
		switch m := shape.FindStringSubmatch(line); {
		case line == "" || line[0] == '#':
		case strings.HasPrefix(line, "! "):
			out = append(out, dialogLine{no: i + 1, who: '!', text: line[2:]})
		case m == nil:
			t.Fatalf("%s:%d: no step of a dialog", name, i+1)
		default:
			who := byte('1')
			if m[2] != "" {
				who = m[2][0]
			}
			out = append(out, dialogLine{no: i + 1, who: who, client: m[1] == "C", text: m[3]})
		}
	}
	return out
}

// fits compares a line with what a dialog expects.
func fits(t testing.TB, want, got string) bool {
	t.Helper()
	if !strings.Contains(want, "{{") {
		return want == got
	}
	var re strings.Builder
	for rest := want; rest != ""; {
		before, after, found := strings.Cut(rest, "{{")
		re.WriteString(regexp.QuoteMeta(before))
		if !found {
			break
		}
		var expr string
		expr, rest, _ = strings.Cut(after, "}}")
		re.WriteString("(?:" + expr + ")")
	}
	ok, err := regexp.MatchString("^"+re.String()+"$", got)
	if err != nil {
		t.Fatal(err)
	}
	return ok
}

// step does what a line with ! says.
func (h *house) step(text string) {
	h.t.Helper()
	words := strings.Fields(text)
	switch words[0] {
	case "deliver": // role, subject
		h.deliver(shared1(mailbox.Role(words[1])), mail("<"+words[2]+"@pec.example.org>", words[2]), mailbox.Filing{})
	case "sent": // login, message-id: as the relay files a submission
		p := h.people[words[1]]
		msg := mail("<"+words[2]+">", "inviata")
		err := func() error {
			ctx := context.Background()
			in, err := h.store.Begin(ctx)
			if err != nil {
				return err
			}
			if _, err := io.WriteString(in, msg); err != nil {
				return err
			}
			st, err := in.Store(ctx, mailbox.Origin{Box: protocollo, Direction: mailbox.Out})
			if err != nil {
				return err
			}
			defer st.Close()
			_, err = h.store.Record(ctx, st, func(tx *mailbox.Tx, m *mailbox.Message) error {
				var places []mailbox.Place
				for _, k := range []mailbox.FolderKey{shared1(mailbox.RoleSent), {Owner: p, Role: mailbox.RoleSent}} {
					id, uid, err := tx.File(k, m, mailbox.Filing{Audience: p, Seen: true})
					if err != nil {
						return err
					}
					places = append(places, mailbox.Place{Folder: id, UID: uid})
				}
				return tx.NoteSent(p, words[2], m, places)
			})
			return err
		}()
		if err != nil {
			h.t.Fatal(err)
		}
	case "post": // login, folder, from, day, message-id, references or "-", subject
		refs := ""
		if words[6] != "-" {
			refs = "References: " + strings.ReplaceAll(words[6], ",", " ") + "\r\n"
		}
		k := mailbox.FolderKey{Owner: h.people[words[1]], Role: mailbox.RoleCustom, Name: words[2]}
		h.deliver(k, "From: "+words[3]+"\r\nSubject: "+strings.Join(words[7:], " ")+"\r\nDate: "+words[4]+
			" Mar 2026 10:00:00 +0000\r\nMessage-ID: "+words[5]+"\r\n"+refs+"\r\nx\r\n", mailbox.Filing{})
	case "keywords", "report": // see becomes
		h.becomes(words)
	case "shared-seen": // \\Seen is common on the shared mailbox
		h.change(func(p *policy.Policy) { p.Mailboxes[0].SharedSeen = true })
	case "deleter": // login: what they delete is removed for all
		h.change(func(p *policy.Policy) {
			for i := range p.Mailboxes[0].Members {
				p.Mailboxes[0].Members[i].Delete = p.Mailboxes[0].Members[i].User == words[1]
			}
		})
	case "writes", "approves": // login: for approval, what others write so
		p := testPolicy()
		if now := h.policy.Load(); now != nil {
			p = now
		}
		for i := range p.Mailboxes[0].Members {
			if m := &p.Mailboxes[0].Members[i]; m.User == words[1] {
				m.Compose, m.Approve = m.Compose || words[0] == "writes", m.Approve || words[0] == "approves"
				m.Send = m.Send && !m.Compose
			}
		}
		h.policy.Store(p)
	case "revoke": // login: loses all rights on the shared mailbox
		h.change(func(p *policy.Policy) {
			for i, m := range p.Mailboxes[0].Members {
				if m.User == words[1] {
					p.Mailboxes[0].Members = append(p.Mailboxes[0].Members[:i:i], p.Mailboxes[0].Members[i+1:]...)
					break
				}
			}
		})
	default:
		h.t.Fatalf("unknown step %q", text)
	}
}

// change puts a changed copy of the policy into force.
func (h *house) change(fn func(*policy.Policy)) {
	p := testPolicy()
	fn(p)
	h.policy.Store(p)
}

func dialogs(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dialogDir, "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no dialogs: %v", err)
	}
	for i := range files {
		files[i] = filepath.Base(files[i])
	}
	return files
}

func TestDialogs(t *testing.T) {
	for _, name := range dialogs(t) {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			h.furnish()
			h.play(name, readDialog(t, name))
		})
	}
}

func (h *house) play(name string, lines []dialogLine) {
	t := h.t
	t.Helper()
	clients := map[byte]*client{}
	skip := map[byte]bool{}
	for _, l := range lines {
		if l.who == '!' {
			h.step(l.text)
			continue
		}
		c := clients[l.who]
		if c == nil {
			c = h.connect()
			clients[l.who] = c
		}
		switch {
		case l.client:
			c.send(l.text + "\r\n")
		case l.text == "...":
			skip[l.who] = true
		default:
			for {
				got := c.read()
				if fits(t, l.text, got) {
					break
				}
				if !skip[l.who] {
					t.Fatalf("%s:%d:\n want %s\n  got %s", name, l.no, l.text, got)
				}
			}
			skip[l.who] = false
		}
	}
}

// TestDialogsCut plays what client 1 sends, cut off after every byte: nothing
// panics, and nothing is stored that the whole dialog does not store.
func TestDialogsCut(t *testing.T) {
	for _, name := range dialogs(t) {
		t.Run(name, func(t *testing.T) {
			lines := readDialog(t, name)
			whole := newHouse(t)
			whole.furnish()
			whole.play(name, lines)
			allowed := whole.sums()

			h := newHouse(t)
			h.furnish()
			var input strings.Builder
			for _, l := range lines {
				switch {
				case l.who == '!' && !strings.HasPrefix(l.text, "revoke"):
					h.step(l.text)
				case l.who == '1' && l.client:
					input.WriteString(l.text + "\r\n")
				}
			}
			for sum := range h.sums() {
				allowed[sum] = true
			}
			for n := range input.Len() {
				h.cut(t, input.String()[:n])
			}
			for sum := range h.sums() {
				if !allowed[sum] {
					t.Errorf("something is stored that nobody sent whole: %s", sum)
				}
			}
		})
	}
}

// cut sends bytes and closes the line, then waits for the session to end.
func (h *house) cut(t testing.TB, s string) {
	t.Helper()
	conn, err := h.ln.dial()
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(60 * time.Second))
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(io.Discard, bufio.NewReader(conn))
	}()
	_, err = io.WriteString(conn, s)
	if ne, ok := err.(net.Error); ok && ne.Timeout() {
		t.Fatalf("the server stopped reading after %q", s)
	}
	_ = conn.Close()
	<-read
	h.quiet(t)
}

// quiet waits until no session is left.
func (h *house) quiet(t testing.TB) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); len(h.srv.connections()) > 0; {
		if time.Now().After(end) {
			t.Fatal("a session does not end")
		}
		time.Sleep(50 * time.Microsecond)
	}
}

// sums are the hashes of all messages that anybody can see.
func (h *house) sums() map[string]bool {
	h.t.Helper()
	ctx := context.Background()
	var keys []mailbox.FolderKey
	roles := []mailbox.Role{mailbox.RoleInbox, mailbox.RoleSent, mailbox.RoleDrafts, mailbox.RoleTrash, mailbox.RoleAcceptance, mailbox.RoleAnomalies}
	for _, box := range []string{"", protocollo} {
		for _, role := range roles {
			if box != "" {
				keys = append(keys, mailbox.FolderKey{Box: box, Role: role})
			}
			for _, p := range h.people {
				keys = append(keys, mailbox.FolderKey{Box: box, Owner: p, Role: role})
			}
		}
		for _, p := range h.people {
			names, err := h.store.CustomFolders(ctx, box, p)
			if err != nil {
				h.t.Fatal(err)
			}
			for _, n := range names {
				keys = append(keys, mailbox.FolderKey{Box: box, Owner: p, Role: mailbox.RoleCustom, Name: n})
			}
		}
	}
	out := map[string]bool{}
	for _, k := range keys {
		for _, raw := range h.messages(k, mailbox.Viewer{Person: k.Owner}) {
			out[fmt.Sprintf("%x", sha256.Sum256(raw))] = true
		}
	}
	return out
}

// messages are the bytes of a folder's messages.
func (h *house) messages(k mailbox.FolderKey, v mailbox.Viewer) [][]byte {
	h.t.Helper()
	ctx := context.Background()
	snap, err := h.store.Snapshot(ctx, k, v)
	if err != nil {
		h.t.Fatal(err)
	}
	var ids []mailbox.MessageID
	err = h.store.Entries(ctx, snap.Folder, v, snap.UIDs, mailbox.Want{}, func(e *mailbox.Entry) error {
		ids = append(ids, e.Message)
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
	var out [][]byte
	for _, id := range ids {
		m, err := h.store.Message(ctx, id)
		if err != nil {
			h.t.Fatal(err)
		}
		r, err := h.store.Open(m)
		if err != nil {
			h.t.Fatal(err)
		}
		raw, err := io.ReadAll(io.NewSectionReader(r, 0, r.Size()))
		_ = r.Close()
		if err != nil {
			h.t.Fatal(err)
		}
		out = append(out, raw)
	}
	return out
}
