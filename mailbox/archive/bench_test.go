package archive

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// tinyBox is an mbox of n small messages, with lengths (mboxcl2) or without.
func tinyBox(n int, lengths bool) []byte {
	var b bytes.Buffer
	for i := range n {
		m := letter(i, "Hello")
		if head, body, _ := strings.Cut(m, "\n\n"); lengths {
			m = fmt.Sprintf("%s\nContent-Length: %d\n\n%s", head, len(body), body)
		}
		b.WriteString(sep + m + "\n")
	}
	return b.Bytes()
}

// Many small messages: what one of them costs.
func BenchmarkWalkTiny(b *testing.B) {
	const n = 20_000
	for name, lengths := range map[string]bool{"plain": false, "lengths": true} {
		b.Run(name, func(b *testing.B) {
			p := filepath.Join(b.TempDir(), "box")
			text := tinyBox(n, lengths)
			check(b, os.WriteFile(p, text, 0o600))
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				got := 0
				check(b, Walk(context.Background(), p, Options{}, func(it Item) error { got++; return it.Close() }))
				if got != n {
					b.Fatal(got)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/message")
		})
	}
}
