package pec

import (
	"bytes"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"testing"

	"pecgate/mailbox/mime"
)

const (
	briefNested   = "Subject: inoltrato\r\n\r\nvecchio testo\r\n"
	briefTextPart = "Content-Type: text/plain; charset=utf-8\r\n\r\nIn allegato."
	briefHead     = "From: " + ourBox + "\r\nMessage-ID: " + ourID + "\r\nTo: " + theirBox + "\r\n" +
		"Content-Type: multipart/mixed; boundary=\"limite\"\r\n\r\n"
)

var (
	briefPDF      = []byte(strings.Repeat("%PDF di prova ", 40))
	briefOriginal = briefHead +
		"--limite\r\n" + briefTextPart + "\r\n" +
		"--limite\r\nContent-Type: application/pdf; name=\"atto.pdf\"\r\nContent-Transfer-Encoding: base64\r\n\r\n" + wrap64(briefPDF) +
		"--limite\r\nContent-Type: message/rfc822\r\n\r\n" + briefNested + "\r\n" +
		"--limite--\r\n"
)

// briefForm is what a provider makes of briefOriginal in a brief receipt; body is
// the encoded attachment, hashed chooses the bytes that are hashed of it.
func briefForm(body string, hashed func(encoded []byte) []byte) string {
	hash := func(b []byte) string { s := sha1.Sum(b); return hex.EncodeToString(s[:]) }
	return briefHead +
		"--limite\r\n" + briefTextPart + "\r\n" +
		"--limite\r\nContent-Type: text/plain; name=\"atto.pdf.hash\"\r\n\r\n" + strings.ToUpper(hash(hashed([]byte(body)))) + "\r\n" +
		"--limite\r\nContent-Type: text/plain; name=\"inoltrato.eml.hash\"\r\n\r\n" + hash([]byte(briefNested)) + "\r\n" +
		"--limite--\r\n"
}

func compareBrief(t *testing.T, own, form string) Comparison {
	t.Helper()
	outer, in := provided(form, nil)
	ix, err := mime.Parse(strings.NewReader(own), int64(len(own)), mime.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := CompareBrief(t.Context(), strings.NewReader(own), int64(len(own)), ix, bytes.NewReader(outer), in)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestBriefHashes goes through the bytes that a provider may have hashed.
func TestBriefHashes(t *testing.T) {
	trim := func(b []byte) []byte { return bytes.TrimRight(b, "\r\n") }
	for by, hashed := range map[string]func([]byte) []byte{
		"encoded":                      trim, // the last line end is that of the boundary
		"encoded, with final line end": func(b []byte) []byte { return b },
		"decoded":                      func([]byte) []byte { return briefPDF },
		"encoded, with LF":             func(b []byte) []byte { return bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n")) },
		"encoded, with LF, without final line end": func(b []byte) []byte {
			return bytes.ReplaceAll(trim(b), []byte("\r\n"), []byte("\n"))
		},
		"whole part": func(b []byte) []byte {
			return append([]byte("Content-Type: application/pdf; name=\"atto.pdf\"\r\nContent-Transfer-Encoding: base64\r\n\r\n"), trim(b)...)
		},
	} {
		t.Run(by, func(t *testing.T) {
			c := compareBrief(t, briefOriginal, briefForm(wrap64(briefPDF), hashed))
			want := by
			if by != "encoded" && by != "encoded, with final line end" {
				want = ""
			}
			if c.Likeness != LikeSame || len(c.Differences) > 0 || !strings.Contains(c.BriefBy, by) || !strings.Contains(c.BriefBy, want) {
				t.Errorf("%+v", c)
			}
		})
	}
	// An attachment in another encoding.
	text := strings.Repeat("testo, testo. ", 20)
	plain := strings.Replace(briefOriginal, "base64\r\n\r\n"+wrap64(briefPDF), "7bit\r\n\r\n"+text+"\r\n", 1)
	for by, hashed := range map[string]func([]byte) []byte{
		"encoded anew":                      func([]byte) []byte { return trim([]byte(wrap64([]byte(text)))) },
		"encoded anew, with final line end": func([]byte) []byte { return []byte(wrap64([]byte(text))) },
	} {
		if c := compareBrief(t, plain, briefForm("", hashed)); c.Likeness != LikeSame || c.BriefBy != "encoded, "+by {
			t.Errorf("%s: %+v", by, c)
		}
	}
	// An attachment that ends with an empty line of its own.
	own := strings.Replace(briefOriginal, wrap64(briefPDF), wrap64(briefPDF)+"\r\n", 1)
	c := compareBrief(t, own, briefForm(wrap64(briefPDF), trim))
	if c.Likeness != LikeSame || !strings.Contains(c.BriefBy, "encoded, without final line end") {
		t.Errorf("%+v", c)
	}
}

func TestCompareBrief(t *testing.T) {
	asIs := func(b []byte) []byte { return b }
	form := briefForm(wrap64(briefPDF), asIs)
	replace := func(s, old, with string) string {
		if !strings.Contains(s, old) {
			panic(old)
		}
		return strings.Replace(s, old, with, 1)
	}
	single := "From: " + ourBox + "\r\nMessage-ID: " + ourID + "\r\nContent-Type: application/pdf; name=atto.pdf\r\n\r\n%PDF"
	sum := sha1.Sum([]byte("%PDF"))
	signed := "Message-ID: " + ourID + "\r\nContent-Type: multipart/signed; boundary=s\r\n\r\n--s\r\n" + briefTextPart + "\r\n--s\r\n" +
		"Content-Type: application/pkcs7-signature; name=smime.p7s\r\nContent-Transfer-Encoding: base64\r\n\r\nMIIB\r\n--s--\r\n"
	lone := "Message-ID: " + ourID + "\r\nContent-Type: application/pkcs7-mime; name=smime.p7m\r\n\r\nMIIB\r\n"
	hashText := "Message-ID: " + ourID + "\r\nContent-Type: text/plain; name=x.hash\r\n\r\n" + strings.Repeat("ab", 20) + "\r\n"
	for name, c := range map[string]struct {
		own, form string
		like      Likeness
		why       string
	}{
		"brief":                    {briefOriginal, form, LikeSame, ""},
		"another boundary":         {briefOriginal, strings.ReplaceAll(form, "limite", "altro"), LikeSame, ""},
		"complete all the same":    {briefOriginal, briefOriginal, LikeSame, ""},
		"another attachment":       {replace(briefOriginal, wrap64(briefPDF)[:8], "AAAAAAAA"), form, LikeBody, "(atto.pdf): the hash is of other bytes"},
		"another nested message":   {replace(briefOriginal, "vecchio", "nuovo"), form, LikeBody, "part 3: the hash"},
		"another text":             {briefOriginal, replace(form, "In allegato", "In Allegato"), LikeBody, "part 1 is another"},
		"text encoded anew":        {briefOriginal, replace(form, "utf-8\r\n\r\nIn allegato.", "utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nIn =61llegato."), LikeSame, "encoded as quoted-printable"},
		"a part less":              {briefOriginal, replace(form, "--limite\r\nContent-Type: text/plain; name=\"atto.pdf.hash\"", "--limite--\r\n"), LikeBody, "part 2 (atto.pdf) is missing"},
		"a part more":              {briefOriginal, replace(form, "--limite--", "--limite\r\nContent-Type: text/html; name=x.html\r\n\r\nx\r\n--limite--"), LikeBody, "a part was added (x.html)"},
		"another header":           {briefOriginal, replace(form, "To: ", "X-New: 1\r\nTo: "), LikeHeader, "x-new was added"},
		"nothing but a file":       {single, replace(replace(single, "application/pdf; name=atto.pdf", "text/plain; name=atto.pdf.hash"), "%PDF", hex.EncodeToString(sum[:])), LikeSame, ""},
		"signed by the sender":     {signed, signed, LikeSame, ""},
		"encrypted by the sender":  {lone, lone, LikeSame, ""},
		"a hash of the sender's":   {hashText, hashText, LikeSame, ""},
		"another hash of theirs":   {hashText, replace(hashText, "abab", "cdcd"), LikeBody, "other bytes"},
		"another kind of tree":     {briefOriginal, replace(form, "multipart/mixed", "multipart/related"), LikeBody, "multipart/related"},
		"no tree at all":           {briefOriginal, replace(form, "multipart/mixed; boundary=\"limite\"", "text/plain"), LikeBody, "the content is another"},
		"the sender's without one": {strings.Replace(briefOriginal, "multipart/mixed; boundary=\"limite\"", "application/octet-stream", 1), form, LikeUnknown, "cannot be compared"},
	} {
		t.Run(name, func(t *testing.T) {
			got := compareBrief(t, c.own, c.form)
			why := strings.Join(got.Differences, "; ")
			if got.Likeness != c.like || !strings.Contains(why, c.why) || (why == "") != (c.why == "") {
				t.Errorf("%s: %s", got.Likeness, why)
			}
		})
	}
}

func TestCompareBriefUnknown(t *testing.T) {
	ix, err := mime.Parse(strings.NewReader(briefOriginal), int64(len(briefOriginal)), mime.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	own := strings.NewReader(briefOriginal)
	c, err := CompareBrief(t.Context(), own, int64(len(briefOriginal)), ix, own, &Inner{Encoding: "base64"})
	if err != nil || c.Likeness != LikeUnknown || len(c.Differences) != 1 {
		t.Errorf("%+v %v", c, err)
	}
	outer, in := provided(briefForm(wrap64(briefPDF), func(b []byte) []byte { return b }), nil)
	_, err = CompareBrief(t.Context(), failAfter{own, 200}, int64(len(briefOriginal)), ix, bytes.NewReader(outer), in)
	if !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("error %v", err)
	}
}

// failAfter fails for reads that begin behind an offset.
type failAfter struct {
	r  io.ReaderAt
	at int64
}

func (f failAfter) ReadAt(p []byte, off int64) (int, error) {
	if off > f.at {
		return 0, io.ErrClosedPipe
	}
	return f.r.ReadAt(p, off)
}
