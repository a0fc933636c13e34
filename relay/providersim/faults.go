package providersim

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Faults are the switches of the provider. Each may be changed at any time while
// it runs and acts on what happens next.
type Faults struct {
	RefuseLogin  Switch // SMTP and IMAP: the right password is refused
	RejectMail   Switch // 550 at MAIL, with the text of a provider's rate limit
	RejectAtDot  Switch // 554 after the final dot, nothing accepted
	DeferAtDot   Switch // 451 after the final dot, nothing accepted
	CutAfterDot  Switch // accepted, in the ledger, receipts follow; the connection drops before the 250
	LoseAfterDot Switch // the same seen from the client, but nothing was accepted
	HoldDot      Span   // accepted, then this long until the 250

	NoReceipts        Switch // accepted messages get no receipt of any kind
	DuplicateReceipts Switch // every receipt is put into the mailbox twice, same bytes
	ReverseOrder      Switch // delivery receipts before the acceptance
	Delay             Span   // in place of Options.Delay

	WrongSignature Switch // emitted messages: signature over other bytes
	ExpiredLeaf    Switch // emitted messages: certificate that had ended
	ForeignCA      Switch // emitted messages: certificate of an unknown authority

	PerMinute Count // submissions a minute and mailbox, further ones 550 as Legalmail does; 0: no limit
	CutFetch  Count // IMAP: the connection drops after this many bytes of the answer with a body; acts once, then is 0

	mu   sync.Mutex
	ends []string
}

// Switch is off, on, or on for the next n uses.
type Switch struct{ left atomic.Int64 }

func (s *Switch) On()          { s.left.Store(-1) }
func (s *Switch) Off()         { s.left.Store(0) }
func (s *Switch) Next(n int)   { s.left.Store(int64(max(n, 0))) }
func (s *Switch) Active() bool { return s.left.Load() != 0 }

// fires uses the switch once.
func (s *Switch) fires() bool {
	for {
		n := s.left.Load()
		if n <= 0 {
			return n < 0
		}
		if s.left.CompareAndSwap(n, n-1) {
			return true
		}
	}
}

// Span is a duration; zero is off.
type Span struct{ d atomic.Int64 }

func (s *Span) Set(d time.Duration) { s.d.Store(int64(d)) }
func (s *Span) Get() time.Duration  { return time.Duration(s.d.Load()) }

// Count is a number; zero is off.
type Count struct{ n atomic.Int64 }

func (c *Count) Set(n int64) { c.n.Store(n) }
func (c *Count) Get() int64  { return c.n.Load() }

// LenientEnds makes the provider take further byte sequences as the end of DATA
// besides CRLF.CRLF, for example "\n.\n": the judge for messages smuggled inside
// others. None makes it strict again. The next DATA obeys.
func (f *Faults) LenientEnds(marks ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ends = slices.Clone(marks)
}

func (f *Faults) lenientEnds() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ends
}

func (f *Faults) table() map[string]any {
	return map[string]any{
		"refuse-login": &f.RefuseLogin, "reject-mail": &f.RejectMail, "reject-at-dot": &f.RejectAtDot,
		"defer-at-dot": &f.DeferAtDot, "cut-after-dot": &f.CutAfterDot, "lose-after-dot": &f.LoseAfterDot,
		"hold-dot": &f.HoldDot, "no-receipts": &f.NoReceipts, "duplicate-receipts": &f.DuplicateReceipts,
		"reverse-order": &f.ReverseOrder, "delay": &f.Delay, "wrong-signature": &f.WrongSignature,
		"expired-leaf": &f.ExpiredLeaf, "foreign-ca": &f.ForeignCA, "per-minute": &f.PerMinute, "cut-fetch": &f.CutFetch,
	}
}

// Names lists the switches by the names that Set knows, sorted.
func (f *Faults) Names() []string {
	var out []string
	for name := range f.table() {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// Set changes one switch by name: on, off or a number of uses for a switch, a
// duration (30s) for a span, a number for a count.
func (f *Faults) Set(name, value string) error {
	switch s := f.table()[name].(type) {
	case *Switch:
		switch value {
		case "on":
			s.On()
			return nil
		case "off":
			s.Off()
			return nil
		}
		n, err := strconv.Atoi(value)
		if err != nil || n < 0 {
			return fmt.Errorf("fault %s: %q is not on, off or a number", name, value)
		}
		s.Next(n)
	case *Span:
		d, err := time.ParseDuration(value)
		if err != nil || d < 0 {
			return fmt.Errorf("fault %s: %q is not a duration such as 30s", name, value)
		}
		s.Set(d)
	case *Count:
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil || n < 0 {
			return fmt.Errorf("fault %s: %q is not a number", name, value)
		}
		s.Set(n)
	default:
		return fmt.Errorf("unknown fault %q; known are %s", name, strings.Join(f.Names(), ", "))
	}
	return nil
}
