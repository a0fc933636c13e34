package providersim

import (
	"testing"
	"time"
)

// One receipt with an attached original of 10 KB, signed.
func BenchmarkCompose(b *testing.B) {
	ca, err := NewAuthority("pec.gestore.example", time.Now())
	if err != nil {
		b.Fatal(err)
	}
	original := make([]byte, 10<<10)
	for i := range original {
		original[i] = 'a'
	}
	n := Notice{Kind: Delivery, At: time.Now(), Provider: "G", Sender: alice, Identifier: "1@x", Recipient: bob, Recipients: []Recipient{{Address: bob}}, Attached: original}
	b.SetBytes(int64(len(original)))
	for b.Loop() {
		if _, err := Compose(n, ca.Signer(), SignOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}
