package providersim

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// FaultInfo describes one switch for people who set it by hand.
type FaultInfo struct {
	Name  string // as Set knows it
	Kind  string // switch, duration or number
	Text  string // what it does, one line
	Value string // now: on, off or the uses left; a duration; a number
}

// faultEntry is one line of the table of switches; knob is a *Switch, *Span or *Count.
type faultEntry struct {
	name string
	knob any
	text string
}

// table lists every switch in the order in which they are shown: the
// connection, then when receipts come, then what they look like.
func (f *Faults) table() []faultEntry {
	return []faultEntry{
		{"refuse-login", &f.RefuseLogin, "the right password is refused"},
		{"password-expired", &f.PasswordExpired, "login is refused because the password has expired, in the words of a provider"},
		{"reject-mail", &f.RejectMail, "550 at MAIL FROM with the text of the rate limit"},
		{"reject-recipient", &f.RejectRecipient, "550 at RCPT TO; one use is one recipient"},
		{"reject-at-dot", &f.RejectAtDot, "554 after the final dot; nothing is accepted"},
		{"defer-at-dot", &f.DeferAtDot, "451 after the final dot; nothing is accepted"},
		{"cut-after-dot", &f.CutAfterDot, "the message is accepted, but the connection drops before the 250"},
		{"lose-after-dot", &f.LoseAfterDot, "the connection drops before the 250 and nothing was accepted"},
		{"hold-dot", &f.HoldDot, "accepted, then this long until the 250"},
		{"per-minute", &f.PerMinute, "submissions a minute and mailbox; further ones get 550 Class Of Service; 0 is no limit"},
		{"cut-fetch", &f.CutFetch, "IMAP drops after this many bytes of an answer with a body; acts once"},
		{"cut-retr", &f.CutRetr, "POP3 drops after this many bytes of the answer to RETR; acts once"},
		{"wrong-sizes", &f.WrongSizes, "POP3 LIST and STAT tell too small sizes, as servers do that count a line end as one byte"},
		{"changing-uidl", &f.ChangingUIDL, "POP3 UIDL gives other ids than in the session before"},
		{"no-uidl", &f.NoUIDL, "POP3 UIDL is refused and not in CAPA"},

		{"no-receipts", &f.NoReceipts, "accepted messages get no receipt of any kind"},
		{"duplicate-receipts", &f.DuplicateReceipts, "every receipt is put into the mailbox twice, the same bytes"},
		{"reverse-order", &f.ReverseOrder, "delivery receipts come before the acceptance"},
		{"delay", &f.Delay, "time between the acceptance and the delivery, in place of the provider's own"},
		{"acceptance-delay", &f.AcceptanceDelay, "time between the 250 and the acceptance"},
		{"late-receipts", &f.LateReceipts, "every delivery comes an hour after the 12 h warning"},
		{"leak-service", &f.LeakService, "PRESA IN CARICO and PROBLEMA DI SICUREZZA also land in the sender's inbox"},
		{"service-notices", &f.ServiceNotices, "each submission is followed by an ordinary mail of assistenza@ about quota or renewal"},
		{"failed-checks", &f.FailedChecks, "envelopes from another provider fail the checks and arrive wrapped as ANOMALIA MESSAGGIO"},

		{"wrong-signature", &f.WrongSignature, "the signature covers other bytes"},
		{"expired-leaf", &f.ExpiredLeaf, "signed with a certificate that had ended"},
		{"foreign-ca", &f.ForeignCA, "signed with a certificate of an unknown authority of the same names"},
		{"errore-altro", &f.ErroreAltro, `every error is told as errore="altro"`},
		{"empty-risposte", &f.EmptyRisposte, "daticert.xml has an empty <risposte>"},
		{"no-msgid", &f.NoMsgID, "daticert.xml has no <msgid>"},
		{"no-reference", &f.NoReference, "there is no X-Riferimento-Message-ID"},
		{"bare-ids", &f.BareIDs, "the client's Message-ID is quoted without brackets"},
		{"folded-ids", &f.FoldedIDs, "X-Riferimento-Message-ID is folded in the middle of the id"},
		{"doctype", &f.Doctype, "daticert.xml begins with xml-stylesheet and DOCTYPE"},
		{"daticert-last", &f.DaticertLast, "daticert.xml comes after postacert.eml"},
		{"extra-parts", &f.ExtraParts, "an unknown part and X-Namirial-* headers more, outside and inside"},
		{"header-disagrees", &f.HeaderDisagrees, "the header says another kind than daticert.xml"},
		{"nested-daticert", &f.NestedDaticert, "postacert.eml bears a false daticert.xml as an attachment"},
		{"second-daticert", &f.SecondDaticert, "a second, contradicting daticert.xml stands in the signed part"},
		{"forged-part", &f.ForgedPart, "an unsigned daticert.xml follows the signature"},
		{"relayed", &f.Relayed, "wrapped in a new multipart with a footer, as a mailing list does"},
		{"lf-only", &f.BareLF, "all line ends are bare LF"},
	}
}

func (f *Faults) find(name string) any {
	for _, e := range f.table() {
		if e.name == name {
			return e.knob
		}
	}
	return nil
}

// Names lists the switches by the names that Set knows, sorted.
func (f *Faults) Names() []string {
	var out []string
	for _, e := range f.table() {
		out = append(out, e.name)
	}
	slices.Sort(out)
	return out
}

// Describe lists every switch with what it does and its value now, those of one
// subject together.
func (f *Faults) Describe() []FaultInfo {
	var out []FaultInfo
	for _, e := range f.table() {
		i := FaultInfo{Name: e.name, Text: e.text}
		switch k := e.knob.(type) {
		case *Switch:
			i.Kind, i.Value = "switch", k.String()
		case *Span:
			i.Kind, i.Value = "duration", k.Get().String()
		case *Count:
			i.Kind, i.Value = "number", strconv.FormatInt(k.Get(), 10)
		}
		out = append(out, i)
	}
	return out
}

// Set changes one switch by name: on, off or a number of uses for a switch, a
// duration (30s) for a span, a number for a count.
func (f *Faults) Set(name, value string) error {
	switch s := f.find(name).(type) {
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
