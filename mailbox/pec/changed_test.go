package pec

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"pecgate/mailbox/mime"
)

// signedRange is where the signed part of a message stands.
func signedRange(t testing.TB, msg []byte) (from, to int) {
	t.Helper()
	ix := must(mime.Parse(bytes.NewReader(msg), int64(len(msg)), mime.Limits{}))
	off, n := ix.Root.Children[0].Raw()
	return int(off), int(off + n)
}

// TestEveryByteOfTheSignedPart changes each byte of the signed part of a sample
// of each kind, in one or the other engine style: valid becomes invalid. A byte
// of a line end that becomes another byte counts like any other; only a line end
// as a whole may be CRLF or LF (see TestLineEnds).
func TestEveryByteOfTheSignedPart(t *testing.T) {
	rd := testReader(t)
	for i, s := range twelve() {
		for _, old := range []bool{true, false} {
			if old != (i%2 == 0) && s.name != "02-acceptance" {
				continue
			}
			t.Run(fmt.Sprintf("%s/old=%v", s.name, old), func(t *testing.T) {
				t.Parallel()
				msg := styled(s, old).build()
				if rep := readWith(t, rd, msg); !rep.good() {
					t.Fatalf("%s, %s", rep.Verdict, rep.Reason)
				}
				from, to := signedRange(t, msg)
				for at := from; at < to; at += stride {
					was := msg[at]
					others := []byte{was ^ 0x01}
					switch {
					case was == '\r' || was == '\n':
						others = append(others, '\r'^'\n'^was)
					case s.name == "02-acceptance":
						others = append(others, was^0x20, '\n')
					}
					for _, b := range others {
						if b == was {
							continue
						}
						msg[at] = b
						if rep := readWith(t, rd, msg); rep.Verdict != Invalid || rep.Believed() || rep.Kind == Inconsistent {
							t.Fatalf("byte %d: %q for %q: %s, %s", at-from, b, was, rep.Verdict, rep.Reason)
						}
					}
					msg[at] = was
				}
				if rep := readWith(t, rd, msg); !rep.good() {
					t.Fatalf("afterwards: %s, %s", rep.Verdict, rep.Reason)
				}
			})
		}
	}
}

// TestEveryByteInsertedOrLost: a byte more or less in the signed part of one
// sample is as bad as a changed one, but for the CR of a line end.
func TestEveryByteInsertedOrLost(t *testing.T) {
	rd := testReader(t)
	msg := styled(twelve()[1], false).build()
	from, to := signedRange(t, msg)
	for at := from; at < to; at += stride {
		lost := append(append([]byte{}, msg[:at]...), msg[at+1:]...)
		more := append(append(append([]byte{}, msg[:at]...), 'x'), msg[at:]...)
		want := Invalid
		if msg[at] == '\r' && msg[at+1] == '\n' {
			want = Valid // the line end is LF now: the same text
		}
		// A byte less at the very end leaves another line end before the boundary.
		if rep := readWith(t, rd, lost); rep.Verdict != want {
			t.Fatalf("byte %d of %d (%q) lost: %s, %s", at-from, to-from, msg[at], rep.Verdict, rep.Reason)
		}
		if rep := readWith(t, rd, more); rep.Verdict != Invalid {
			t.Fatalf("a byte more at %d: %s, %s", at-from, rep.Verdict, rep.Reason)
		}
	}
}

// TestLineEnds: a message stored with bare LF verifies, and one with some of
// both. A bare CR is no line end.
func TestLineEnds(t *testing.T) {
	for _, s := range twelve() {
		msg := styled(s, false).build()
		whole := bytes.ReplaceAll(msg, []byte("\r\n"), []byte("\n"))
		if rep := read(t, whole); rep.Verdict != Valid {
			t.Errorf("%s: %s, %s", s.name, rep.Verdict, rep.Reason)
		}
		some := msg
		for n := 1; n < 200; n++ {
			some = bytes.Replace(some, []byte("\r\n"), []byte("\n"), 1)
			if n%10 == 0 {
				if rep := read(t, some); rep.Verdict != Valid {
					t.Errorf("%s, first %d lines: %s, %s", s.name, n, rep.Verdict, rep.Reason)
				}
			}
		}
		from, to := signedRange(t, msg)
		cr := append(append(append([]byte{}, msg[:from]...), bytes.ReplaceAll(msg[from:to], []byte("\r\n"), []byte("\r"))...), msg[to:]...)
		if rep := read(t, cr); rep.Verdict != Invalid {
			t.Errorf("%s, bare CR: %s, %s", s.name, rep.Verdict, rep.Reason)
		}
	}
}

// outcome is what may not depend on an outer header.
type outcome struct {
	kind      Kind
	verdict   string
	believed  bool
	recipient string
	matches   bool
}

func outcomeOf(rep *Report) outcome {
	o := outcome{kind: rep.Kind, verdict: rep.Verdict, believed: rep.Believed()}
	o.recipient, o.matches = rep.About(Sent{Box: ourBox, MsgID: ourID, Recipients: []string{theirBox, "info@gamma.example"}})
	return o
}

// TestEveryOuterHeader changes, removes and doubles each outer header but From
// and Content-Type, in each sample of both styles: kind, verdict, outcome and
// all that comes from daticert.xml stay as they were. With From the check of the
// sender fails.
func TestEveryOuterHeader(t *testing.T) {
	rd := testReader(t)
	for _, old := range []bool{true, false} {
		for _, s := range twelve() {
			msg := styled(s, old).build()
			before := readWith(t, rd, msg)
			want := outcomeOf(before)
			cut := bytes.Index(msg, []byte("\r\n\r\n")) + 2
			fields, body := mime.Fields(msg[:cut]), msg[cut:]
			if len(fields) < 9 {
				t.Fatalf("%s: %d fields", s.name, len(fields))
			}
			for i, f := range fields {
				name := strings.ToLower(f.Name)
				if name == "content-type" {
					continue
				}
				raw := string(f.Raw)
				for what, repl := range map[string]string{
					"removed":         "",
					"empty":           f.Name + ":\r\n",
					"other":           f.Name + ": x" + fmt.Sprint(i) + "@altro.example\r\n",
					"accettazione":    f.Name + ": accettazione\r\n",
					"avvenuta":        f.Name + ": avvenuta-consegna\r\n",
					"envelope":        f.Name + ": posta-certificata\r\n",
					"anomaly":         f.Name + ": errore\r\n",
					"doubled":         raw + raw,
					"another before":  f.Name + ": errore-consegna\r\n" + raw,
					"another behind":  raw + f.Name + ": errore-consegna\r\n",
					"another name":    "X-" + raw,
					"8-bit":           f.Name + ": \xe8\xff\r\n",
					"long and folded": f.Name + ": " + strings.Repeat("x\r\n\t", 1000) + "x\r\n",
				} {
					var b bytes.Buffer
					for j, g := range fields {
						if j == i {
							b.WriteString(repl)
						} else {
							b.Write(g.Raw)
						}
					}
					b.Write(body)
					rep := readWith(t, rd, b.Bytes())
					if name == "from" {
						if rep.Verdict != Invalid || rep.Believed() || !strings.Contains(rep.Reason, "sender: ") {
							t.Errorf("%s, From %s: %s, %s", s.name, what, rep.Verdict, rep.Reason)
						}
						continue
					}
					if got := outcomeOf(rep); got != want {
						t.Errorf("%s, %s %s: %+v, want %+v (%s)", s.name, f.Name, what, got, want, rep.Reason)
					}
					if before.Kind == Anomaly {
						continue // its subject, sender and id are hints
					}
					rep.Reason = before.Reason
					shift := int64(b.Len() - len(msg))
					if rep.Inner != nil {
						rep.Inner.Off -= shift
					}
					if got, want := must(json.Marshal(rep)), must(json.Marshal(before)); !bytes.Equal(got, want) {
						t.Errorf("%s, %s %s: %s", s.name, f.Name, what, got)
					}
				}
			}
		}
	}
}

// TestOuterHeaderAdded: what servers set on top or behind changes nothing.
func TestOuterHeaderAdded(t *testing.T) {
	rd := testReader(t)
	for _, s := range twelve() {
		msg := styled(s, false).build()
		want := outcomeOf(readWith(t, rd, msg))
		for _, h := range []string{
			"X-Ricevuta: accettazione", "X-Ricevuta: avvenuta-consegna", "X-Trasporto: posta-certificata", "X-Trasporto: errore",
			"X-Riferimento-Message-ID: <altro@esempio.example>", "X-TipoRicevuta: breve", "X-VerificaSicurezza: errore", "X-Mittente: x@y.example",
			"Sender: x@y.example", "Reply-To: x@y.example", "Resent-From: x@y.example", "Resent-Sender: x@y.example", "Return-Path: <x@y.example>",
			"Content-Disposition: attachment; filename=daticert.xml", "Content-Description: x", "MIME-Version: 2.0", "Lines: 3",
			"riga senza due punti", "From-Line : x", "X-Lungo: " + strings.Repeat("x", 10_000),
		} {
			for where, b := range map[string][]byte{
				"on top": append([]byte(h+"\r\n"), msg...),
				"behind": bytes.Replace(msg, []byte("\r\n\r\n"), []byte("\r\n"+h+"\r\n\r\n"), 1),
			} {
				if got := outcomeOf(readWith(t, rd, b)); got != want {
					t.Errorf("%s, %.40s %s: %+v, want %+v", s.name, h, where, got, want)
				}
			}
		}
	}
}
