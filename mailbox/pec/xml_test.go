package pec

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

// xmlEvents is what a document says, one line for each tag, texts joined.
func xmlEvents(s string) (string, error) {
	r := xmlReader{s: s, decode: func(_, rest string) (string, error) { return rest, nil }}
	var out strings.Builder
	for range 1 << 20 {
		t, err := r.next()
		if errors.Is(err, io.EOF) {
			return out.String(), nil
		}
		if err != nil {
			return "", err
		}
		switch t.kind {
		case xmlStart:
			fmt.Fprintf(&out, "\n<%s", t.name)
			for _, a := range t.attrs {
				fmt.Fprintf(&out, " %s=%q", a.name, a.value)
			}
			out.WriteByte('\n')
		case xmlEnd:
			fmt.Fprintf(&out, "\n>%s\n", t.name)
		case xmlText:
			out.WriteString(strings.ReplaceAll(t.text, "\n", "~"))
		}
	}
	return "", errors.New("endless")
}

// theirEvents is the same by encoding/xml.
func theirEvents(s string) (string, error) {
	same := func(_ string, in io.Reader) (io.Reader, error) { return in, nil }
	whole := xml.NewDecoder(strings.NewReader(s)) // checks that tags match
	whole.CharsetReader = same
	raw := xml.NewDecoder(strings.NewReader(s)) // leaves the prefixes
	raw.CharsetReader = same
	var out strings.Builder
	name := func(n xml.Name) string {
		if n.Space != "" {
			return n.Space + ":" + n.Local
		}
		return n.Local
	}
	for {
		if _, err := whole.Token(); err != nil && !errors.Is(err, io.EOF) {
			return "", err
		}
		tok, err := raw.RawToken()
		if errors.Is(err, io.EOF) {
			return out.String(), nil
		}
		if err != nil {
			return "", err
		}
		switch t := tok.(type) {
		case xml.StartElement:
			fmt.Fprintf(&out, "\n<%s", name(t.Name))
			for _, a := range t.Attr {
				fmt.Fprintf(&out, " %s=%q", name(a.Name), a.Value)
			}
			out.WriteByte('\n')
		case xml.EndElement:
			fmt.Fprintf(&out, "\n>%s\n", name(t.Name))
		case xml.CharData:
			out.WriteString(strings.ReplaceAll(string(t), "\n", "~"))
		}
	}
}

// xmlForms are documents that are well-formed, and that are not.
func xmlForms() map[string]bool {
	return map[string]bool{
		`<a/>`: true, `<a></a>`: true, "<a\n b = 'c'\t/>": true, `<a b="1" c='"'>&lt;&amp;&gt;&apos;&quot;</a>`: true,
		`<a>&#65;&#x42;&#13;</a>`: true, "<a>x\r\ny\rz\n</a >": true, `<a><![CDATA[<b>&]]]></a>`: true,
		`<!-- - --><a/><!-- > -->`: true, `<?pi a="b"?><a/><?pi?>`: true, `<!DOCTYPE a [<!ENTITY b "c>"><!-- ' -->]><a/>`: true,
		"\n<?xml version='1.0' encoding='UTF-8'?><a/>": true, `<a:b xmlns:a="c"/>`: true, `<a>è–€</a>`: true, ``: true, ` `: true,
		`<a>`: false, `</a>`: false, `<a></b>`: false, `<a><b></a></b>`: false, `<a b/>`: false, `<a b=c/>`: false,
		`<a b="<"/>`: false, `<a b="1/>`: false, `<a>&x;</a>`: false, `<a>&</a>`: false, `<a>&#0;</a>`: false, `<a>&#xd800;</a>`: false,
		`<a>&#99999999999;</a>`: false, `<a>]]></a>`: false, "<a>\x01</a>": false, "<a>\xff</a>": false, `<a><![CDATA[</a>`: false,
		`<!-- -- --><a/>`: false, `<!-- <a/>`: false, `<? ?><a/>`: false, `<?xml version="1.1"?><a/>`: false, `<a/><?xml version="1.0"?>`: false,
		`<?xml version="1.0" encoding="UTF-8" standalone="yes"?><a/>`: true, `<?xml xmversion="1.1"?><a/>`: false, `<?xml standalone="perhaps"?><a/>`: false,
		`<!ELEMENT a><a/>`: false, `<a/><!DOCTYPE a>`: false, `<!DOCTYPE a [<a/>`: false, `< a/>`: false, `<1/>`: false, `<a b="1"c="2"/>`: false,
		`<a / >`: false, `<a:b:c/>`: false, `<è/>`: false, "<a>\x00</a>": false,
	}
}

// TestXML: what is well-formed is read as encoding/xml reads it, and nothing else.
func TestXML(t *testing.T) {
	for s, good := range xmlForms() {
		got, err := xmlEvents(s)
		if (err == nil) != good {
			t.Errorf("%q: %v", s, err)
		}
		if want, theirs := theirEvents(s); good && (theirs != nil || got != want) {
			t.Errorf("%q: %q, encoding/xml %q, %v", s, got, want, theirs)
		}
	}
	many := strings.Repeat(" a='1'", 17)
	if _, err := xmlEvents("<a" + many + "/>"); err == nil {
		t.Error("17 attributes")
	}
}

// FuzzXML: whatever is accepted, encoding/xml accepts and splits in the same way.
func FuzzXML(f *testing.F) {
	for s := range xmlForms() {
		f.Add(s)
	}
	for _, c := range hostileXML() {
		if len(c.xml) < 10_000 {
			f.Add(c.xml)
		}
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := xmlEvents(s)
		if err != nil {
			if len(err.Error()) > 500 {
				t.Fatalf("error %q", err)
			}
			return
		}
		want, err := theirEvents(s)
		if err != nil || got != want {
			t.Fatalf("%q\nencoding/xml %q, %v", got, want, err)
		}
	})
}
