package providersim

import (
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Faults are the switches of the provider. Each may be changed at any time while
// it runs and acts on what happens next. Describe says of each what it does.
type Faults struct {
	RefuseLogin     Switch // SMTP and IMAP: the right password is refused
	PasswordExpired Switch // the same, with the text for an expired password
	RejectMail      Switch // 550 at MAIL, with the text of a provider's rate limit
	RejectRecipient Switch // 550 at RCPT, one use is one recipient
	RejectAtDot     Switch // 554 after the final dot, nothing accepted
	DeferAtDot      Switch // 451 after the final dot, nothing accepted
	CutAfterDot     Switch // accepted, in the ledger, receipts follow; the connection drops before the 250
	LoseAfterDot    Switch // the same seen from the client, but nothing was accepted
	HoldDot         Span   // accepted, then this long until the 250

	NoReceipts        Switch // accepted messages get no receipt of any kind
	DuplicateReceipts Switch // every receipt is put into the mailbox twice, same bytes
	ReverseOrder      Switch // delivery receipts before the acceptance
	Delay             Span   // in place of Options.Delay
	AcceptanceDelay   Span   // from the 250 until the message is looked at: all receipts come so much later
	LateReceipts      Switch // every recipient behaves as Late
	LeakService       Switch // kinds 5 and 7 also land in the sender's mailbox
	ServiceNotices    Switch // an ordinary mail of assistenza@ follows each submission
	FailedChecks      Switch // what comes from outside is badly signed and wrapped as an anomaly

	// Signatures and form. One use is one message that a user's mailbox gets.
	WrongSignature Switch // signature over other bytes
	ExpiredLeaf    Switch // certificate that had ended
	ForeignCA      Switch // certificate of an unknown authority

	ErroreAltro, EmptyRisposte, NoMsgID, NoReference Switch
	BareIDs, FoldedIDs, Doctype, DaticertLast        Switch
	ExtraParts, HeaderDisagrees                      Switch
	NestedDaticert, SecondDaticert, ForgedPart       Switch
	Relayed, BareLF                                  Switch

	PerMinute Count // submissions a minute and mailbox, further ones 550 as Legalmail does; 0: no limit
	CutFetch  Count // IMAP: the connection drops after this many bytes of the answer with a body; acts once, then is 0

	// POP3. The switches act on a session from its login on; one use is one session.
	CutRetr      Count  // the connection drops after this many bytes of the answer to RETR; acts once, then is 0
	WrongSizes   Switch // LIST and STAT tell too small sizes
	ChangingUIDL Switch // UIDL gives other ids than in the session before
	NoUIDL       Switch // UIDL is refused and not in CAPA

	mu   sync.Mutex
	ends []string
}

// Switch is off, on, or on for the next n uses.
type Switch struct{ left atomic.Int64 }

func (s *Switch) On()          { s.left.Store(-1) }
func (s *Switch) Off()         { s.left.Store(0) }
func (s *Switch) Next(n int)   { s.left.Store(int64(max(n, 0))) }
func (s *Switch) Active() bool { return s.left.Load() != 0 }

// String is on, off or the number of uses left.
func (s *Switch) String() string {
	switch n := s.left.Load(); {
	case n < 0:
		return "on"
	case n == 0:
		return "off"
	default:
		return strconv.FormatInt(n, 10)
	}
}

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
