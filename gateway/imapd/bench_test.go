package imapd

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"testing"

	"pecgate/mailbox"
)

// benchHouse has n messages in the shared inbox and a logged-in connection
// that reads as fast as it can.
func benchHouse(b *testing.B, n int) (run func(cmd string) int64) {
	b.Helper()
	h := newHouse(b)
	ctx := context.Background()
	for i := 0; i < n; {
		in, err := h.store.Begin(ctx)
		if err != nil {
			b.Fatal(err)
		}
		raw := strings.Replace(pecMail, "<m3@", fmt.Sprintf("<m%d@", i), 1)
		if _, err := io.WriteString(in, raw); err != nil {
			b.Fatal(err)
		}
		st, err := in.Store(ctx, mailbox.Origin{Box: protocollo, Direction: mailbox.In})
		if err != nil {
			b.Fatal(err)
		}
		_, err = h.store.Record(ctx, st, func(tx *mailbox.Tx, m *mailbox.Message) error {
			for range min(50, n-i) {
				if _, _, err := tx.File(shared1(mailbox.RoleInbox), m, mailbox.Filing{}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
		_ = st.Close()
		i += 50
	}
	conn, err := h.ln.dial()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = conn.Close() })
	r := bufio.NewReaderSize(conn, 256<<10)
	if _, err := r.ReadString('\n'); err != nil {
		b.Fatal(err)
	}
	run = func(cmd string) int64 {
		go io.WriteString(conn, "tag1 "+cmd+"\r\n")
		var total int64
		for {
			line, err := r.ReadSlice('\n')
			if err != nil && err != bufio.ErrBufferFull {
				b.Fatal(err)
			}
			total += int64(len(line))
			if bytes.HasPrefix(line, []byte("tag1 ")) {
				if !bytes.HasPrefix(line, []byte("tag1 OK")) {
					b.Fatalf("%s: %s", cmd, line)
				}
				return total
			}
		}
	}
	run("LOGIN mario/" + protocollo + " secret")
	run("SELECT INBOX")
	return run
}

func BenchmarkFetch(b *testing.B) {
	const n = 5000
	run := benchHouse(b, n)
	for _, items := range []string{"(UID FLAGS)", "(UID FLAGS ENVELOPE)", "(BODYSTRUCTURE)", "(BODY.PEEK[HEADER.FIELDS (From To Subject Date)])", "(BODY.PEEK[])"} {
		b.Run(items, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				b.SetBytes(run("FETCH 1:* " + items))
			}
			b.ReportMetric(float64(b.N)*n/b.Elapsed().Seconds(), "msg/s")
		})
	}
}

func BenchmarkSelectAndStatus(b *testing.B) {
	run := benchHouse(b, 5000)
	for _, cmd := range []string{"SELECT INBOX", "STATUS INBOX (MESSAGES UNSEEN)", "SEARCH UNSEEN", "SEARCH SUBJECT richiesta", "SEARCH TEXT papavero"} {
		b.Run(cmd, func(b *testing.B) {
			for b.Loop() {
				run(cmd)
			}
		})
	}
}
