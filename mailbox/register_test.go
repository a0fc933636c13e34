package mailbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid" // models of states
)

func rome(t *testing.T) *time.Location {
	t.Helper()
	zone, err := time.LoadLocation("Europe/Rome")
	if err != nil {
		t.Fatal(err)
	}
	return zone
}

// TestRegisterHasNoGaps gives numbers from several goroutines while some of
// the transactions fail, and opens the store anew in between.
func TestRegisterHasNoGaps(t *testing.T) {
	type register struct {
		box  string
		d    Direction
		year int
	}
	no := errors.New("no")
	registers := []register{{box, Out, 2026}, {box, In, 2026}, {box, Out, 2027}, {"ALTRA@pec.example", Out, 2026}}
	rapid.Check(t, func(rt *rapid.T) {
		dir, ctx := t.TempDir(), context.Background()
		given := map[register][]uint64{}
		for range rapid.IntRange(1, 2).Draw(rt, "openings") {
			s, err := Open(Options{Dir: dir})
			if err != nil {
				rt.Fatal(err)
			}
			type draft struct {
				r    register
				n    int
				fail bool
			}
			drafts := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) draft {
				return draft{rapid.SampledFrom(registers).Draw(rt, "r"), rapid.IntRange(1, 3).Draw(rt, "n"), rapid.Bool().Draw(rt, "fail")}
			}), 1, 20).Draw(rt, "drafts")
			var mu sync.Mutex
			var all sync.WaitGroup
			for _, d := range drafts {
				all.Go(func() {
					var got []uint64
					err := s.Update(ctx, func(tx *Tx) error {
						got = got[:0]
						for range d.n {
							n, err := tx.Register(d.r.box, d.r.d, d.r.year)
							if err != nil {
								return err
							}
							got = append(got, n)
						}
						if d.fail {
							return no
						}
						return nil
					})
					mu.Lock()
					defer mu.Unlock()
					if err == nil {
						given[d.r] = append(given[d.r], got...)
					} else if !errors.Is(err, no) {
						t.Error(err)
					}
				})
			}
			all.Wait()
			if err := s.Close(); err != nil {
				rt.Fatal(err)
			}
		}
		for r, numbers := range given {
			slices.Sort(numbers)
			for i, n := range numbers {
				if n != uint64(i+1) {
					rt.Fatalf("register %v: %v", r, numbers)
				}
			}
		}
	})
}

func TestRegisterOfMessages(t *testing.T) {
	ctx, s := context.Background(), openWith(t, Options{Dir: t.TempDir(), Zone: rome(t)})
	// 31 December in Greenwich is the new year in Rome.
	at := time.Date(2026, 12, 31, 23, 30, 0, 0, time.UTC)
	enter := func(subject string, change func(*Message)) (*RegisterNumber, error) {
		m, _ := put(t, s, inbox, text(subject), Filing{})
		err := s.Update(ctx, func(tx *Tx) (err error) {
			if m, err = tx.Message(m.ID); err != nil {
				return err
			}
			change(m)
			return errors.Join(tx.EnterRegister(m, at), tx.EnterRegister(m, at), tx.PutMessage(m))
		})
		return m.Register, err
	}
	for i := range 3 {
		n, err := enter(fmt.Sprint(i), func(*Message) {})
		if err != nil || *n != (RegisterNumber{Year: 2027, Number: uint64(i + 1)}) {
			t.Errorf("%v, %v", n, err)
		}
	}
	if n, err := enter("old", func(m *Message) { m.History = true }); !errors.Is(err, ErrNoRegister) || n != nil {
		t.Errorf("history: %v, %v", n, err)
	}
	if n, err := enter("own", func(m *Message) { m.Direction = Own }); !errors.Is(err, ErrNoRegister) || n != nil {
		t.Errorf("an appended message: %v, %v", n, err)
	}
	if n, err := enter("sent", func(m *Message) { m.Direction = Out }); err != nil || n.Number != 1 {
		t.Errorf("sent: %v, %v", n, err)
	}
	var seen []uint64
	err := s.View(ctx, func(tx *Tx) error {
		return tx.ScanRegister(box, In, 2027, 2, func(n uint64, r Registered) bool {
			seen = append(seen, n)
			if m, err := tx.Message(r.Message); err != nil || m.SHA256() != r.SHA256 || m.Register.Number != n || !r.At.Equal(at) {
				t.Errorf("number %d is of %+v: %v", n, m, err)
			}
			return true
		})
	})
	if err != nil || !slices.Equal(seen, []uint64{2, 3}) {
		t.Errorf("%v, %v", seen, err)
	}
}
