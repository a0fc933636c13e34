package smtpd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"pecgate/policy"
)

const journalTo = "journal@pecgate.example.org"

// journalBook is Journals in memory.
type journalBook struct {
	mu      sync.Mutex
	done    map[string]bool // message and recipient
	refused []string        // sender and reason
	header  []string
	dropped []string // why
	fail    error
}

func (b *journalBook) Left(_ context.Context, of JournalOf) (left []string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, a := range of.To {
		if !b.done[of.MessageID+" "+a] {
			left = append(left, a)
		}
	}
	return left, b.fail
}

func (b *journalBook) take(of JournalOf) {
	for _, a := range of.To {
		b.done[of.MessageID+" "+a] = true
	}
}

func (b *journalBook) Refuse(_ context.Context, of JournalOf, why JournalRefusal) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.take(of)
	b.refused, b.header = append(b.refused, of.Sender+" "+why.Reason), append(b.header, string(why.Header))
	return b.fail
}

func (b *journalBook) Drop(_ context.Context, _ JournalOf, why string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.dropped = append(b.dropped, why)
	return b.fail
}

// journaling is an Intake that notes what it takes of reports, as the store does.
type journaling struct {
	*memory
	b *journalBook
}

func (j journaling) Begin(ctx context.Context, s Submission) (Delivery, error) {
	d, err := j.memory.Begin(ctx, s)
	return noted{d, j.b, s}, err
}

type noted struct {
	Delivery
	b *journalBook
	s Submission
}

func (n noted) Commit(ctx context.Context) (Receipt, error) {
	r, err := n.Delivery.Commit(ctx)
	if err == nil && n.s.Journal != nil {
		n.b.mu.Lock()
		defer n.b.mu.Unlock()
		n.b.take(*n.s.Journal)
	}
	return r, err
}

func (p *strayParcel) ReadAt(b []byte, off int64) (int, error) {
	if off >= int64(p.Len()) {
		return 0, io.EOF
	}
	n := copy(b, p.Bytes()[off:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// journalServer is a relay that takes journal reports.
func journalServer(t testing.TB, change func(*policy.Policy)) (*server, *admin, *journalBook) {
	b := &journalBook{done: map[string]bool{}}
	p := relays(t)
	p.Relays[0].Journal = true
	if change != nil {
		change(p)
	}
	s, a := relayServer(t, func(o *Options, _ *Peer) {
		o.Policy = func() *policy.Policy { return p }
		o.Intake = journaling{o.Intake.(*memory), b}
		o.Relay.Journals, o.Relay.JournalDomain = b, "gateway.example.org"
		o.Relay.Looped = func(h []byte) string {
			if strings.Contains(string(h), "X-Loop:") {
				return "a copy of ours"
			}
			return ""
		}
	})
	return s, a, b
}

// reported is a journal report; lines are those of its recipients.
func reported(sender, original string, lines ...string) string {
	id, subject := "", ""
	for line := range strings.SplitSeq(original, "\r\n") {
		if v, ok := strings.CutPrefix(line, "Message-ID: "); ok && id == "" {
			id = v
		}
		if v, ok := strings.CutPrefix(line, "Subject: "); ok && subject == "" {
			subject = v
		}
	}
	return "From: <MicrosoftExchange329e71ec88ae4615bbc36ab6ce41109e@example.org>\r\nTo: <" + journalTo + ">\r\nSubject: " + subject + "\r\n" +
		"Message-ID: <r1@journal.report.generator>\r\nX-MS-Journal-Report:\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed;\r\n\tboundary=\"b0und\"\r\n\r\n" +
		"--b0und\r\nContent-Type: text/plain; charset=\"us-ascii\"\r\n\r\nSender: " + sender + "\r\nSubject: " + subject + "\r\nMessage-Id: " + id + "\r\n" +
		strings.Join(lines, "\r\n") + "\r\n\r\n--b0und\r\nContent-Type: message/rfc822\r\n\r\n" + original + "\r\n--b0und--\r\n"
}

func TestJournalReports(t *testing.T) {
	const body = "\r\n.una riga con un punto\r\n"
	plain := strings.ReplaceAll(outlook, "[PEC:ufficio] prova", "prova")
	two := strings.Replace(outlook, "<"+other+">", "<"+other+">, Lucia <lucia.neri@example.org>", 1)
	for _, tc := range []struct {
		name, sender, original string
		lines                  []string
		change                 func(*policy.Policy)
		sent                   int
		held                   bool
		refused, dropped       string
		filed                  int
	}{
		{name: "marked", original: outlook, lines: []string{"To: " + other}, sent: 1},
		{name: "to people inside, too", original: two, lines: []string{"To: " + other, "To: lucia.neri@example.org", "Bcc: anna@example.org, Expanded: tutti@example.org"}, sent: 1},
		{name: "suffix", original: strings.Replace(plain, other, other+".pec", 1), lines: []string{"To: " + other + ".pec"}, sent: 1,
			change: func(p *policy.Policy) { p.Relays[0].Mailbox = "ufficio@pec.example.org" }},
		{name: "held for its PIN", original: strings.ReplaceAll(outlook, "[PEC:ufficio]", "[PEC:protocollo]"), lines: []string{"To: " + other}, sent: 1, held: true,
			change: func(p *policy.Policy) { p.Mailboxes[0].PINMethods = []string{policy.PINByReply} }},
		{name: "no mark", original: plain, lines: []string{"To: " + other}, dropped: policy.NotMarked},
		{name: "no mark, where that passes on", original: plain, lines: []string{"To: " + other}, dropped: policy.NotMarked,
			change: func(p *policy.Policy) { p.Relays[0].Smarthost = true }},
		{name: "marked, inside only", original: two, lines: []string{"To: lucia.neri@example.org"}, dropped: noOutside},
		{name: "from outside with a mark", sender: "evil@outside.example", original: outlook, lines: []string{"To: " + other}, dropped: "unknown-sender"},
		{name: "from outside as one of us", original: outlook, lines: []string{"To: lucia.neri@example.org", "Cc: mario.rossi@example.org"}, dropped: noOutside},
		{name: "no sender", sender: "<>", original: outlook, lines: []string{"To: " + other}, dropped: "null-sender"},
		{name: "a copy of ours", original: "X-Loop: us\r\n" + outlook, lines: []string{"To: " + other}, dropped: "a copy of ours"},
		{name: "another's From", original: strings.Replace(outlook, "<"+personal+">", "<lucia.neri@example.org>", 1), lines: []string{"To: " + other}, refused: policy.SendersDiffer},
		{name: "a colleague who is no user", sender: "anna@example.org", original: outlook, lines: []string{"To: " + other}, refused: policy.UnknownUser},
		{name: "a blind copy", original: outlook, lines: []string{"To: " + other, "Bcc: altro@pec.example.net"}, refused: "blind"},
		{name: "only some bear the suffix", original: strings.Replace(plain, "<"+other+">", "<"+other+".pec>, <x@fuori.example>", 1), lines: []string{"To: " + other + ".pec", "To: x@fuori.example"}, refused: policy.MixedRecipients},
		{name: "a mailbox that is not theirs", original: strings.ReplaceAll(outlook, "[PEC:ufficio]", "[PEC:nessuna]"), lines: []string{"To: " + other}, refused: "?"},
		{name: "bad octets", original: outlook + "X: a\x00b\r\n", lines: []string{"To: " + other}, refused: "?"},
		{name: "two messages", original: outlook + body + "\r\n--b0und\r\nContent-Type: message/rfc822\r\n\r\n" + outlook, lines: []string{"To: " + other}, filed: 1},
		{name: "an unknown line", original: outlook, lines: []string{"To: " + other, "Priority: high"}, filed: 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, a, b := journalServer(t, tc.change)
			c := newClient(t, s.pipes(t).dial(1))
			c.greet()
			sender := tc.sender
			if sender == "" {
				sender = personal
			}
			report := reported(sender, tc.original+body, tc.lines...)
			clean := !strings.Contains(report, "\x00")
			for range 2 { // Exchange has lost the answer
				if got := c.message("", report, journalTo); clean && !strings.HasPrefix(got, "250 ") {
					t.Fatal(got)
				}
			}
			s.stop(t)
			all := s.store.all()
			if len(all) != tc.sent || a.count() != 2*tc.filed || a.began != a.ended || s.store.opened != s.store.gone {
				t.Fatalf("%d sent, %d filed (%d begun, %d ended), log %s", len(all), a.count(), a.began, a.ended, s.log)
			}
			want := ""
			if tc.refused != "" && clean {
				want = tc.sender
				if want == "" {
					want = personal
				}
			}
			if (len(b.refused) == 1) != (want != "") || want != "" && !strings.HasPrefix(b.refused[0], want+" ") ||
				tc.refused != "?" && tc.refused != "" && !strings.Contains(b.refused[0], tc.refused) {
				t.Errorf("refused %q, want %s", b.refused, tc.refused)
			}
			if tc.dropped != "" && !slices.Equal(b.dropped, []string{tc.dropped, tc.dropped}) || tc.dropped == "" && len(b.dropped) > 0 {
				t.Errorf("dropped %q", b.dropped)
			}
			for _, one := range all {
				if !slices.Equal(one.Recipients, []string{other}) || one.From == personal || one.OrdinarySender != personal || one.ReturnTo != personal || (one.held != "") != tc.held {
					t.Errorf("%+v", one.Submission)
				}
				if !strings.HasSuffix(string(one.data), "\r\n"+body) || strings.Contains(string(one.data), "[PEC") || strings.Contains(string(one.data), "journal") {
					t.Errorf("handed on:\n%s", one.data)
				}
			}
		})
	}
}

// Reports of one message for different recipients: the later one sends to those alone whom no other named.
func TestJournalReports_Parts(t *testing.T) {
	original := strings.Replace(outlook, "<"+other+">", "<"+other+">, <b@pec.example.net>, <c@pec.example.net>", 1) + "\r\nx\r\n"
	s, _, b := journalServer(t, nil)
	c := newClient(t, s.pipes(t).dial(1))
	c.greet()
	for _, lines := range [][]string{{"To: " + other, "To: b@pec.example.net"}, {"To: b@pec.example.net", "To: c@pec.example.net"}, {"To: c@pec.example.net", "To: " + other}} {
		if got := c.message("", reported(personal, original, lines...), journalTo); !strings.HasPrefix(got, "250 ") {
			t.Fatal(got)
		}
	}
	s.stop(t)
	var to []string
	for _, one := range s.store.all() {
		to = append(to, strings.Join(one.Recipients, " "))
	}
	if !slices.Equal(to, []string{other + " b@pec.example.net", "c@pec.example.net"}) || len(b.refused)+len(b.dropped) > 0 {
		t.Errorf("sent to %q, refused %q, dropped %q", to, b.refused, b.dropped)
	}
}

// TestG14_JournalReports: who may not report, and what is no report, sends nothing.
func TestG14_JournalReports(t *testing.T) {
	report := reported(personal, outlook+"\r\nx\r\n", "To: "+other)
	for _, tc := range []struct {
		name, from, message string
		to                  []string
		change              func(*policy.Policy)
		want                string
	}{
		{name: "a relay without journal", message: report, to: []string{journalTo}, change: func(p *policy.Policy) { p.Relays[0].Journal = false }, want: "250 "},
		{name: "to another address", message: report, to: []string{"x@pecgate.example.org"}, want: "250 "},
		{name: "to others, too", message: report, to: []string{journalTo, "x@pecgate.example.org"}, want: "250 "},
		{name: "without its mark", message: strings.Replace(report, "X-MS-Journal-Report:\r\n", "", 1), to: []string{journalTo}, want: "250 "},
		{name: "from a person", from: personal, message: report, to: []string{journalTo}, want: "550"},
	} {
		s, a, b := journalServer(t, tc.change)
		c := newClient(t, s.pipes(t).dial(1))
		c.greet()
		if got := c.message(tc.from, tc.message, tc.to...); !strings.HasPrefix(got, tc.want) {
			t.Errorf("%s: %q", tc.name, got)
		}
		s.stop(t)
		if n := len(s.store.all()); n > 0 || len(b.refused) > 0 || len(b.dropped) > 0 || tc.from == "" && a.count() != 1 {
			t.Errorf("%s: %d sent, %d filed, refused %q, dropped %q", tc.name, n, a.count(), b.refused, b.dropped)
		}
	}
	// Exchange's own address is as good as none.
	s, _, _ := journalServer(t, nil)
	c := newClient(t, s.pipes(t).dial(1))
	c.greet()
	if got := c.message("", strings.ReplaceAll(report, "1@EX01", "2@EX01"), "Journal@gateway.example.org"); !strings.HasPrefix(got, "250 ") {
		t.Error(got)
	}
	if got := c.message("MicrosoftExchange329e71ec88ae4615bbc36ab6ce41109e@example.org", report, journalTo); !strings.HasPrefix(got, "250 ") {
		t.Error(got)
	}
	s.stop(t)
	if n := len(s.store.all()); n != 2 {
		t.Errorf("%d sent", n)
	}
}

// Only our own troubles are answered with an error, and a temporary one: Exchange keeps the report.
func TestJournalReports_OurTroubles(t *testing.T) {
	good, refused := reported(personal, outlook+"\r\nx\r\n", "To: "+other), reported("anna@example.org", outlook+"\r\nx\r\n", "To: "+other)
	for i, tc := range []struct {
		message string
		spoil   func(*memory, *journalBook)
		want    string
	}{
		{good, func(m *memory, _ *journalBook) { m.fail = fmt.Errorf("x: %w", ErrNoSpace) }, "452"},
		{good, func(m *memory, _ *journalBook) { m.fail = errors.New("broken") }, "451"},
		{good, func(_ *memory, b *journalBook) { b.fail = errors.New("broken") }, "451"},
		{refused, func(_ *memory, b *journalBook) { b.fail = ErrNoSpace }, "452"},
	} {
		s, a, b := journalServer(t, nil)
		tc.spoil(s.store, b)
		c := newClient(t, s.pipes(t).dial(1))
		c.greet()
		if got := c.message("", tc.message, journalTo); !strings.HasPrefix(got, tc.want) {
			t.Errorf("%d: %q", i, got)
		}
		s.stop(t)
		if a.count() > 0 || a.began != a.ended || len(s.store.all()) > 0 {
			t.Errorf("%d: %d filed, %d sent", i, a.count(), len(s.store.all()))
		}
	}
}

// The samples go in as they are: each is sent, refused or filed, and no PIN stands in what is shown.
func TestJournalReports_Samples(t *testing.T) {
	files, err := filepath.Glob(groupware + "*journal*.eml")
	if err != nil || len(files) < 6 {
		t.Fatal(len(files), err)
	}
	for _, name := range files {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		s, a, b := journalServer(t, func(p *policy.Policy) {
			p.Users[0].Email, p.Users[1].Email = "mario.rossi@comune.example", "anna.verdi@comune.example"
			p.Relays[0].Mailbox = "ufficio@pec.example.org"
		})
		c := newClient(t, s.pipes(t).dial(1))
		c.greet()
		if got := c.message("", string(raw), journalTo); !strings.HasPrefix(got, "250 ") {
			t.Errorf("%s: %q", name, got)
		}
		s.stop(t)
		got := fmt.Sprintf("%d sent, %d filed, refused %q, dropped %q", len(s.store.all()), a.count(), b.refused, b.dropped)
		want := map[string]string{
			"exchange-journal.eml":        `1 sent, 0 filed, refused [], dropped []`,
			"journal-redirected.eml":      `1 sent, 0 filed, refused [], dropped []`,
			"journal-m365.eml":            `0 sent, 0 filed, refused ["anna.verdi@comune.example senders-differ"], dropped []`,
			"journal-base64.eml":          `0 sent, 0 filed, refused [], dropped ["null-sender"]`,
			"journal-hostile-subject.eml": `0 sent, 1 filed, refused [], dropped []`,
			"journal-two-copies.eml":      `0 sent, 1 filed, refused [], dropped []`,
		}[filepath.Base(name)]
		if got != want {
			t.Errorf("%s: %s", filepath.Base(name), got)
		}
	}
}

func TestJournalRefusalShowsNoPIN(t *testing.T) {
	got := string(shownOf([]byte("From: a@x.example\r\nSubject: [PIN:914273] x\r\nTo: =?utf-8?B?W1BJTjo5MTQyNzNd?= <b@x.example>\r\nCc: citt\xc3\xa0 <c@x.example>\r\nX-A: b\r\nDate: x\r\n\r\n")))
	if got != "From: a@x.example\r\nDate: x\r\n" {
		t.Errorf("%q", got)
	}
}
