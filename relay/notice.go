package relay

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"mime"
	"strings"
	"time"

	"pecgate/mailbox"
	"pecgate/relay/forward"
	"pecgate/relay/submit"
)

// notice is a message from the gateway to a person: who submitted something, or
// an administrator. It stands in the person's own INBOX.
type notice struct {
	from, subject, text string
	to, replyTo         string         // to: "": box; replyTo: "": none
	user                string         // login
	person              mailbox.Person // 0: that of user
	also                []addressee    // who else gets it; the only ones where user is ""
	box                 string         // PEC mailbox it is about
	about               string         // submission, if it is about one
	name                string         // in its Message-ID
	refers              string         // Message-ID it refers to
	at                  time.Time
	refuses             string // address of which it tells that it refuses mail
	// instead are those who get it in place of user, where that one has left; nil:
	// nobody does.
	instead func(*mailbox.Tx) ([]addressee, error)
}

// noticeOf returns the notice that an attempt's end calls for, or nil.
func noticeOf(sub *Submission, to State, r submit.Result, o Options) *notice {
	if to != NotAccepted {
		return nil
	}
	reply := answer(r)
	for _, x := range r.Refused {
		reply += fmt.Sprintf("\n%s: %d %s %s", x.Recipient, x.Code, x.Enhanced, x.Text)
	}
	if sub.child() {
		reply += "\n\nÈ uno dei messaggi di un invio multiplo: per gli altri vedere il resoconto nella cartella Esiti.\nThis is one message of a batch: the report in Esiti tells of the others."
	}
	return makeNotice(sub, o,
		"PEC non accettata dal gestore", "PEC refused by the provider",
		"Il gestore non ha accettato il messaggio: nessun destinatario lo ha ricevuto. Correggerlo e inviarlo di nuovo.",
		"The provider did not take the message: no recipient has received it. Correct it and send it again.",
		quoted(reply))
}

// here is the time in the zone of the appliance, as mail programs write it.
func (o Options) here() time.Time {
	if o.Location == nil {
		return o.Store.Now().UTC()
	}
	return o.Store.Now().In(o.Location)
}

func makeNotice(sub *Submission, o Options, subjectIT, subjectEN, it, en, detail string) *notice {
	subject, first, second := subjectIT, it, en
	if o.Language == "en" {
		subject, first, second = subjectEN, en, it
	}
	var to []string
	for _, r := range sub.Recipients {
		to = append(to, r.Address)
	}
	text := first + "\n\n" + second + "\n"
	if detail != "" {
		text += "\n" + detail + "\n"
	}
	text += fmt.Sprintf("\nid: %s\nMessage-ID: <%s>\n%s: %s\n%s: %s\n", sub.ID, sub.MsgID, o.label("mailbox"), sub.Box, o.label("to"), strings.Join(to, ", "))
	return &notice{
		from: o.Address, subject: subject, text: text, user: sub.User, person: sub.Person, box: sub.Box,
		about: sub.ID, name: sub.ID, refers: sub.MsgID, at: o.here(),
		instead: func(tx *mailbox.Tx) ([]addressee, error) { return o.tellInstead(tx, sub) },
	}
}

// quoted puts the provider's words under a line that says whose they are, in both
// languages.
func quoted(words string) string {
	if words == "" {
		return ""
	}
	return "Risposta del gestore / The provider's words:\n" + words
}

// label is what a line at the end of a notice begins with.
func (o Options) label(of string) string {
	if o.Language == "en" {
		return of
	}
	switch of {
	case "mailbox":
		return "casella PEC"
	case "to":
		return "destinatari"
	}
	return of
}

// bytes is the notice as a message (RFC 5322), base64 so that no word of a
// provider can be anything but text.
func (n *notice) bytes() []byte {
	var b strings.Builder
	header := func(name, value string) { fmt.Fprintf(&b, "%s: %s\r\n", name, value) }
	header("From", n.from)
	header("To", cmp.Or(n.to, n.box))
	if n.replyTo != "" {
		header("Reply-To", n.replyTo)
	}
	header("Subject", mime.QEncoding.Encode("utf-8", n.subject))
	header("Date", n.at.Format(time.RFC1123Z)) // bears the zone of the appliance: see Options.here
	header("Message-ID", fmt.Sprintf("<notice.%s.%d@%s>", n.name, n.at.UnixNano(), domainOf(n.from)))
	if n.refers != "" {
		header("References", "<"+n.refers+">")
	}
	header("Auto-Submitted", "auto-generated") // RFC 3834
	header(forward.LoopHeader, n.from)
	header("MIME-Version", "1.0")
	header("Content-Type", "text/plain; charset=utf-8")
	header("Content-Transfer-Encoding", "base64")
	b.WriteString("\r\n")
	enc := base64.StdEncoding.EncodeToString([]byte(strings.ReplaceAll(n.text, "\n", "\r\n")))
	for len(enc) > 76 {
		b.WriteString(enc[:76] + "\r\n")
		enc = enc[76:]
	}
	b.WriteString(enc + "\r\n")
	return []byte(b.String())
}

func domainOf(address string) string {
	if i := strings.LastIndexByte(address, '@'); i >= 0 {
		return address[i+1:]
	}
	return "localhost"
}

// errNothingToTell ends the transaction of a notice that was not called for.
var errNothingToTell = errors.New("relay: nothing to tell")

// file puts the notice into the person's INBOX together with what it tells of.
// with says whether there is something to tell. Whatever way notices take beside
// that begins here too.
func (n *notice) file(ctx context.Context, store *mailbox.Store, with func(*mailbox.Tx) (bool, error)) error {
	st, err := n.stored(ctx, store)
	if err != nil { // without room for a notice the outcome itself is still recorded; it fails too where the store is broken
		return store.Update(ctx, func(tx *mailbox.Tx) error { _, err := with(tx); return err })
	}
	return n.record(ctx, store, st, with)
}

// fileOnly is file for what means nothing without its notice: both are recorded
// or, after an error, neither.
func (n *notice) fileOnly(ctx context.Context, store *mailbox.Store, with func(*mailbox.Tx) (bool, error)) error {
	st, err := n.stored(ctx, store)
	if err != nil {
		return err
	}
	return n.record(ctx, store, st, with)
}

// stored writes the notice's bytes.
func (n *notice) stored(ctx context.Context, store *mailbox.Store) (*mailbox.Stored, error) {
	in, err := store.Begin(ctx)
	if err != nil {
		return nil, err
	}
	defer in.Abort() // no effect after Store
	if _, err := in.Write(n.bytes()); err != nil {
		return nil, err
	}
	return in.Store(ctx, mailbox.Origin{Direction: mailbox.Own, User: n.user, Submission: n.about})
}

func (n *notice) record(ctx context.Context, store *mailbox.Store, st *mailbox.Stored, with func(*mailbox.Tx) (bool, error)) error {
	defer st.Close() // read-only handle: nothing to lose
	_, err := store.Record(ctx, st, func(tx *mailbox.Tx, m *mailbox.Message) error {
		tell, err := with(tx)
		if err != nil {
			return err
		}
		if !tell {
			return errNothingToTell
		}
		m.Submission = n.about
		all, err := n.addressees(tx)
		if err != nil {
			return err
		}
		for _, to := range all {
			if to.person == 0 {
				if to.person, err = tx.EnsurePerson(to.user); err != nil {
					return err
				}
			}
			if _, _, err := tx.File(mailbox.FolderKey{Owner: to.person, Role: mailbox.RoleInbox}, m, mailbox.Filing{Audience: to.person}); err != nil {
				return err
			}
		}
		return noteForward(tx, routed{Message: m.ID, What: routeNotice, Box: n.box, Refuses: n.refuses})
	})
	if errors.Is(err, errNothingToTell) {
		return store.Update(ctx, func(tx *mailbox.Tx) error { _, err := with(tx); return err })
	}
	return err
}

// addressees are all who get the notice.
func (n *notice) addressees(tx *mailbox.Tx) ([]addressee, error) {
	if n.user == "" {
		return n.also, nil
	}
	first := []addressee{{user: n.user, person: n.person}}
	if n.instead != nil {
		others, err := n.instead(tx)
		if err != nil {
			return nil, err
		}
		if len(others) > 0 {
			first = others
		}
	}
	return onceEach(append(first, n.also...)), nil
}
