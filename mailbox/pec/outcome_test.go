package pec

import (
	"strings"
	"testing"
)

func TestErrorCode(t *testing.T) {
	for in, want := range map[string]string{
		"5.1.1 - Gestore - indirizzo non valido": "5.1.1",
		"5.1.1, Gestore":                         "5.1.1",
		"5.1.1-Gestore":                          "5.1.1",
		"5.1.1":                                  "5.1.1",
		"4.4.7. Gestore":                         "4.4.7",
		"5.2.2 - Gestore - casella piena":        "5.2.2",
		"[5.4.1] Gestore":                        "5.4.1",
		"(5.4.1) Gestore":                        "5.4.1",
		"#5.4.1 Gestore":                         "5.4.1",
		"5.1":                                    "",
		"5.1.1.1 - x":                            "",
		"1.2.3 - x":                              "",
		"3.2.3 - x":                              "",
		"9999.1.1":                               "",
		"indirizzo 5.1.1":                        "",
		"":                                       "",
	} {
		if got := errorCode(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// TestFinal: only a code tells the 24 h notice, and only if nothing in the text
// speaks of 12 hours; when in doubt a notice is not final.
func TestFinal(t *testing.T) {
	for esteso, want := range map[string]bool{
		"5.4.1 - Gestore - nessuna consegna entro 24 ore": true,
		"5.4.1":             true,
		"5.4.1, Gestore":    true,
		"[5.4.1] - Gestore": true,
		"5.4.1 - Gestore - il messaggio non e' stato consegnato nelle ventiquattro ore successive al suo invio": true,
		"5.4.1 - Gestore 12 S.p.A. - nessuna consegna entro 24 ore":                                             true,
		"5.4.1 - mx12h4.gestore.example - nessuna consegna":                                                     true,
		"5.4.1 - Gestore - nessuna consegna nelle prime 12 ore":                                                 false,
		"5.4.1 - Gestore - nessuna consegna nelle prime dodici ore":                                             false,
		"5.4.1 - Gestore - nessuna consegna in 12h":                                                             false,
		"5.4.1 - Gestore - not delivered within 12 hours":                                                       false,
		"5.4.1 - Gestore - not delivered within twelve hours":                                                   false,
		"4.4.1 - Gestore - 24 ore":                                                                              false,
		"5.4.10 - Gestore - 24 ore":                                                                             false,
		"5.4.7 - Gestore - 24 ore":                                                                              false,
		"nessuna consegna entro 24 ore":                                                                         false,
		"":                                                                                                      false,
	} {
		d := daticert{tipo: "preavviso-errore-consegna", erroreEsteso: esteso}
		if got := d.final(); got != want {
			t.Errorf("%q: %v", esteso, got)
		}
		d.tipo = "errore-consegna"
		if d.final() {
			t.Errorf("%q: an error is called final", esteso)
		}
	}
}

// TestContradiction: XML is inconsistent only if it contradicts itself. What
// providers leave out or add does not count.
func TestContradiction(t *testing.T) {
	full := daticert{consegna: theirBox, hasConsegna: true, ricezione: []string{theirBox}}
	for _, c := range []struct {
		tipo, errore, esteso string
		bare, fault          bool
	}{
		{tipo: "posta-certificata", errore: "nessuno"},
		{tipo: "posta-certificata", errore: "altro", fault: true},
		{tipo: "accettazione", errore: "nessuno"},
		{tipo: "accettazione", errore: "nessuno", esteso: "2.0.0 - Gestore - accettato"},
		{tipo: "accettazione", errore: "nessuno", esteso: "nessun errore"},
		{tipo: "accettazione", errore: "nessuno", esteso: "5.1.1 - Gestore", fault: true},
		{tipo: "avvenuta-consegna", errore: "nessuno"},
		{tipo: "avvenuta-consegna", errore: "nessuno", bare: true, fault: true},
		{tipo: "avvenuta-consegna", errore: "nessuno", esteso: "4.4.1", fault: true},
		{tipo: "non-accettazione", errore: "altro"},
		{tipo: "non-accettazione", errore: "mai-visto"},
		{tipo: "non-accettazione", errore: "nessuno", fault: true},
		{tipo: "errore-consegna", errore: "altro", esteso: "5.1.1 - Gestore"},
		{tipo: "errore-consegna", errore: "no-dest"},
		{tipo: "errore-consegna", errore: "nessuno", esteso: "5.1.1 - Gestore", fault: true},
		{tipo: "errore-consegna", errore: "altro", bare: true, fault: true},
		{tipo: "mancata-consegna", errore: "altro"},
		{tipo: "preavviso-errore-consegna", errore: "nessuno"},
		{tipo: "preavviso-errore-consegna", errore: "altro"},
		{tipo: "preavviso-errore-consegna", errore: "altro", bare: true, fault: true},
		{tipo: "rilevazione-virus", errore: "nessuno"},
		{tipo: "rilevazione-virus", errore: "virus", bare: true, fault: true},
		{tipo: "presa-in-carico", errore: "nessuno"},
		{tipo: "presa-in-carico", errore: "nessuno", bare: true, fault: true},
		{tipo: "mai-vista", errore: "mai-visto", bare: true},
	} {
		d := full
		if c.bare {
			d = daticert{}
		}
		d.tipo, d.errore, d.erroreEsteso = c.tipo, c.errore, c.esteso
		if why := d.contradiction(); (why != "") != c.fault {
			t.Errorf("%+v: %q", c, why)
		}
	}
}

func TestNormalizeID(t *testing.T) {
	const want = "pg.01J1ZK8T@pec.alfa.example"
	for _, in := range []string{
		want, "<" + want + ">", "  <" + want + ">\r\n", "&lt;" + want + "&gt;", "<pg.01J1\r\n ZK8T@pec.alfa.example>",
		"<pg.01J1ZK8T@pec.alfa.example\r\n\t>", "<\r\n " + want + ">", "< " + want + " >", "&#60;" + want + "&#62;",
		"&#x3c;" + want + "&#x3E;", "\n\t\t\t" + want + "\n\t\t", "&lt;pg.01J1ZK8T@pec.alfa\n  .example&gt;",
	} {
		if got := NormalizeID(in); got != want {
			t.Errorf("%q: %q", in, got)
		}
		if !SameID(in, strings.ToUpper(want)) {
			t.Errorf("%q is not the same as its upper case", in)
		}
	}
	for in, want := range map[string]string{
		"": "", "<>": "", " ": "", "<": "<", "<<a@b>>": "a@b", "a&amp;lt;b@c": "a<b@c", "<a@b": "<a@b", "a&b@c": "a&b@c",
		"a&amp;b@c": "a&b@c", "%3Ca@b%3E": "%3Ca@b%3E", "a+b@c": "a+b@c",
	} {
		if got := NormalizeID(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestSameID(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"<a@b.example>", "A@B.example", true},
		{"&lt;a@b.example&gt;", "<a@b.example>", true},
		// Percent escapes, as a last resort and once.
		{"%3Ca%40b.example%3E", "<a@b.example>", true},
		{"<a%2Bc@b.example>", "a+c@b.example", true},
		{"a+c@b.example", "<a%2bc@b.example>", true},
		{"<a%2Fc@b.example>", "<a%2fc@b.example>", true},
		{"%253Ca@b.example%253E", "<a@b.example>", false},
		{"a+c@b.example", "a c@b.example", false},
		{"a%c@b.example", "a%c@b.example", true},
		{"a%zz@b.example", "a%41@b.example", false},
		{"a%0d%0a@b.example", "a@b.example", false},
		{"a%00@b.example", "a@b.example", false},
		{"a%ff@b.example", "a\xff@b.example", false},
		{"%", "%", true},
		{"%25", "%", true},
		{"%3C%3E", "", false},
		{"", "<>", false},
		{"", "", false},
		{"a@b", "a@c", false},
		// Unicode folding must not make two ids one.
		{"k@x", "\u212a@x", false},
		{"k@x", "%E2%84%AA@x", false},
	} {
		if got := SameID(c.a, c.b); got != c.same {
			t.Errorf("%q, %q: %v", c.a, c.b, got)
		}
		if SameID(c.a, c.b) != SameID(c.b, c.a) {
			t.Errorf("%q, %q: not the same both ways", c.a, c.b)
		}
	}
	if SameAddress("k@x", "\u212a@x") || SameAddress("", "<>") || !SameAddress(" <A@b.example>", "a@B.example ") {
		t.Error("SameAddress")
	}
	if plain, ok := UnescapeID("%3Ca%40b%3E"); !ok || plain != "a@b" {
		t.Errorf("UnescapeID: %q, %v", plain, ok)
	}
	if plain, ok := UnescapeID("<a@b>"); ok || plain != "" {
		t.Errorf("UnescapeID of a plain one: %q, %v", plain, ok)
	}
}
