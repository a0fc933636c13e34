package imapd

import (
	"testing"
	"unicode/utf8"
)

func TestNameCoding(t *testing.T) {
	for plain, coded := range map[string]string{
		"INBOX":    "INBOX",
		"Qualità":  "Qualit&AOA-",
		"a&b":      "a&-b",
		"台北/日本":    "&U,BTFw-/&ZeVnLA-",
		"😀":        "&2D3eAA-",
		"però è &": "per&API- &AOg- &-",
	} {
		if got := encodeName(plain); got != coded {
			t.Errorf("encodeName(%q) = %q, want %q", plain, got, coded)
		}
		if got, ok := decodeName(coded); !ok || got != plain {
			t.Errorf("decodeName(%q) = %q, %v", coded, got, ok)
		}
		if got, ok := decodeName(plain); plain != "a&b" && plain != "però è &" && (!ok || got != plain) {
			t.Errorf("raw: decodeName(%q) = %q, %v", plain, got, ok)
		}
	}
	// A second spelling of a name, or none at all (D2).
	for _, bad := range []string{"&", "&AOA", "&AC8-", "&AGE-", "&2D0-", "&AOA-&AOA-x&", "&AAA-", "&AA-", "a\x00", "\xff", "&AOB-"} {
		if got, ok := decodeName(bad); ok {
			t.Errorf("decodeName(%q) = %q, want a refusal", bad, got)
		}
	}
}

func FuzzNameCoding(f *testing.F) {
	for _, s := range []string{"Qualit&AOA-", "&-", "&", "Qualità", "&2D3eAA-", "&AAA-"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name, ok := decodeName(s)
		if !ok {
			return
		}
		if !utf8.ValidString(name) {
			t.Fatalf("%q decodes to %q", s, name)
		}
		if back, ok := decodeName(encodeName(name)); !ok || back != name {
			t.Fatalf("%q comes back as %q", name, back)
		}
	})
}
