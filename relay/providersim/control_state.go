package providersim

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	defaultLast = 50    // entries of a list
	maxLast     = 10000 // with ?last=
	maxSettle   = controlTime * 3 / 4
)

// controlState is what /state tells; its keys are stable. Lists begin with the newest.
type controlState struct {
	Domain      string             `json:"domain"`
	Name        string             `json:"name"`
	Style       string             `json:"style"`
	Hour        string             `json:"hour"`
	SMTP        string             `json:"smtp"`
	IMAP        string             `json:"imap"`
	POP3        string             `json:"pop3"`
	Settled     bool               `json:"settled"` // no receipt is outstanding
	Faults      []controlFault     `json:"faults"`
	Mailboxes   []controlMailbox   `json:"mailboxes"`
	Behaviours  []controlBehaviour `json:"behaviours"`
	Submissions []controlSubmitted `json:"submissions"`
	Emitted     []controlEmitted   `json:"emitted"`
	Logins      []controlLogin     `json:"logins"`
	Totals      controlTotals      `json:"totals"`
}

type controlFault struct {
	Name  string `json:"name"`
	Kind  string `json:"kind"`
	Text  string `json:"text"`
	Value string `json:"value"`
}

// Off tells the page which switches to mark.
func (f controlFault) Off() bool { return f.Value == "off" || f.Value == "0" || f.Value == "0s" }

type controlMailbox struct {
	Address  string          `json:"address"`
	Username string          `json:"username"`
	Folders  []controlFolder `json:"folders"`
}

type controlFolder struct {
	Name        string `json:"name"`
	Messages    int    `json:"messages"`
	Unseen      int    `json:"unseen"`
	Bytes       int64  `json:"bytes"`
	UIDValidity uint32 `json:"uidvalidity"`
}

type controlBehaviour struct {
	Address   string `json:"address"`
	Behaviour string `json:"behaviour"`
}

type controlSubmitted struct {
	ID         string    `json:"id"`
	At         time.Time `json:"at"`
	From       string    `json:"from"`
	Recipients []string  `json:"recipients"`
	MsgID      string    `json:"msgid"`
	Size       int64     `json:"size"`
	SHA256     string    `json:"sha256"`
	Answered   bool      `json:"answered"`
}

type controlEmitted struct {
	At      time.Time `json:"at"`
	Mailbox string    `json:"mailbox"`
	Kind    string    `json:"kind"`
	Number  int       `json:"number"`
	UID     uint32    `json:"uid"`
	MsgID   string    `json:"msgid"`
	About   string    `json:"about"`
	Size    int       `json:"size"`
	SHA256  string    `json:"sha256"`
}

type controlLogin struct {
	At       time.Time `json:"at"`
	Protocol string    `json:"protocol"`
	Username string    `json:"username"`
	OK       bool      `json:"ok"`
}

type controlTotals struct {
	Submissions int `json:"submissions"`
	Emitted     int `json:"emitted"`
	Logins      int `json:"logins"`
}

// snapshot collects the state with the last entries of each list.
func (c *control) snapshot(last int) controlState {
	p := c.p
	s := controlState{
		Domain: p.o.Domain, Name: p.o.Name, Style: p.o.Style.String(), Hour: p.o.Hour.String(),
		SMTP: p.SMTPAddr(), IMAP: p.IMAPAddr(), POP3: p.POP3Addr(), Settled: p.jobs.idle(),
		Behaviours: []controlBehaviour{}, Submissions: []controlSubmitted{}, Emitted: []controlEmitted{}, Logins: []controlLogin{},
	}
	for _, f := range p.faults.Describe() {
		s.Faults = append(s.Faults, controlFault{f.Name, f.Kind, f.Text, f.Value})
	}
	for _, a := range append(slices.Clone(p.accounts), p.service) {
		s.Mailboxes = append(s.Mailboxes, mailboxState(a))
	}
	for address, b := range p.BehaviourSet() {
		s.Behaviours = append(s.Behaviours, controlBehaviour{address, string(b)})
	}
	slices.SortFunc(s.Behaviours, func(a, b controlBehaviour) int { return strings.Compare(a.Address, b.Address) })
	submitted, emitted, logins := p.Ledger(), p.Emitted(), p.Logins()
	s.Totals = controlTotals{len(submitted), len(emitted), len(logins)}
	for _, m := range newest(submitted, last) {
		s.Submissions = append(s.Submissions, controlSubmitted{m.ID, m.At, m.From, m.Recipients, m.MessageID, m.Size, m.SHA256, m.Answered})
	}
	for _, m := range newest(emitted, last) {
		s.Emitted = append(s.Emitted, controlEmitted{m.At, m.Mailbox, string(m.Kind), m.Number, m.UID, m.MsgID, m.About, len(m.Raw), m.SHA256})
	}
	for _, l := range newest(logins, last) {
		s.Logins = append(s.Logins, controlLogin{l.At, l.Protocol, l.Username, l.OK})
	}
	return s
}

func mailboxState(a *account) controlMailbox {
	m := controlMailbox{Address: a.Address, Username: a.Username}
	for _, place := range a.list() {
		st := place.state()
		f := controlFolder{Name: place.name, Messages: len(st.messages), UIDValidity: st.validity}
		for _, msg := range st.messages {
			f.Bytes += int64(len(msg.Raw))
			if !hasFlag(msg.Flags, `\Seen`) {
				f.Unseen++
			}
		}
		m.Folders = append(m.Folders, f)
	}
	return m
}

// newest is the end of a list, the last entry first.
func newest[T any](list []T, n int) []T {
	out := slices.Clone(list[max(len(list)-n, 0):])
	slices.Reverse(out)
	return out
}

// state answers GET /state: ?last=N gives longer lists, ?settle=DURATION waits
// so long for the receipts that are outstanding.
func (c *control) state(w http.ResponseWriter, r *http.Request) {
	last := defaultLast
	if v := r.URL.Query().Get("last"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 0 || n > maxLast {
			http.Error(w, "last is not a number up to "+strconv.Itoa(maxLast), http.StatusBadRequest)
			return
		}
		last = n
	}
	if v := r.URL.Query().Get("settle"); v != "" {
		d, err := time.ParseDuration(v)
		if err != nil || d < 0 || d > maxSettle {
			http.Error(w, "settle is not a duration up to "+maxSettle.String(), http.StatusBadRequest)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), d)
		defer cancel()
		// Whether it did is in the answer.
		_ = c.p.Settle(ctx)
	}
	w.Header().Set("Content-Type", "application/json")
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	if err := e.Encode(c.snapshot(last)); err != nil {
		c.p.log.Debug("control page: state not sent", "error", err)
	}
}

// emitted answers GET /emitted/<sha256>.eml with the bytes as IMAP serves them.
func (c *control) emitted(w http.ResponseWriter, r *http.Request) {
	for _, e := range c.p.Emitted() {
		if e.SHA256+".eml" == r.PathValue("file") {
			serveMessage(w, r, e.Raw)
			return
		}
	}
	http.Error(w, "no emitted message has this SHA-256", http.StatusNotFound)
}

// submitted answers GET /submitted/<sha256>.eml with the bytes as they were accepted.
func (c *control) submitted(w http.ResponseWriter, r *http.Request) {
	for _, s := range c.p.Ledger() {
		if s.SHA256+".eml" == r.PathValue("file") {
			serveMessage(w, r, s.Raw)
			return
		}
	}
	http.Error(w, "no submission has this SHA-256", http.StatusNotFound)
}

func serveMessage(w http.ResponseWriter, r *http.Request, raw []byte) {
	h := w.Header()
	h.Set("Content-Type", "message/rfc822")
	// Never shown: it is a stranger's, and may hold HTML.
	h.Set("Content-Disposition", `attachment; filename="`+r.PathValue("file")+`"`)
	h.Set("Content-Length", strconv.Itoa(len(raw)))
	// A client that went away is no event.
	_, _ = w.Write(raw)
}
