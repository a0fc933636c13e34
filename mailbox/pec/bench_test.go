package pec

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"pecgate/mailbox/mime"
)

// BenchmarkRead is classification and verification of one message by its index,
// which is made when the message is stored; run it with -cpu 1. Its floor is
// measured in the same run: the SHA-256 of the content in memory and one RSA-2048
// verification.
func BenchmarkRead(b *testing.B) {
	for _, c := range []struct {
		name string
		size int
	}{{"20KB", 20 << 10}, {"2MB", 2 << 20}} {
		b.Run(c.name, func(b *testing.B) { benchmarkRead(b, c.size) })
	}
}

func benchmarkRead(b *testing.B, size int) {
	text := "Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n" +
		wrap64(bytes.Repeat([]byte("pec"), size/4))
	l := letter{mark: "X-Trasporto: posta-certificata", xml: transportXML, inner: text, msgID: pecID,
		from: `"Per conto di: ` + ourBox + `" <` + alfa + `>`, cms: cmsSpec{by: alfaLeaf(), ber: true}}
	msg, content := l.build(), []byte(l.signedPart())
	r := bytes.NewReader(msg)
	ix := must(mime.Parse(r, int64(len(msg)), mime.Limits{}))
	rd := testReader(b)
	one := func() {
		rep, err := rd.Read(context.Background(), r, int64(len(msg)), ix)
		if err != nil || rep.Verdict != Valid {
			b.Fatal(rep, err)
		}
	}
	sum := sumOf(crypto.SHA256, content)
	pub := rsaKey().Public().(*rsa.PublicKey)
	sig := must(rsaKey().Sign(rand.Reader, sum, crypto.SHA256))
	floor := func() {
		if err := rsa.VerifyPKCS1v15(pub, crypto.SHA256, sumOf(crypto.SHA256, content), sig); err != nil {
			b.Fatal(err)
		}
	}
	one()
	// In turns, and the lowest tenth of each, so that what else the machine does
	// says little.
	const turn = 4
	var own, least []time.Duration
	timed := func(list *[]time.Duration, f func()) {
		start := time.Now()
		for range turn {
			f()
		}
		*list = append(*list, time.Since(start)/turn)
	}
	low := func(list []time.Duration) float64 {
		slices.Sort(list)
		return list[len(list)/10].Seconds()
	}
	b.ReportAllocs()
	b.SetBytes(int64(len(msg)))
	for n := 0; b.Loop(); n++ {
		if n%turn == 0 {
			b.StopTimer()
			timed(&least, floor)
			timed(&own, one)
			b.StartTimer()
		}
		one()
	}
	b.ReportMetric(1/low(own), "messages/s")
	b.ReportMetric(1/low(least), "floor/s")
	b.ReportMetric(low(least)/low(own), "of-floor")
}

// long is a message of any size that is nowhere in memory: a head, one line
// over and over, a tail.
type long struct {
	head, line, tail string
	lines            int64
}

func (l *long) size() int64 {
	return int64(len(l.head)) + l.lines*int64(len(l.line)) + int64(len(l.tail))
}

func (l *long) ReadAt(p []byte, off int64) (n int, err error) {
	middle := l.lines * int64(len(l.line))
	for n < len(p) {
		switch at := off + int64(n); {
		case at < int64(len(l.head)):
			n += copy(p[n:], l.head[at:])
		case at < int64(len(l.head))+middle:
			n += copy(p[n:], l.line[(at-int64(len(l.head)))%int64(len(l.line)):])
			if past := off + int64(n) - int64(len(l.head)) - middle; past > 0 {
				n -= int(past)
			}
		case at < l.size():
			n += copy(p[n:], l.tail[at-int64(len(l.head))-middle:])
		default:
			return n, io.EOF
		}
	}
	return n, nil
}

// TestLongMessage: a message of 100 MB is indexed and verified in less than 8 MB
// of memory, all allocations added up, whether it is good or not.
func TestLongMessage(t *testing.T) {
	const mark = "@@RIGHE@@"
	line := strings.Repeat("cGVj", 19) + "\r\n"
	inner := "Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n" + mark
	l := letter{mark: "X-Trasporto: posta-certificata", xml: transportXML, inner: inner, msgID: pecID}
	head, tail, _ := strings.Cut(l.signedPart(), mark)
	content := &long{head: head, line: line, tail: tail, lines: 100 << 20 / int64(len(line))}
	h := crypto.SHA256.New()
	if _, err := io.Copy(h, io.NewSectionReader(content, 0, content.size())); err != nil {
		t.Fatal(err)
	}
	sum := h.Sum(nil)
	// The same signature for the content in full.
	l.cms = cmsSpec{by: betaLeaf(), sum: sum, ber: true}
	head, tail, _ = strings.Cut(string(l.build()), mark)
	rd := testReader(t)
	for _, c := range []struct{ name, line, verdict string }{
		{"good", line, Valid},
		{"changed", "x" + line[1:], Invalid},
	} {
		msg := &long{head: head, line: c.line, tail: tail, lines: content.lines}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		ix, err := mime.Parse(msg, msg.size(), mime.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		rep, err := rd.Read(context.Background(), msg, msg.size(), ix)
		runtime.ReadMemStats(&after)
		if err != nil || rep.Verdict != c.verdict {
			t.Errorf("%s: %v, %+v", c.name, err, rep)
		}
		if used := after.TotalAlloc - before.TotalAlloc; used > 8<<20 {
			t.Errorf("%s: %d KiB allocated for %d MiB", c.name, used>>10, msg.size()>>20)
		} else {
			t.Logf("%s: %d KiB allocated for %d MiB", c.name, used>>10, msg.size()>>20)
		}
	}
}
