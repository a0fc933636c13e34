package providersim

import (
	"fmt"
	"strings"
	"testing"

	"github.com/emersion/go-imap/v2" // client types
)

// outline writes a structure in one line: numbers, types, names.
func outline(bs imap.BodyStructure) string {
	var b strings.Builder
	bs.Walk(func(path []int, p imap.BodyStructure) bool {
		fmt.Fprint(&b, path, p.MediaType(), " ")
		if s, ok := p.(*imap.BodyStructureSinglePart); ok && s.MessageRFC822 != nil {
			fmt.Fprintf(&b, "(%s: %s) ", s.MessageRFC822.Envelope.MessageID, outline(s.MessageRFC822.BodyStructure))
		}
		return true
	})
	return strings.TrimSpace(b.String())
}

// What a mail client asks for to show a PEC message, in both engine styles.
func TestEnvelopeAndStructure(t *testing.T) {
	for style, want := range map[Style]string{
		StyleOld: "[]multipart/signed [1]multipart/mixed [1 1]text/plain [1 2]application/xml [1 3]message/rfc822 (ID: [1]text/plain) [2]application/x-pkcs7-signature",
		StyleNew: "[]multipart/signed [1]multipart/mixed [1 1]multipart/alternative [1 1 1]text/plain [1 1 2]text/html [1 2]application/xml [1 3]message/rfc822 (ID: [1]text/plain) [2]application/pkcs7-signature",
	} {
		t.Run(style.String(), func(t *testing.T) {
			p := start(t, func(o *Options) { o.Style = style })
			submit(t, p, ordinary(alice, "Cc: "+bob), alice)
			c := imapLogin(t, p, nil)
			selectFolder(t, c, "INBOX", true)
			uid := one(t, p, Transport).UID
			list, err := c.Fetch(imap.UIDSetNum(imap.UID(uid)), &imap.FetchOptions{Envelope: true, BodyStructure: &imap.FetchItemBodyStructure{Extended: true}}).Collect()
			if err != nil || len(list) != 1 {
				t.Fatalf("%d messages, %v", len(list), err)
			}
			e := list[0].Envelope
			if e.Subject != "POSTA CERTIFICATA: Diffida n. 7" || len(e.From) != 1 || e.From[0].Name != "Per conto di: "+alice || e.From[0].Addr() != "posta-certificata@pec.gestore.example" ||
				len(e.Cc) != 1 || e.Cc[0].Addr() != bob || e.Date.IsZero() || !strings.HasSuffix(e.MessageID, "@pec.gestore.example") {
				t.Errorf("envelope %+v", e)
			}
			// The attached message bears the identifier of the envelope.
			if got := outline(list[0].BodyStructure); got != strings.ReplaceAll(want, "ID", e.MessageID) {
				t.Errorf("structure\n%s, want\n%s", got, want)
			}
			// Numbers lead to the parts: the XML under 1.2 is the one in the bytes.
			xml := fetchBodies(t, c, imap.UIDSetNum(imap.UID(uid)), &imap.FetchItemBodySection{Part: []int{1, 2}, Peek: true})
			if len(xml) != 1 || !strings.Contains(string(decode64(t, xml[0])), "<postacert") {
				t.Errorf("part 1.2: %.100q", xml)
			}
		})
	}
}

// Whatever lies in a mailbox, an answer comes and the connection lives on.
func TestStructureOfHostile(t *testing.T) {
	p := start(t, nil)
	nested := strings.Repeat("Content-Type: message/rfc822\r\n\r\n", 200)
	inject(t, p, "", "no header at all", "Content-Type: multipart/mixed; boundary=b\r\n\r\nno part", "Content-Type: multipart/mixed\r\n\r\n",
		"Content-Type: odd\r\n\r\nx", "Content-Type: /\r\n\r\nx", "Content-Type: text/\r\n\r\nx", nested+"x",
		"Content-Type: multipart/mixed; boundary=b\r\n\r\n"+strings.Repeat("--b\r\nContent-Type: message/rfc822\r\n\r\n\r\n", 2000)+"--b--\r\n",
		"From: \x00\"\r\nSubject: =?utf-8?b?AAAN?=\r\nMessage-ID: <\"\\\x01>\r\nContent-ID: \"\xff{5}\r\nContent-Disposition: a; filename=\"\xff\\\"{3}\"\r\n\r\n",
		"To: a@b@c, <>, \"x\" <@>, group:;\r\n\r\n")
	c := imapLogin(t, p, nil)
	selectFolder(t, c, "INBOX", true)
	for uid := imap.UID(1); uid <= 11; uid++ {
		list, err := c.Fetch(imap.UIDSetNum(uid), &imap.FetchOptions{UID: true, Envelope: true, BodyStructure: &imap.FetchItemBodyStructure{Extended: true}}).Collect()
		if err != nil || len(list) != 1 {
			t.Errorf("message %d: %d answers, %v", uid, len(list), err)
		}
	}
	if err := c.Noop().Wait(); err != nil {
		t.Error(err)
	}
}

func FuzzStructure(f *testing.F) {
	for _, s := range []string{"", "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n--b--", "Content-Type: message/rfc822\r\n\r\nFrom: a\r\n\r\n", "Content-Type: /plain\r\n\r\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		structureOf(raw).Walk(func(_ []int, p imap.BodyStructure) bool {
			// The library panics on these.
			switch p := p.(type) {
			case *imap.BodyStructureMultiPart:
				if len(p.Children) == 0 || p.Extended == nil {
					t.Fatalf("%+v", p)
				}
			case *imap.BodyStructureSinglePart:
				if p.Extended == nil || p.Type == "" || p.Subtype == "" {
					t.Fatalf("%+v", p)
				}
			}
			return true
		})
		envelopeOf(raw)
	})
}
