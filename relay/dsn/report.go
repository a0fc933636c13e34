package dsn

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Bounds of a report.
const (
	MaxRecipients = 100     // in one report
	MaxStatus     = 1 << 18 // octets of message/delivery-status that are read
	MaxHeaders    = 8 << 10 // octets of the returned header
	maxValue      = 900     // octets of one value
)

// Action is what became of a message for a recipient (RFC 3464 section 2.3.3).
type Action string

// The actions.
const (
	Failed    Action = "failed"
	Delayed   Action = "delayed"
	Delivered Action = "delivered"
	Relayed   Action = "relayed" // to where no report comes from
	Expanded  Action = "expanded"
)

func (a Action) known() bool {
	switch a {
	case Failed, Delayed, Delivered, Relayed, Expanded:
		return true
	}
	return false
}

// Address is an address with its type (RFC 3464 section 2.1.2).
type Address struct {
	Type string // rfc822 or utf-8 (RFC 6533 section 3); "": by the address
	Addr string // decoded
}

// Report is a delivery status notification. Times are written in their own zone.
type Report struct {
	From      string // address of who reports
	FromName  string
	To        string // who sent the message
	Subject   string // "": by the worst action
	Date      time.Time
	MessageID string   // of the report, without brackets
	Refers    []string // Message-IDs of the message, without brackets
	Loop      string   // value of X-Loop; "": none
	Ordinary  bool     // the message is no PEC
	English   bool     // the English text stands first
	Said      []string // lines for people, in addition: Italian
	SaidEN    []string // the same in English
	Reporter  string   // DNS name of who reports
	EnvID     string   // what the sender gave as ENVID, decoded; "": nothing
	Arrived   time.Time

	Recipients []Recipient

	Title   string // of the message, decoded: for people
	Headers []byte // of the message, as returned: ASCII, CRLF
	Full    []byte // the whole message in place of Headers, which must be ASCII
}

// Recipient is what is reported about one recipient.
type Recipient struct {
	Original   Address // as the sender gave it by ORCPT; the zero value: not at all
	Final      Address
	Action     Action
	Status     string // RFC 3463: 5.1.1
	Remote     string // DNS name of the server that said so; "": nobody else
	DiagType   string // of Diagnostic: smtp, or of our own, x-pec
	Diagnostic string
	At         time.Time // of the attempt, or of the receipt
	LogID      string    // the provider's identifier (Final-Log-ID)
	Until      time.Time // it is tried until then; only of what is delayed
	Said       string    // the words as they are, for people
}

// Errors of reading.
var (
	ErrNoReport = errors.New("dsn: no delivery status notification")
	ErrBroken   = errors.New("dsn: broken delivery status notification")
)

func broken(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrBroken}, args...)...)
}

// Class is the first digit of a status; 0: it is none (RFC 3463 section 2).
func Class(status string) int {
	parts := strings.Split(status, ".")
	if len(parts) != 3 || len(parts[0]) != 1 || !strings.Contains("245", parts[0]) {
		return 0
	}
	for _, p := range parts[1:] {
		if len(p) < 1 || len(p) > 3 || strings.Trim(p, "0123456789") != "" {
			return 0
		}
	}
	return int(parts[0][0] - '0')
}

// agrees tells whether a status can stand beside an action (RFC 3464 section 2.3.4).
func (a Action) agrees(class int) bool {
	switch a {
	case Failed:
		return class == 5 || class == 4 // tried for too long
	case Delayed:
		return class == 4
	}
	return class == 2
}

// check tells what keeps a report from being written or taken.
func (r *Report) check() error {
	if r.Reporter == "" {
		return broken("no Reporting-MTA")
	}
	if len(r.Recipients) == 0 || len(r.Recipients) > MaxRecipients {
		return broken("%d recipients, where 1 to %d are", len(r.Recipients), MaxRecipients)
	}
	for i := range r.Recipients {
		to := &r.Recipients[i]
		class := Class(to.Status)
		switch {
		case to.Final.Addr == "":
			return broken("recipient %d has no address", i+1)
		case !to.Action.known():
			return broken("recipient %d has the action %.40q", i+1, to.Action)
		case class == 0:
			return broken("recipient %d has the status %.40q", i+1, to.Status)
		case !to.Action.agrees(class):
			return broken("recipient %d is %s with the status %s", i+1, to.Action, to.Status)
		}
	}
	return nil
}

// Worst is the action that the report is about, of several the worst.
func (r *Report) Worst() Action {
	for _, a := range []Action{Failed, Delayed, Relayed, Expanded, Delivered} {
		for _, to := range r.Recipients {
			if to.Action == a {
				return a
			}
		}
	}
	return ""
}
