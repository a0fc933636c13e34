package providersim

import (
	"fmt"
	"strings"
	"testing"
)

func TestSplit(t *testing.T) {
	for _, c := range []struct {
		raw        string
		names      string
		head, body int
	}{
		{"A: 1\r\nB: 2\r\n\tx\r\n\r\nbody", "[A B]", 16, 18},
		{"A: 1\nB: 2\n\nbody", "[A B]", 10, 11},
		{"A: 1\r\nno colon\r\n\r\nbody", "[A]", 6, 6},
		{"A : 1\r\n: empty\r\n\r\n", "[A]", 7, 7},
		{"A: 1", "[A]", 4, 4},
		{"\r\nbody", "[]", 0, 2},
		{"", "[]", 0, 0},
		{"From x y: z\r\n\r\n", "[]", 0, 0},
	} {
		fields, head, body := split([]byte(c.raw))
		names := []string{}
		for _, f := range fields {
			names = append(names, f.name)
		}
		if got := fmt.Sprint(names); got != c.names || head != c.head || body != c.body {
			t.Errorf("%q: %s %d %d", c.raw, got, head, body)
		}
	}
}

func TestAddresses(t *testing.T) {
	for list, want := range map[string]string{
		"a@x.it":                              "[a@x.it]",
		"A <a@x.it>, \"B, C\" <b@x.it>":       "[a@x.it b@x.it]",
		"a@x.it (Mario, detto <x@y>), b@x.it": "[a@x.it b@x.it]",
		"undisclosed-recipients:;":            "[]",
		"Gruppo: a@x.it, B <b@x.it>; c@x.it":  "[a@x.it b@x.it c@x.it]",
		"":                                    "[]",
		"\"Per conto di: c@x.it\" <posta@pec.y.it>": "[posta@pec.y.it]",
		"\"a\\\"b\" <c@x.it>":                       "[c@x.it]",
		"Nome senza indirizzo":                      "[Nome senza indirizzo]",
	} {
		if got := fmt.Sprint(addresses(list)); got != want {
			t.Errorf("%q: %s, want %s", list, got, want)
		}
	}
	for address, want := range map[string]bool{
		"a@x.it": true, "a.b+c@x-y.it": true, "a@x": true, "": false, "a": false, "@x": false, "a@": false, "a..b@x": false, "a@x..it": false,
		"\"a b\"@x": false, "a@[1.2.3.4]": false, "a@x.it> NOTIFY=NEVER": false, "à@x.it": false,
	} {
		if compliant(address) != want {
			t.Errorf("compliant(%q) is %v", address, !want)
		}
	}
}

// Folded text comes back by unfolding, and no line is long.
func TestTextField(t *testing.T) {
	for _, text := range []string{
		"breve", "", strings.Repeat("parola ", 40) + "fine", strings.Repeat("x", 300), strings.Repeat("x", 2000), "due  spazi   e " + strings.Repeat("poi ", 30),
		"perché – " + strings.Repeat("lunghissimo ", 30), "=?utf-8?q?finto?=", "a\tb",
	} {
		out := textField("Subject", "CONSEGNA: ", text)
		fields, _, _ := split([]byte(out + "\r\n"))
		if len(fields) != 1 {
			t.Fatalf("%q: %d fields", out, len(fields))
		}
		want := strings.TrimSpace("CONSEGNA: " + strings.ReplaceAll(text, "\t", " "))
		if got := strings.TrimSpace(decodeText(fields[0].value())); got != want {
			t.Errorf("%q, want %q", got, want)
		}
		for _, line := range strings.Split(out, "\r\n") {
			if len(line) > 950 {
				t.Errorf("line of %d bytes", len(line))
			}
		}
	}
}

func FuzzOriginal(f *testing.F) {
	for _, s := range []string{ordinary(bob), "", "\r\n", "a", "A: 1", "Message-ID: <1@x>\r\n\r\n", "Message-ID:\n", "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: a/b; name=x\r\n\r\n--b--"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		full := postacert(raw, "id@x")
		_, headerEnd, _ := split(raw)
		if !strings.HasSuffix(string(full), string(raw[headerEnd:])) {
			t.Fatalf("body changed: %q to %q", raw, full)
		}
		if id := "Message-ID: <id@x>\r\n"; strings.Count(string(full), id) < 1 {
			t.Fatalf("no identifier in %q", full)
		}
		formalFault(raw, alice, []string{bob}, 0)
		readFacts(raw, alice).receiptFor(bob)
		brief(full)
		for _, path := range [][]int{nil, {1}, {1, 1}, {2, 1, 1}} {
			locate(raw, path)
		}
	})
}
