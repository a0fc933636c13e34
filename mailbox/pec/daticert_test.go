package pec

import (
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/text/encoding/charmap"
)

// hostileXML are daticert.xml files of reliability id F5, each with what its
// error must name; empty where the file must be read.
func hostileXML() []struct{ name, xml, err string } {
	good := deliveryXML
	repl := func(old, new string) string { return strings.Replace(good, old, new, 1) }
	after := func(s string) string { return strings.TrimRight(good, "\r\n") + s }
	const decl = `<?xml version="1.0" encoding="UTF-8"?>`
	return []struct{ name, xml, err string }{
		{"as made", good, ""},
		{"no declaration", repl(decl, ""), ""},
		{"byte order mark", "\xef\xbb\xbf" + good, ""},
		{"noise after the end", after("\r\n \r\n\t"), ""},
		{"comment after the end", after("<!-- fine -->"), ""},
		{"stylesheet and DOCTYPE", repl(decl, decl+"\n<?xml-stylesheet href=\"http://esempio.example/x.xsl\"?>\n<!DOCTYPE postacert PUBLIC \"-//X//PEC\" \"http://esempio.example/postacert.dtd\">"), ""},
		{"empty risposte", repl("<risposte>"+ourBox+"</risposte>", "<risposte/>"), ""},
		{"no oggetto", repl("<oggetto>Diffida n. 7/2026 – sollecito</oggetto>", ""), ""},
		{"other order", repl(`<ricevuta tipo="completa"/>`+consegna, consegna+`<ricevuta tipo="completa"/>`), ""},
		{"an element of tomorrow", repl("<dati>", "<dati><prova><giorno>1</giorno>x</prova>"), ""},
		{"entity declared in the DOCTYPE", repl(decl, decl+`<!DOCTYPE postacert [<!ENTITY x SYSTEM "file:///etc/passwd">]>`), ""},
		{"entity used", strings.Replace(repl(decl, decl+`<!DOCTYPE postacert [<!ENTITY x SYSTEM "file:///etc/passwd">]>`), "Diffida", "&x;", 1), "not well-formed"},
		{"entity bomb", strings.Replace(repl(decl, decl+`<!DOCTYPE postacert [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]>`), "Diffida", "&b;", 1), "not well-formed"},
		{"million nested", strings.Repeat("<a>", 1_000_000/4), "root element is a"},
		{"nested below a known one", repl("<dati>", "<dati>"+strings.Repeat("<a>", 100)), "too deeply"},
		{"million flat", repl("<dati>", "<dati>"+strings.Repeat("<a/>", 100_000)), "too many elements"},
		{"million attributes", repl("<dati>", "<dati "+strings.Repeat("a='' ", 10)+">"), "twice"},
		{"50 MB", repl("Diffida", strings.Repeat("x", 50<<20)), "1 MiB"},
		{"second root", after(good[len(decl):]), "second root"},
		{"text after the root", after("fine"), "outside of the root"},
		{"text before the root", "fine" + good, "outside of the root"},
		{"text between elements", repl("<dati>", "<dati>fine"), "text in dati"},
		{"other root", "<certificato/>", "root element is certificato"},
		{"nothing", "", "no root"},
		{"only a comment", "<!-- x -->", "no root"},
		{"cut off", good[:len(good)/2], "not well-formed"},
		{"wrong namespace", repl("<postacert ", `<postacert xmlns="urn:x" `), "namespace"},
		{"prefixed", strings.NewReplacer("<postacert", `<p:postacert xmlns:p="urn:x"`, "</postacert", "</p:postacert").Replace(good), "namespace"},
		{"prefixed within", strings.NewReplacer("<msgid>", "<p:msgid>", "</msgid>", "</p:msgid>").Replace(good), "namespace"},
		{"mittente twice", repl("</mittente>", "</mittente><mittente>x@y.example</mittente>"), "mittente twice"},
		{"msgid twice", repl("</msgid>", "</msgid><msgid>altro</msgid>"), "msgid twice"},
		{"dati twice", repl("</dati>", "</dati><dati></dati>"), "dati twice"},
		{"data twice", repl("</data>", `</data><data zona="+0200"/>`), "data twice"},
		{"intestazione missing", repl("<intestazione>", "<x>") + "", "not well-formed"},
		{"mittente missing", repl("<mittente>"+ourBox+"</mittente>", ""), "mittente is missing"},
		{"identificativo missing", repl("<identificativo>"+pecID+"</identificativo>", ""), "identificativo is missing"},
		{"identificativo empty", repl(pecID, " "), "identificativo is empty"},
		{"data missing", repl(`<data zona="+0200"><giorno>03/07/2026</giorno><ora>09:15:42</ora></data>`, ""), "data is missing"},
		{"no destinatari", strings.NewReplacer(`<destinatari tipo="certificato">`+theirBox+`</destinatari>`, "", `<destinatari tipo="esterno">info@gamma.example</destinatari>`, "").Replace(good), "destinatari is missing"},
		{"destinatari empty", repl(`">`+theirBox, `">`), "destinatari is empty"},
		{"destinatari of unknown tipo", repl(`"certificato"`, `"boh"`), "destinatari with tipo"},
		{"ricevuta of unknown tipo", repl(`"completa"`, `"boh"`), "ricevuta with tipo"},
		{"no tipo", repl(`tipo="avvenuta-consegna" `, ""), "without tipo"},
		{"tipo twice", repl(`errore="nessuno"`, `tipo="accettazione"`), "attribute tipo twice"},
		{"no zona", repl(` zona="+0200"`, ""), "data with zona"},
		{"zona with a colon", repl("+0200", "+02:00"), ""},
		{"zona west", repl("+0200", "-0330"), ""},
		{"zona as a word", repl("+0200", "CEST"), "data with zona"},
		{"zona as Z", repl("+0200", "Z"), "data with zona"},
		{"zona without sign", repl("+0200", "0200"), "data with zona"},
		{"zona of 15 hours", repl("+0200", "+1500"), "data with zona"},
		{"zona of 99 minutes", repl("+0200", "+0199"), "data with zona"},
		{"a blank before the end of ricevuta", repl(`<ricevuta tipo="completa"/>`, `<ricevuta tipo="completa" />`), ""},
		{"ricevuta of two tags", repl(`<ricevuta tipo="completa"/>`, `<ricevuta tipo="completa"> </ricevuta>`), ""},
		{"text in ricevuta", repl(`<ricevuta tipo="completa"/>`, `<ricevuta tipo="completa">x</ricevuta>`), "text in ricevuta"},
		{"ricevuta twice", repl(`<ricevuta tipo="completa"/>`, `<ricevuta tipo="completa"/><ricevuta tipo="breve"/>`), "ricevuta twice"},
		{"attributes of tomorrow", strings.NewReplacer("<dati>", `<dati versione="2">`, "<mittente>", `<mittente tipo='x'>`).Replace(good), ""},
		{"a schema named", repl("<postacert ", `<postacert xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:noNamespaceSchemaLocation="http://gestore.example/x.xsd" `), ""},
		{"CDATA", repl("<mittente>"+ourBox, "<mittente><![CDATA["+ourBox+"]]>"), ""},
		{"values on lines of their own", strings.NewReplacer("<mittente>", "<mittente>\r\n\t", "</mittente>", "\r\n  </mittente>", "<identificativo>", "<identificativo>\n", "</identificativo>", "\n</identificativo>").Replace(good), ""},
		{"windows-1252", strings.Replace(repl("UTF-8", "windows-1252"), "–", "\x96", 1), ""},
		{"ISO-8859-15", strings.Replace(repl("UTF-8", "ISO-8859-15"), "–", "\xa4", 1), ""},
		{"UTF-16 with its mark", "\xfe\xff\x00<\x00?\x00x\x00m\x00l", "UTF-16"},
		{"UTF-16 without its mark", "<\x00?\x00x\x00m\x00l\x00", "UTF-16"},
		{"consegna before ricevuta, and dati first", func() string {
			i, j, k := strings.Index(good, "<intestazione>"), strings.Index(good, "<dati>"), strings.Index(good, "</postacert>")
			return good[:i] + good[j:k] + good[i:j] + good[k:]
		}(), ""},
		{"impossible date", repl("03/07/2026", "31/02/2026"), "data is"},
		{"an hour of one digit", repl("09:15:42", "9:15:42"), ""},
		{"ora without seconds", repl("09:15:42", "09:15"), "data is"},
		{"date the other way round", repl("03/07/2026", "2026-07-03"), "data is"},
		{"year 1", repl("03/07/2026", "01/01/0001"), "data is"},
		{"year 10000 in UTC", strings.Replace(repl("03/07/2026", "31/12/9999"), "+0200", "-1200", 1), "data is"},
		{"id of 2,000 bytes", repl(pecID, strings.Repeat("x", 2000)), "too long"},
		{"subject of 500,000 bytes", repl("Diffida", strings.Repeat("è", 250_000)), ""},
		{"element inside of text", repl(theirBox+"</consegna>", "<b>"+theirBox+"</b></consegna>"), "inside consegna"},
		{"element at a wrong place", repl("<dati>", "<dati><mittente>x@y.example</mittente>"), "inside dati"},
		{"consegna hidden below an unknown one", repl(consegna, "<x>"+consegna+"</x>"), ""},
		{"UTF-16", repl("UTF-8", "UTF-16"), "encoding"},
		{"unknown encoding", repl("UTF-8", "x-boh"), "encoding"},
		{"declaration twice", repl(decl, `<?xml version="1.0" encoding="iso-8859-1"?><?xml version="1.0" encoding="iso-8859-1"?>`), "second XML declaration"},
		{"declaration late", repl("<dati>", `<dati><?xml version="1.0" encoding="iso-8859-1"?>`), "second XML declaration"},
		{"not UTF-8", repl("Diffida", "\xff\xfe"), "not well-formed"},
		{"control characters", repl("Diffida", "\x00\x07"), "not well-formed"},
	}
}

// TestF5_HostileDaticert: exactly one of each required element or the receipt
// is unverifiable; nothing outside of the bytes is looked at. The parser has no
// means to open or to connect: it imports neither os nor net.
func TestF5_HostileDaticert(t *testing.T) {
	rd := testReader(t)
	for _, c := range hostileXML() {
		t.Run(c.name, func(t *testing.T) {
			d, err := parseDaticert([]byte(c.xml))
			if c.err == "" {
				if err != nil {
					t.Fatal(err)
				}
				if d.identificativo != pecID || d.mittente != ourBox || len(d.destinatari) != 2 {
					t.Errorf("%+v", d)
				}
			} else if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Fatalf("error %v, want %q in it", err, c.err)
			}
			if c.err == "" || c.xml == "" {
				return
			}
			rep := readWith(t, rd, letter{xml: c.xml}.build())
			if rep.Verdict != Unverifiable || rep.Believed() || !strings.Contains(rep.Reason, "daticert: ") {
				t.Errorf("%s, %s", rep.Verdict, rep.Reason)
			}
		})
	}
}

// TestF5_NoWayOut: no file of this package imports what opens files or
// connections, so neither a DOCTYPE nor a certificate's URLs can make it.
func TestF5_NoWayOut(t *testing.T) {
	for _, name := range append(must(filepath.Glob("*.go")), must(filepath.Glob("cms/*.go"))...) {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f := must(parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly))
		for _, i := range f.Imports {
			switch path := must(strconv.Unquote(i.Path.Value)); {
			case path == "os", path == "net", strings.HasPrefix(path, "os/"), strings.HasPrefix(path, "net/"),
				path == "syscall", strings.HasPrefix(path, "pecgate/") && path != "pecgate/mailbox/mime" &&
					path != "pecgate/mailbox/pec/cms" && path != "pecgate/mailbox/planted": // planted is empty in what is shipped
				t.Errorf("%s imports %s", name, path)
			}
		}
	}
}

// TestF5_Encoding: ISO-8859-1 is read.
func TestF5_Encoding(t *testing.T) {
	latin, err := charmap.ISO8859_1.NewEncoder().String(strings.NewReplacer("UTF-8", "ISO-8859-1", "–", "è").Replace(deliveryXML))
	if err != nil {
		t.Fatal(err)
	}
	rep := read(t, letter{xml: latin}.build())
	if rep.Subject != "Diffida n. 7/2026 è sollecito" || !rep.Believed() {
		t.Errorf("%q, %s", rep.Subject, rep.Reason)
	}
}

func TestFromAddress(t *testing.T) {
	for in, want := range map[string]string{
		alfa:             alfa,
		"<" + alfa + ">": alfa,
		`"Per conto di: a@b.example" <` + alfa + ">":     alfa,
		`"Per conto di: \"x\" <y@z>"  <` + alfa + "> ":   alfa,
		"Per conto di (a, b; c) <" + alfa + "> (PEC)":    alfa,
		alfa + " (posta, certificata)":                   alfa,
		"=?utf-8?q?Per_conto_di?= <" + alfa + ">":        alfa,
		"Mario <" + alfa + ">, x@y":                      "",
		"x@y, " + alfa:                                   "",
		"PEC: " + alfa + ";":                             "",
		"<" + alfa + "> <x@y>":                           "",
		"<" + alfa + "> x@y":                             "",
		alfa + " x@y":                                    "",
		`"posta-certificata"@pec.gestore-alfa.example`:   "",
		`<"posta-certificata"@pec.gestore-alfa.example>`: "",
		"<@relay:" + alfa + ">":                          "",
		"<" + alfa:                                       "",
		`"` + alfa:                                       "",
		"(" + alfa:                                       "",
		"<> " + alfa:                                     "",
		"posta-certificata@":                             "",
		"@pec.gestore-alfa.example":                      "",
		"a@b@c":                                          "",
		"a..b@c.example":                                 "",
		"":                                               "",
		strings.Repeat("(", 100_000):                     "",
	} {
		got, err := fromAddress(in)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%.80q: %q, %v", in, got, err)
		}
	}
}
