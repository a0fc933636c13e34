package pec

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"unicode/utf8"

	"pecgate/mailbox/mime"
)

// FuzzClassify feeds whole messages to Read. Seeds are the stored samples, which
// one CA signed: fuzzing runs in several processes, and keys made on the spot
// differ from one to the next.
func FuzzClassify(f *testing.F) {
	for _, dir := range []string{goldenDir, hostileDir} {
		for _, msg := range storedFiles(f, dir) {
			f.Add(msg)
		}
	}
	f.Add(unsigned())
	f.Add(opaque("signed-data"))
	rd := stored(f)
	f.Fuzz(func(t *testing.T, msg []byte) {
		rep := readWith(t, rd, msg)
		if rep.Kind == "" || rep.Verdict == "" || rep.Recipients == nil || strings.ContainsAny(rep.Reason, "\r\n") || !utf8.ValidString(rep.Reason) {
			t.Fatalf("%+v", rep)
		}
		// Every seed that can be believed has this identifier.
		if rep.Believed() && (rep.Identifier != pecID || rep.Relayed) {
			t.Fatalf("believed: %+v", rep)
		}
		if rep.Relayed && rep.Verdict == NotSigned || rep.Verdict != Valid && rep.Reason == "" {
			t.Fatalf("%+v", rep)
		}
		if in := rep.Inner; in != nil && (in.Off < 0 || in.Size < 0 || in.Off+in.Size > int64(len(msg))) {
			t.Fatalf("inner %+v of %d bytes", in, len(msg))
		}
		// A Report that cannot be stored would stop the mailbox at this message.
		b, err := json.Marshal(rep)
		var again Report
		if err != nil || len(rep.Reason) > 4000 || json.Unmarshal(b, &again) != nil || again.Believed() != rep.Believed() {
			t.Fatalf("%v, %+v", err, rep)
		}
	})
}

// FuzzNormalizeID: SameID holds both ways, and for an id and its unescaped form.
func FuzzNormalizeID(f *testing.F) {
	for _, s := range []string{ourID, "&lt;a@b&gt;", "%3Ca%40b%3E", "<a@\r\n b>", "&amp;lt;", "&Lt;", "%zz", "<>"} {
		f.Add(s, ourID)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		if SameID(a, b) != SameID(b, a) || (NormalizeID(a) != "") != SameID(a, a) {
			t.Fatalf("%q, %q", a, b)
		}
		if n := NormalizeID(a); NormalizeID(n) != n || IDKey(IDKey(a)) != IDKey(a) {
			t.Fatalf("%q, then %q", n, NormalizeID(n))
		}
		if plain, ok := UnescapeID(a); ok && !SameID(a, plain) {
			t.Fatalf("%q is not the same as %q", a, plain)
		}
	})
}

func FuzzDaticert(f *testing.F) {
	for _, c := range hostileXML() {
		if len(c.xml) < 64<<10 {
			f.Add([]byte(c.xml))
		}
	}
	for _, s := range twelve() {
		f.Add([]byte(s.l.xml))
	}
	for _, dir := range []string{goldenDir, hostileDir} {
		for _, msg := range storedFiles(f, dir) {
			r := bytes.NewReader(msg)
			m := must(openMessage(r, int64(len(msg)), must(mime.Parse(r, int64(len(msg)), mime.Limits{}))))
			if mixed := m.mixed(); mixed != nil {
				for i := range mixed.Children {
					if named(&mixed.Children[i], "daticert.xml") {
						f.Add(must(io.ReadAll(mime.Content(r, &mixed.Children[i]))))
					}
				}
			}
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := parseDaticert(b)
		if (d == nil) == (err == nil) {
			t.Fatal("both or neither")
		}
		if err != nil {
			if len(err.Error()) > 1000 || strings.ContainsAny(err.Error(), "\r\n") {
				t.Fatalf("error %q", err)
			}
			return
		}
		if d.tipo == "" || d.identificativo == "" || len(d.destinatari) == 0 || d.data.IsZero() && !bytes.Contains(b, []byte("0001")) {
			t.Fatalf("%+v", d)
		}
		_ = d.contradiction()
	})
}
