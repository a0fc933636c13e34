package imapd

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pecgate/mailbox"
)

// refused is how a FETCH ends that has left out what a literal cannot hold.
const refused = "NO [CANNOT] Un messaggio contiene byte NUL"

// D7: a message with NUL is listed like any other and read whole by BINARY; a
// plain literal never carries the byte, nor another in its place.
func TestD7_MessagesWithNUL(t *testing.T) {
	h := newHouse(t)
	c := h.login("mario/" + protocollo)
	raws := map[string][]byte{}
	for name, raw := range samples(t) {
		if bytes.IndexByte(raw, 0) >= 0 {
			raws[name] = raw
		}
	}
	if _, ok := raws["nul-in-header-and-body.eml"]; !ok || len(raws) < 3 {
		t.Fatalf("only %d samples with NUL", len(raws))
	}
	for name, size := range map[string]int{"just a block": outSize, "above a block": outSize + 1, "many blocks": 5*outSize + 7} {
		raw := bytes.Repeat([]byte("0123456789abcdef"), size/16+1)[:size]
		copy(raw, "Subject: x\r\n\r\n")
		raw[size-1] = 0
		raws[name] = raw
	}
	for name, raw := range raws {
		uid := h.deliver(shared1(mailbox.RoleInbox), string(raw), mailbox.Filing{})
		c.ok("SELECT INBOX")
		one := func(items string) (map[string]value, string) {
			t.Helper()
			out, answer := c.fetchAny(fmt.Sprintf("UID FETCH %d %s", uid, items))
			for _, got := range out {
				return got, answer
			}
			return nil, answer
		}
		got, answer := one("(FLAGS RFC822.SIZE ENVELOPE BODYSTRUCTURE BODY.PEEK[HEADER.FIELDS (Subject Date)])")
		if len(got) != 6 || !strings.HasPrefix(answer, "OK") {
			t.Errorf("%s is not listed: %v, %s", name, got, answer)
		}
		got, answer = one("(FLAGS RFC822.SIZE BODY.PEEK[])")
		if len(got) != 3 || got["RFC822.SIZE"].atom != fmt.Sprint(len(raw)) || !strings.HasPrefix(answer, refused) {
			t.Errorf("%s: %v, %s", name, got, answer)
		}
		got, answer = one("(BINARY.SIZE[] BODY.PEEK[] BINARY.PEEK[])")
		if !bytes.Equal(got["BINARY[]"].str, raw) || got["BINARY.SIZE[]"].atom != fmt.Sprint(len(raw)) || !strings.HasPrefix(answer, refused) {
			t.Errorf("%s: BINARY[] differs, %s", name, answer)
		}
		// Ranges are what they are asked for: those without a NUL are given out.
		step := max(len(raw)/9, 1)
		for off := 0; off < len(raw); off += step {
			part := raw[off:min(off+step, len(raw))]
			got, answer := one(fmt.Sprintf("(BODY.PEEK[]<%d.%d>)", off, step))
			given, there := got[fmt.Sprintf("BODY[]<%d>", off)]
			if nul := bytes.IndexByte(part, 0) >= 0; nul == there || strings.HasPrefix(answer, refused) != nul || there && !bytes.Equal(given.str, part) {
				t.Errorf("%s from %d: %q, %s", name, off, given.str, answer)
			}
		}
	}
}

// D7: one message with NUL keeps nobody from the others, and what was not given
// out stays unread.
func TestD7_NULKeepsNobodyFromTheOthers(t *testing.T) {
	h := newHouse(t)
	nul := "Subject: in mezzo\r\n\r\nprima\x00dopo\r\n"
	for _, raw := range []string{plainMail, nul, mixedMail} {
		h.deliver(shared1(mailbox.RoleInbox), raw, mailbox.Filing{})
	}
	c, other := h.login("mario/"+protocollo), h.login("mario/"+protocollo)
	c.ok("SELECT INBOX")
	other.ok("SELECT INBOX")
	got, answer := c.fetchAny("FETCH 1:* (BODY.PEEK[])")
	if len(got) != 2 || string(got[1]["BODY[]"].str) != plainMail || string(got[3]["BODY[]"].str) != mixedMail || !strings.HasPrefix(answer, refused) {
		t.Errorf("%v, %s", got, answer)
	}
	got, answer = c.fetchAny("UID FETCH 1:* (FLAGS BODY[TEXT] BODY[HEADER])")
	if len(got) != 3 || !strings.HasPrefix(answer, refused) {
		t.Errorf("%v, %s", got, answer)
	}
	if items := got[2]; string(items["BODY[HEADER]"].str) != "Subject: in mezzo\r\n\r\n" || len(items) != 3 || len(items["FLAGS"].list) != 0 {
		t.Errorf("of the message with NUL came %v", items)
	}
	for _, c := range []*client{c, other} {
		for n, items := range c.fetch("FETCH 1:* (FLAGS)") {
			if seen := len(items["FLAGS"].list) > 0; seen != (n != 2) {
				t.Errorf("message %d has the flags %v", n, items["FLAGS"].list)
			}
		}
	}
	// What reads it all marks it.
	if got := c.fetch("FETCH 2 BINARY[]"); string(got[2]["BINARY[]"].str) != nul {
		t.Errorf("%v", got)
	}
	if flags := c.fetch("FETCH 2 FLAGS")[2]["FLAGS"].list; len(flags) != 1 {
		t.Errorf("flags %v after reading", flags)
	}
}

// D7: 8-bit headers and broken MIME are listed and readable, and their bytes are
// those that came.
func TestD7_BrokenMessagesAreReadable(t *testing.T) {
	list, err := filepath.Glob("../../testdata/hostile/mime/*.eml")
	if err != nil || len(list) == 0 {
		t.Fatalf("no hostile messages: %v", err)
	}
	h := newHouse(t)
	for _, f := range list {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		h.deliver(shared1(mailbox.RoleInbox), string(raw), mailbox.Filing{})
	}
	c := h.login("mario/" + protocollo)
	c.ok("SELECT INBOX")
	listed := c.fetch("FETCH 1:* (UID FLAGS RFC822.SIZE ENVELOPE BODYSTRUCTURE BODY.PEEK[HEADER.FIELDS (From Subject)])")
	whole := c.fetch("FETCH 1:* (BINARY.PEEK[])")
	for i, f := range list {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if len(listed[i+1]) != 6 || !bytes.Equal(whole[i+1]["BINARY[]"].str, raw) {
			t.Errorf("%s: %d items listed; %d bytes of %d", filepath.Base(f), len(listed[i+1]), len(whole[i+1]["BINARY[]"].str), len(raw))
		}
	}
}
