package relay

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"pecgate/mailbox"
)

// BenchmarkAskedOften: `status` and `queue list` of a store with 200,000 submissions
// that have ended and 100 that have not, as a store of an earlier release answers
// (everything is read) and as this one does.
func BenchmarkAskedOften(b *testing.B) {
	const ended, open = 200_000, 100
	dir, err := os.MkdirTemp("", "often")
	if err != nil {
		b.Fatal(err)
	}
	store, err := mailbox.Open(mailbox.Options{Dir: dir})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := store.Close(); err != nil {
			b.Error(err)
		}
		if err := os.RemoveAll(dir); err != nil {
			b.Error(err)
		}
	})
	ctx, now := context.Background(), time.Now().UTC()
	for from := 0; from < ended+open; from += 300 {
		err := store.Update(ctx, func(tx *mailbox.Tx) error {
			for k := from; k < min(from+300, ended+open); k++ {
				s := &Submission{
					ID: fmt.Sprintf("0123456789abcdefghij%06d", k), Box: fmt.Sprintf("casella%d@pec.alfa.example", k%8), User: "mario", Person: 1,
					SHA256: fmt.Sprintf("%064d", k), Size: 20_000, SubmittedAt: now, Since: now, HandedOver: now, AcceptedAt: now, ProvedAt: now, State: Accepted,
				}
				s.MsgID = s.ID + "@alfa.example"
				if k >= ended {
					s.State = Queued
				}
				if err := tx.Space(room).Put("s/"+s.ID, s); err != nil {
					return err
				}
				to := []Recipient{{Address: "ufficio@pec.example", State: Delivered, Told: Delivered}}
				if err := tx.Space(room).Put(recipientsKey(s.ID, 0), to); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	s := New(Options{Store: store, Accounts: func() []Account { return nil }})
	ask := func(name string) {
		b.Run("status/"+name, func(b *testing.B) {
			for b.Loop() {
				if st, err := s.Status(ctx); err != nil || st.Queue[Accepted] != ended || st.Queue[Queued] != open {
					b.Fatal(st.Queue, err)
				}
			}
		})
		b.Run("queue list/"+name, func(b *testing.B) {
			for b.Loop() {
				n := 0
				for f := (QueueFilter{}); ; {
					p, err := Queue(ctx, store, f)
					if err != nil {
						b.Fatal(err)
					}
					n += len(p.Items)
					if f.After = p.After; f.After == "" {
						break
					}
				}
				if n != open {
					b.Fatal(n)
				}
			}
		})
	}
	ask("all")
	began := time.Now()
	if err := s.coverAll(ctx); err != nil {
		b.Fatal(err)
	}
	made := time.Since(began)
	ask("lists")
	b.Logf("the lists were made in %s", made.Round(time.Millisecond))
}
