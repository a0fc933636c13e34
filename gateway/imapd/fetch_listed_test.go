package imapd

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/emersion/go-imap/v2" // what FETCH asks for

	"pecgate/mailbox"
	"pecgate/mailbox/mime"
)

// TestFetchHeaderFields: the fields that are stored with the entry are those of
// the message, byte for byte, and so are those that are read from it.
func TestFetchHeaderFields(t *testing.T) {
	h := newHouse(t)
	c := h.login("mario/" + protocollo)
	raws := samples(t)
	raws["fields of all kinds"] = []byte("subject: uno\r\nReceived: x\r\nSUBJECT : due\r\n\ttre\r\nno field\r\n with more\r\nTo:\r\nX-TUID: 5\r\nX-Any: y\nCc: a@b.it\n\nSubject: body\r\n")
	raws["brackets"] = []byte("To: ((((((((((\r\n\r\n")
	lists := [][]string{{"Subject"}, {"X-TUID", "to", "CC"}, {"From", "To", "Cc", "Bcc", "Subject", "Date", "Message-ID", "Priority", "X-Priority", "References", "Newsgroups", "In-Reply-To", "Content-Type", "Reply-To"}, {"Subject", "X-Any"}, {"Received"}}
	for name, raw := range raws {
		uid := h.deliver(shared1(mailbox.RoleInbox), string(raw), mailbox.Filing{})
		c.ok("SELECT INBOX")
		for _, names := range lists {
			section := "HEADER.FIELDS ("
			for i, n := range names {
				if i > 0 {
					section += " "
				}
				section += n
			}
			section += ")"
			for _, items := range c.fetch(fmt.Sprintf("UID FETCH %d (UID BODY.PEEK[%s] BODY.PEEK[%s]<2.7> BINARY.PEEK[])", uid, section, section)) {
				for _, alone := range c.fetch(fmt.Sprintf("UID FETCH %d (UID BODY.PEEK[%s]<2.7> BODY.PEEK[%s])", uid, section, section)) {
					want := bytes.ReplaceAll(mime.SelectFields(items["BINARY[]"].str, names, false), []byte{0}, nil)
					if got := alone["BODY["+section+"]"].str; !bytes.Equal(got, want) {
						t.Errorf("%s, %s: %q instead of %q", name, section, got, want)
					}
					part := want[min(2, len(want)):min(9, len(want))]
					if got := alone["BODY["+section+"]<2>"].str; !bytes.Equal(got, part) {
						t.Errorf("%s, %s in part: %q instead of %q", name, section, got, part)
					}
					for k, v := range alone {
						if !bytes.Equal(v.str, items[k].str) || v.atom != items[k].atom {
							t.Errorf("%s: %s differs when more is asked for", name, k)
						}
					}
				}
			}
		}
	}
	all := c.fetch("FETCH 1:* (UID FLAGS BODY.PEEK[HEADER.FIELDS (Subject)])")
	if len(all) < len(raws) {
		t.Fatalf("%d messages answered", len(all))
	}
	for n, items := range all {
		one := c.fetch(fmt.Sprintf("FETCH %d (UID FLAGS BODY.PEEK[HEADER.FIELDS (Subject)])", n))[n]
		if fmt.Sprintf("%+v", one) != fmt.Sprintf("%+v", items) {
			t.Errorf("message %d: %+v instead of %+v", n, items, one)
		}
	}
}

// TestFetchListed: many lines from memory, and one from the records, are the same.
func TestFetchListed(t *testing.T) {
	h := newHouse(t)
	for range 25 {
		h.deliver(shared1(mailbox.RoleInbox), plainMail, mailbox.Filing{})
	}
	c := h.login("mario/" + protocollo)
	other := h.login("mario/" + protocollo)
	c.ok("SELECT INBOX")
	other.ok("SELECT INBOX")
	const items = "(UID FLAGS INTERNALDATE RFC822.SIZE)"
	for _, change := range []string{"NOOP", "STORE 2:5 +FLAGS (\\Seen lavoro)", "STORE 3 -FLAGS (\\Seen)", "STORE 1,7 +FLAGS (\\Deleted)", "EXPUNGE", "STORE 1:* +FLAGS (\\Flagged)"} {
		other.ok(change)
		c.ok("NOOP")
		all := c.fetch("FETCH 1:* " + items)
		if len(all) < 20 {
			t.Fatalf("%d messages", len(all))
		}
		for n, line := range all {
			for k, v := range c.fetch(fmt.Sprintf("FETCH %d (UID FLAGS INTERNALDATE RFC822.SIZE BODYSTRUCTURE)", n))[n] {
				if k != "BODYSTRUCTURE" && fmt.Sprintf("%+v", v) != fmt.Sprintf("%+v", line[k]) {
					t.Errorf("after %s, message %d: %s is %+v instead of %+v", change, n, k, line[k], v)
				}
			}
		}
	}
}

// TestFieldsAreSeparated: what a stranger wrote last before the next field.
func TestFieldsAreSeparated(t *testing.T) {
	section := func(name string, partial *imap.SectionPartial) *imap.FetchItemBodySection {
		return &imap.FetchItemBodySection{Specifier: imap.PartSpecifierHeader, HeaderFields: []string{name}, Partial: partial, Peek: true}
	}
	f := &fetcher{out: []byte("* 1 FETCH (")}
	f.labels = []string{"", ""}
	f.o = &imap.FetchOptions{BodySection: []*imap.FetchItemBodySection{section("To", &imap.SectionPartial{Size: 5}), section("From", nil)}}
	f.appendFields(&mailbox.Entry{Fields: []byte("To: ((\r\nFrom: x\r\n\r\n")})
	if got, want := string(f.out), "* 1 FETCH (BODY[HEADER.FIELDS (To)]<0> {5}\r\nTo: ( BODY[HEADER.FIELDS (From)] {11}\r\nFrom: x\r\n\r\n"; got != want {
		t.Errorf("%q instead of %q", got, want)
	}
}
