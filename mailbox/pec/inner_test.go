package pec

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"pecgate/mailbox/mime"
)

// innerOf finds the inner message of a signed part whose parts are given.
func innerOf(t testing.TB, kind Kind, lim mime.Limits, parts ...string) (*Inner, string) {
	t.Helper()
	mixed := letter{xml: "-", parts: parts}.signedPart()
	r := strings.NewReader(mixed)
	ix, err := mime.Parse(r, int64(len(mixed)), lim)
	if err != nil {
		t.Fatal(err)
	}
	in, err := findInner(&message{r: r, size: int64(len(mixed)), root: &ix.Root, claim: claim{kind: kind}}, &ix.Root)
	if err != nil {
		t.Fatal(err)
	}
	return in, mixed
}

func emlNamed(name, content string) string {
	return "Content-Type: message/rfc822; name=\"" + name + "\"\r\n\r\n" + content
}

func TestFindInner(t *testing.T) {
	const mail = "Subject: uno\r\n\r\ntesto\r\n"
	other := strings.Replace(mail, "uno", "due", 1)
	deep := "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" + eml(mail) + "\r\n--b--\r\n"
	b64 := "Content-Type: message/rfc822; name=\"postacert.eml\"\r\nContent-Transfer-Encoding: base64\r\n\r\n" +
		wrap64([]byte(mail))
	for name, c := range map[string]struct {
		kind    Kind
		parts   []string
		subject string // "-" for no inner message
		odd     string
		off     bool // stands nowhere as it is
	}{
		"ordinary":             {Transport, []string{eml(mail)}, "uno", "", false},
		"before daticert":      {Transport, []string{eml(mail), xmlPart(deliveryXML)}, "uno", "", false},
		"another case":         {Delivery, []string{emlNamed("PostaCert.EML", mail)}, "uno", "", false},
		"none":                 {Acceptance, nil, "-", "", false},
		"never deeper":         {Delivery, []string{deep}, "-", "", false},
		"never in a message":   {Delivery, []string{emlNamed("x.eml", "Content-Type: message/rfc822; name=postacert.eml\r\n\r\n"+mail)}, "", "not named", false},
		"two of them":          {Delivery, []string{eml(mail), eml(other)}, "uno", "2 of them", false},
		"beside another":       {Delivery, []string{emlNamed("x.eml", other), eml(mail)}, "uno", "", false},
		"without name":         {Delivery, []string{"Content-Type: message/rfc822\r\n\r\n" + mail}, "uno", "not named", false},
		"two without name":     {Delivery, []string{emlNamed("a", mail), emlNamed("b", other)}, "-", "", false},
		"anomaly without name": {Anomaly, []string{"Content-Type: message/rfc822\r\n\r\n" + mail}, "uno", "", false},
		"anomaly with two":     {Anomaly, []string{emlNamed("a", mail), emlNamed("b", other)}, "uno", "2 messages", false},
		"base64":               {Delivery, []string{b64}, "uno", "encoded as base64", true},
		"quoted-printable": {Delivery, []string{"Content-Type: message/rfc822; name=postacert.eml\r\n" +
			"Content-Transfer-Encoding: quoted-printable\r\n\r\nSubject: =75no\r\n\r\ntesto"}, "uno", "encoded as quoted-printable", true},
		"another type": {Delivery, []string{"Content-Type: text/plain; name=postacert.eml\r\n\r\n" + mail}, "uno", "is text/plain", false},
	} {
		t.Run(name, func(t *testing.T) {
			for _, lim := range []mime.Limits{{}, {Depth: 1}} { // as it is, and with the inner one as a blob
				in, all := innerOf(t, c.kind, lim, c.parts...)
				if c.subject == "-" {
					if in != nil {
						t.Fatalf("found %+v", in)
					}
					continue
				}
				if in == nil {
					t.Fatal("not found")
				}
				odd := strings.Join(in.odd, "; ")
				if in.Subject != c.subject || !strings.Contains(odd, c.odd) || (odd == "") != (c.odd == "") {
					t.Errorf("subject %q, odd %q", in.Subject, odd)
				}
				if (in.Encoding != "") != c.off {
					t.Errorf("encoding %q", in.Encoding)
				}
				if got := all[in.Off : in.Off+in.Size]; !c.off && c.subject == "uno" && got != mail {
					t.Errorf("the range holds %q", got)
				}
			}
		})
	}
}

func TestInnerFields(t *testing.T) {
	in, _ := innerOf(t, Delivery, mime.Limits{}, eml("Return-Path: <x@y>\r\n"+
		"From: \"Rossi, Mario\" <Mario@pec.alfa.example>\r\n"+
		"To: a@pec.beta.example, \"B\" <b@pec.beta.example>\r\nCc: c@pec.beta.example\r\n"+
		"Subject: =?utf-8?q?Citt=C3=A0?=\r\n =?utf-8?q?_nuova?=\r\n"+
		"Date: Fri, 3 Jul 2026 09:15:42 +0200 (CEST)\r\n"+
		"Message-ID:\r\n <"+pecID+">\r\n"+
		"X-Riferimento-Message-ID: <earlier@x>\r\nX-Riferimento-Message-ID: "+ourID+"\r\n\r\nx"))
	want := Inner{Off: in.Off, Size: in.Size, MessageID: "<" + pecID + ">", ClientID: ourID,
		From: "Mario@pec.alfa.example", To: 3, Subject: "Città nuova", Date: time.Date(2026, 7, 3, 7, 15, 42, 0, time.UTC)}
	if fmt.Sprintf("%+v", *in) != fmt.Sprintf("%+v", want) {
		t.Errorf("got  %+v\nwant %+v", *in, want)
	}
}

// TestInnerHeaderIsBounded reads headers of every length round the blocks they
// are read in, and one that has no end.
func TestInnerHeaderIsBounded(t *testing.T) {
	for _, size := range []int{0, 1, 2, 4090, 4094, 4095, 4096, 4097, 16383, 16384, 70000, maxInnerHeader - 20} {
		for _, end := range []string{"\r\n", "\n"} {
			head := strings.Repeat("X", max(0, size)) + ": 1" + end + end
			got, whole, err := readHead(strings.NewReader(head + "body" + end + end))
			if err != nil || !whole || string(got) != head {
				t.Fatalf("%d: %d bytes, whole %t: %v", size, len(got), whole, err)
			}
		}
	}
	got, whole, err := readHead(strings.NewReader(strings.Repeat("X-Long: 1\r\n", 1<<20)))
	if err != nil || whole || len(got) != maxInnerHeader {
		t.Errorf("%d bytes, whole %t: %v", len(got), whole, err)
	}
	in, _ := innerOf(t, Delivery, mime.Limits{}, eml("Subject: lungo\r\n"+strings.Repeat("X-Long: 1\r\n", 30_000)+"\r\n"))
	if in == nil || in.Subject != "lungo" || !strings.Contains(strings.Join(in.odd, ";"), "too long") {
		t.Errorf("%+v", in)
	}
}

func TestInnerNotes(t *testing.T) {
	d := func(ricevuta string) *daticert {
		return &daticert{identificativo: pecID, msgid: ourID, mittente: ourBox, oggetto: "Diffida n. 7/2026", ricevuta: ricevuta}
	}
	good := func() *Inner {
		return &Inner{MessageID: "<" + strings.ToUpper(pecID) + ">", ClientID: ourID, From: "UFFICIO@pec.alfa.example", Subject: "Diffida  n. 7/2026"}
	}
	with := func(change func(*Inner)) *Inner { in := good(); change(in); return in }
	for name, c := range map[string]struct {
		in   *Inner
		kind Kind
		d    *daticert
		want string
	}{
		"envelope":                   {good(), Transport, d(Complete), ""},
		"complete":                   {good(), Delivery, d(Complete), ""},
		"synthetic without":          {nil, Delivery, d(Synthetic), ""},
		"acceptance without":         {nil, Acceptance, d(""), ""},
		"acceptance with":            {good(), Acceptance, d(""), ""},
		"error with":                 {good(), DeliveryError, d(""), ""},
		"anomaly":                    {good(), Anomaly, nil, ""},
		"anomaly without":            {nil, Anomaly, nil, "missing"},
		"envelope without":           {nil, Transport, d(Complete), "missing"},
		"complete without":           {nil, Delivery, d(Complete), "missing"},
		"brief without":              {nil, Delivery, d(Brief), "missing"},
		"synthetic with":             {good(), Delivery, d(Synthetic), "has none"},
		"non-acceptance with":        {good(), NonAcceptance, d(""), "has none"},
		"virus with":                 {good(), VirusDetected, d(""), "has none"},
		"warning with":               {good(), DeliveryWarning, d(""), "has none"},
		"another identifier":         {with(func(in *Inner) { in.MessageID = "<x@y>" }), Delivery, d(Complete), "identificativo"},
		"no id":                      {with(func(in *Inner) { in.MessageID = "" }), Delivery, d(Complete), ""},
		"another msgid":              {with(func(in *Inner) { in.ClientID = "<x@y>" }), Delivery, d(Complete), "msgid"},
		"another author":             {with(func(in *Inner) { in.From = "x@y" }), Transport, d(Complete), "mittente"},
		"another subject":            {with(func(in *Inner) { in.Subject = "Invito" }), Transport, d(Complete), "oggetto"},
		"subject without its accent": {with(func(in *Inner) { in.Subject = "Diffida n. 7/2026 è" }), Transport, &daticert{identificativo: pecID, oggetto: "Diffida n. 7/2026 ?"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := strings.Join(c.in.notes(c.d, c.kind), "; ")
			if !strings.Contains(got, c.want) || (got == "") != (c.want == "") {
				t.Errorf("notes %q, want %q", got, c.want)
			}
		})
	}
}

// provided is what a provider makes of an original: other id, reference at the
// end of the header, in an envelope of its own.
func provided(original string, change func(inner string) string) (outer []byte, in *Inner) {
	head, body, _ := strings.Cut(original, "\r\n\r\n")
	var lines []string
	for _, l := range strings.Split(head, "\r\n") {
		if strings.HasPrefix(strings.ToLower(l), "message-id:") {
			l = l[:11] + " <" + pecID + ">"
		}
		lines = append(lines, l)
	}
	inner := strings.Join(lines, "\r\n") + "\r\nX-Riferimento-Message-ID: " + ourID + "\r\n\r\n" + body
	if change != nil {
		inner = change(inner)
	}
	before := "the outer message\r\n"
	found, err := readInner(strings.NewReader(before+inner+"after"), &mime.Part{
		BodyOff: int64(len(before)), BodyLen: int64(len(inner)), Type: "message", Subtype: "rfc822", Encoding: "7bit",
	})
	if err != nil {
		panic(err) // of a strings.Reader
	}
	return []byte(before + inner + "after"), found
}

const original = "From: " + ourBox + "\r\n" +
	"X-Riferimento-Message-ID: <an-earlier-one@x>\r\n" +
	"Message-Id: " + ourID + "\r\n" +
	"To: " + theirBox + "\r\n" +
	"Subject: =?utf-8?q?Citt=C3=A0?=\r\n" +
	"Content-Type: text/plain\r\n" +
	"\r\n" +
	"Si diffida.\r\n\r\n"

func TestOriginal(t *testing.T) {
	addedBy := "Received: from a by b;\r\n\tFri, 3 Jul 2026 09:15:42 +0200\r\nX-Namirial-Details: 1\r\nReceived: from c by a; x\r\n"
	for name, c := range map[string]struct {
		change  func(string) string
		want    string
		dropped string
		assumed string
	}{
		"complete": {nil, original, "X-Riferimento-Message-ID", "bytes are not known"},
		"trace on top": {func(s string) string { return addedBy + s }, "X-Namirial-Details: 1\r\n" + original,
			"Received Received X-Riferimento-Message-ID", "Received"},
		"Received further down stays": {func(s string) string { return strings.Replace(s, "To:", "Received: x\r\nTo:", 1) },
			strings.Replace(original, "To:", "Received: x\r\nTo:", 1), "X-Riferimento-Message-ID", "bytes"},
		"folded reference": {func(s string) string {
			return strings.Replace(s, "X-Riferimento-Message-ID: "+ourID, "X-Riferimento-Message-ID:\r\n "+ourID, 1)
		}, strings.Replace(original, "Message-Id: "+ourID, "Message-Id:\r\n "+ourID, 1), "X-Riferimento-Message-ID", "bytes"},
		"no header end": {func(s string) string { s, _, _ = strings.Cut(s, "\r\n\r\n"); return s },
			strings.TrimSuffix(strings.Split(original, "\r\n\r\n")[0], "\r\n") + "\r\n", "X-Riferimento-Message-ID", "bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			outer, in := provided(original, c.change)
			o, err := Original(bytes.NewReader(outer), in)
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			if n, err := o.WriteTo(&got); err != nil || n != o.Size || got.String() != c.want {
				t.Errorf("%d of %d bytes, %v:\n%s", n, o.Size, err, got.String())
			}
			if d := strings.Join(o.Dropped, " "); d != c.dropped {
				t.Errorf("dropped %s", d)
			}
			if a := strings.Join(o.Assumed, "; "); !strings.Contains(a, c.assumed) {
				t.Errorf("assumed %s", a)
			}
			if o.MessageID != ourID {
				t.Errorf("id %s", o.MessageID)
			}
			if len(o.Added) > 0 {
				w := o.WithoutAdded()
				if b, err := io.ReadAll(w.Reader()); err != nil || string(b) != original {
					t.Errorf("without added: %v\n%s", err, b)
				}
			}
			// Every cut of a read gives the same bytes.
			for off := int64(0); off < o.Size; off += 7 {
				p := make([]byte, 11)
				n, err := o.ReadAt(p, off)
				if err != nil && err != io.EOF || !strings.HasPrefix(c.want[off:], string(p[:n])) || n < len(p) && off+int64(n) != o.Size {
					t.Fatalf("read at %d: %q %v", off, p[:n], err)
				}
			}
		})
	}
}

// TestOriginalWithoutID: a client that gave no Message-ID has no reference
// inside, and the provider's id is not its own.
func TestOriginalWithoutID(t *testing.T) {
	outer, in := provided("From: a@b\r\nMessage-ID: x\r\n\r\ntesto", func(s string) string {
		return strings.Replace(s, "X-Riferimento-Message-ID: "+ourID+"\r\n", "", 1)
	})
	o, err := Original(bytes.NewReader(outer), in)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(o.Reader())
	if err != nil || string(b) != "From: a@b\r\n\r\ntesto" || o.MessageID != "" || len(o.Assumed) == 0 {
		t.Errorf("%q %v %+v", b, err, o)
	}
	for _, in := range []*Inner{nil, {Encoding: "base64"}} {
		if _, err := Original(bytes.NewReader(outer), in); err == nil {
			t.Error("recovered from nothing")
		}
	}
}

func TestCompareComplete(t *testing.T) {
	replace := func(old, with string) func(string) string {
		return func(s string) string {
			if !strings.Contains(s, old) {
				panic(old)
			}
			return strings.Replace(s, old, with, 1)
		}
	}
	for name, c := range map[string]struct {
		change func(string) string
		like   Likeness
		why    string
	}{
		"as it was": {nil, LikeSame, ""},
		"another order": {func(s string) string {
			return "Subject: =?utf-8?q?Citt=C3=A0?=\r\n" + replace("Subject: =?utf-8?q?Citt=C3=A0?=\r\n", "")(s)
		}, LikeSame, ""},
		"trace on top":             {func(s string) string { return "Received: x\r\n" + s }, LikeSame, ""},
		"what Namirial adds":       {func(s string) string { return "X-Namirial-Details: x\r\n" + s }, LikeSame, ""},
		"folded anew":              {replace("To: ", "To:\r\n "), LikeSame, ""},
		"encoded anew":             {replace("=?utf-8?q?Citt=C3=A0?=", "=?iso-8859-1?Q?Citt=E0?="), LikeSame, ""},
		"LF":                       {func(s string) string { return strings.ReplaceAll(s, "\r\n", "\n") }, LikeSame, "line ends"},
		"without the last end":     {func(s string) string { return strings.TrimSuffix(s, "\r\n") }, LikeSame, "line ends"},
		"another subject":          {replace("Citt=C3=A0", "Paese"), LikeHeader, "subject has another value"},
		"a field more":             {replace("To: ", "X-Spam: 1\r\nTo: "), LikeHeader, "x-spam was added"},
		"a field less":             {replace("Content-Type: text/plain\r\n", ""), LikeHeader, "content-type is missing"},
		"another reference":        {replace("X-Riferimento-Message-ID: "+ourID, "X-Riferimento-Message-ID: <x@y>"), LikeHeader, "not our Message-ID"},
		"no reference":             {replace("X-Riferimento-Message-ID: "+ourID+"\r\n", ""), LikeHeader, "X-Riferimento-Message-ID"},
		"another body":             {replace("diffida", "invita"), LikeBody, "body"},
		"a byte of the body":       {replace("diffida", "diffidA"), LikeBody, "body"},
		"more body":                {func(s string) string { return s + "x" }, LikeBody, "body"},
		"body and header":          {replace("diffida.", "invita.\r\n"), LikeBody, "body"},
		"space at the end of line": {replace("diffida.\r\n", "diffida. \r\n"), LikeBody, "body"},
		"an end less in the middle": {func(s string) string {
			return strings.TrimSuffix(s, "Si diffida.\r\n\r\n") + "Si\r\ndiffida.\r\n\r\n"
		}, LikeBody, "body"},
	} {
		t.Run(name, func(t *testing.T) {
			outer, in := provided(original, c.change)
			got, err := CompareComplete(t.Context(), strings.NewReader(original), int64(len(original)), bytes.NewReader(outer), in)
			if err != nil {
				t.Fatal(err)
			}
			why := strings.Join(got.Differences, "; ")
			if got.Likeness != c.like || !strings.Contains(why, c.why) || (why == "") != (c.why == "") {
				t.Errorf("%s: %s", got.Likeness, why)
			}
		})
	}
}

// TestCompareLarge compares bodies larger than a block, with the difference at
// every place round the blocks' ends.
func TestCompareLarge(t *testing.T) {
	head := "Message-ID: " + ourID + "\r\n\r\n"
	body := []byte(strings.Repeat("0123456789abcdef0123456789abcd\r\n", 3*digestBlock/32))
	own := append([]byte(head), body...)
	for _, at := range []int{0, 1, digestBlock - 1, digestBlock, digestBlock + 1, len(body) - 3, len(body)} {
		changed := bytes.Clone(body)
		want := LikeSame
		if at < len(body) {
			changed[at] ^= 1
			want = LikeBody
		}
		outer, in := provided(head+string(changed), nil)
		got, err := CompareComplete(t.Context(), bytes.NewReader(own), int64(len(own)), bytes.NewReader(outer), in)
		if err != nil || got.Likeness != want {
			t.Errorf("at %d: %+v %v", at, got, err)
		}
	}
	long, in := provided(head+strings.ReplaceAll(string(body), "\r\n", "\n"), nil)
	got, err := CompareComplete(t.Context(), bytes.NewReader(own), int64(len(own)), bytes.NewReader(long), in)
	if err != nil || got.Likeness != LikeSame || len(got.Differences) != 1 {
		t.Errorf("LF: %+v %v", got, err)
	}
}

// TestCompareIOErrors fails at each read in turn: never an answer, always the
// error.
func TestCompareIOErrors(t *testing.T) {
	outer, in := provided(original, nil)
	for off := range []int{0, 1} {
		r := []io.ReaderAt{strings.NewReader(original), bytes.NewReader(outer)}
		r[off] = failingReader{}
		if c, err := CompareComplete(t.Context(), r[0], int64(len(original)), r[1], in); err == nil {
			t.Errorf("reader %d: %+v", off, c)
		}
	}
	if _, err := Original(failingReader{}, in); err == nil {
		t.Error("recovered from nothing")
	}
}

type failingReader struct{}

func (failingReader) ReadAt([]byte, int64) (int, error) { return 0, io.ErrClosedPipe }

// FuzzInner feeds arbitrary bytes as the signed part: nothing may panic, ranges
// lie inside, and what is recovered has the size that it says.
func FuzzInner(f *testing.F) {
	f.Add([]byte(letter{xml: deliveryXML, inner: postacert}.signedPart()), []byte(original))
	f.Add([]byte(letter{xml: "-", parts: []string{eml("Message-ID: <a>")}}.signedPart()), []byte("x\n\ny"))
	f.Add([]byte(letter{inner: briefForm(wrap64([]byte("allegato")), func(b []byte) []byte { return b })}.signedPart()), []byte(briefOriginal))
	f.Add([]byte("Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: message/rfc822; name=postacert.eml\nContent-Transfer-Encoding: base64\n\n"+
		base64.StdEncoding.EncodeToString([]byte(postacert))), []byte("\n"))
	f.Fuzz(func(t *testing.T, mixed, own []byte) {
		r := bytes.NewReader(mixed)
		ix, err := mime.Parse(r, int64(len(mixed)), mime.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		in, err := findInner(&message{r: r, root: &ix.Root, claim: claim{kind: Anomaly}}, &ix.Root)
		if err != nil {
			t.Fatal(err)
		}
		in.notes(nil, Anomaly)
		in.notes(&daticert{oggetto: "x", msgid: "y", mittente: "z@z"}, Delivery)
		if in == nil {
			return
		}
		if in.Off < 0 || in.Size < 0 || in.Off+in.Size > int64(len(mixed)) {
			t.Fatalf("range %d+%d of %d", in.Off, in.Size, len(mixed))
		}
		ownIx, err := mime.Parse(bytes.NewReader(own), int64(len(own)), mime.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := CompareComplete(t.Context(), bytes.NewReader(own), int64(len(own)), r, in); err != nil {
			t.Fatal(err)
		}
		if _, err := CompareBrief(t.Context(), bytes.NewReader(own), int64(len(own)), ownIx, r, in); err != nil {
			t.Fatal(err)
		}
		o, err := Original(r, in)
		if err != nil {
			return
		}
		if n, err := o.WriteTo(io.Discard); err != nil || n != o.Size {
			t.Fatalf("%d of %d bytes: %v", n, o.Size, err)
		}
		// What a message is compared with itself, it is the same.
		whole := io.NewSectionReader(r, in.Off, in.Size)
		if c, err := CompareComplete(t.Context(), o, o.Size, r, in); err != nil || c.Likeness == LikeBody {
			t.Fatalf("the recovered original of %d bytes is another: %+v %v", whole.Size(), c, err)
		}
	})
}
