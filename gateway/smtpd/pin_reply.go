package smtpd

import (
	"bytes"
	"context"
	"errors"
	"html"
	"io"
	"regexp"
	"strings"
	"unicode"

	"github.com/emersion/go-smtp"

	"pecgate/gateway/auth"
	"pecgate/mailbox/mime"
	"pecgate/policy"
)

// A message that is held for its sender's PIN is released by a reply to the
// notice that tells of it. The reply comes as a submission of the same user,
// from whatever address their mail program gives, and goes to an address that
// bears the token of the notice. Nothing of it is stored or handed on: the PIN
// in it goes to auth and nowhere else.

// Confirm knows what is held for a PIN.
type Confirm interface {
	// Token is the token in an address to which replies go; false for any other
	// address.
	Token(address string) (token string, ok bool)
	// Waiting returns what a token is for; ErrNotWaiting where that is nothing of
	// this user's.
	Waiting(ctx context.Context, token string, who policy.Identity) (Waiting, error)
	// Release queues it, once: a second call changes nothing. The PIN was right.
	Release(ctx context.Context, token string, who policy.Identity, remote string) error
}

// ErrNotWaiting says that a token is for nothing, or for nothing any more.
var ErrNotWaiting = errors.New("nothing waits for this reply")

// Waiting is a message that is or was held.
type Waiting struct {
	ID      string
	Mailbox string
	Waits   bool // else it was released before, or Ended
	Ended   bool // it was cancelled
	// Approval: it was approved by this user, who confirms that; Own says that
	// they had written it.
	Approval, Own bool
}

// maxReply is how much of a reply is read, in octets: what a person typed stands
// at its beginning. The rest is passed over.
const maxReply = maxHeader + 256<<10

// mayAnswer tells whether somebody who may not send from an address may still
// send a reply from it: theirs, or any other that is no PEC mailbox.
func (s *session) mayAnswer(p *policy.Policy, v policy.Verdict) bool {
	// Who approves for a mailbox may have no right to send from it.
	own := v.Reason == policy.UnknownMailbox || v.Reason == policy.BoxMismatch || v.Reason == policy.NoSend
	return own && s.srv.opt.Confirm != nil && p.ConfirmsByReply(s.who.User)
}

// answer takes a recipient that is the address of a reply. An error is the
// reply to RCPT; false with none means that it is a recipient like others.
func (s *session) answer(to string) (bool, error) {
	token, ok := "", false
	if s.srv.opt.Confirm != nil {
		token, ok = s.srv.opt.Confirm.Token(to)
	}
	switch {
	case !ok && s.token == "" && s.stranger != nil:
		return false, s.reply(s.stranger)
	case !ok && s.token == "":
		return false, nil
	case !ok, len(s.to) > 0 && token != s.token:
		return false, s.reply(refuse(550, "5.5.3", "La risposta con il PIN va inviata da sola, senza altri destinatari.",
			"Send the reply with the PIN by itself, to no other recipient.", "pin-reply"))
	}
	s.token = token
	if len(s.to) == 0 {
		s.to = append(s.to, to)
	}
	s.accepted++
	return true, nil
}

// confirmation is a reply on its way in.
type confirmation struct {
	*session
	body *body
	// author finds who wrote the reply, where the login does not say it; nil: it does.
	author func(message []byte) error
}

// receive takes a reply to its end and does what it asks for. Its errors are
// those of submission.receive.
func (in *confirmation) receive() (Receipt, error) {
	var text []byte
	for {
		piece, err := in.body.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return Receipt{}, err
		}
		text = append(text, piece[:min(len(piece), maxReply-len(text))]...)
	}
	if in.body.n > in.srv.opt.MaxSize {
		return Receipt{}, in.srv.tooLarge()
	}
	if in.author != nil {
		if err := in.author(text); err != nil {
			return Receipt{}, err
		}
	}
	if err := in.still(); err != nil {
		return Receipt{}, err
	}
	w, err := in.srv.opt.Confirm.Waiting(in.ctx, in.token, in.who)
	switch {
	case errors.Is(err, ErrNotWaiting), err == nil && w.Ended:
		return Receipt{}, refuse(550, "5.7.1", "L'avviso a cui si risponde non e' piu' valido: il messaggio e' stato annullato o il termine e' passato. Inviarlo di nuovo.",
			"The notice that is answered is not valid any more: the message was cancelled or its time is over. Send it again.", "pin-reply")
	case err != nil:
		return Receipt{}, err
	case !w.Waits:
		return Receipt{ID: w.ID, Duplicate: true, Confirmed: true, Already: true}, nil
	}
	p := in.srv.opt.Policy()
	// A login for one mailbox confirms what the same user sent from another.
	who := policy.Identity{User: in.who.User}
	v := p.DecideSender(who, w.Mailbox, in.srv.opt.Now())
	if w.Approval {
		v = p.DecideApproval(who, w.Mailbox, w.Own, in.srv.opt.Now())
	}
	if !v.Allow {
		return Receipt{}, verdict(v)
	}
	if !w.Approval && v.Then != policy.ToProvider {
		return Receipt{}, refuse(550, "5.7.1", "Non siete piu' abilitati a inviare da questa casella senza autorizzazione.",
			"You may not send from this mailbox any more without approval.", policy.NoSend)
	}
	pin := replyPIN(text)
	if pin == "" {
		return Receipt{}, refuse(550, "5.7.1", "Nella risposta non c'e' un PIN: scriverlo da solo nella prima riga e inviare di nuovo.",
			"There is no PIN in the reply: write it by itself in the first line and send again.", policy.PINMissing)
	}
	right, err := in.srv.opt.Auth.CheckPIN(in.ctx, in.who.User, pin, auth.Use{Mailbox: w.Mailbox, Remote: in.c.Remote()})
	if errors.Is(err, auth.ErrCodeSpent) {
		return Receipt{}, refuse(550, "5.7.1", "Il codice dell'app e' gia' stato usato: il messaggio resta trattenuto. Rispondere di nuovo con il prossimo codice.",
			"The code of the app was used already: the message stays held. Reply again with the next code.", "code-spent")
	}
	if err != nil {
		return Receipt{}, err
	}
	if !right {
		it, en := "", ""
		if u, ok := p.User(in.who.User); ok && u.TOTP != "" {
			it, en = " Ogni codice dell'app vale una volta sola.", " Each code of the app is good once."
		}
		return Receipt{}, refuse(550, "5.7.1", "PIN errato: il messaggio resta trattenuto. Rispondere di nuovo con il PIN corretto."+it,
			"Wrong PIN: the message stays held. Reply again with the right PIN."+en, policy.PINWrong)
	}
	if err := in.srv.opt.Confirm.Release(in.srv.ctx, in.token, in.who, in.c.Remote()); err != nil {
		return Receipt{}, err
	}
	return Receipt{ID: w.ID, Confirmed: true}, nil
}

// reply is the answer to a message that was taken.
func (r Receipt) reply() *smtp.SMTPError {
	id := word(r.ID)
	text := "Accettato come " + id + " / accepted as " + id
	switch {
	case r.Passed:
		text = "Accettato come posta ordinaria / accepted as ordinary mail"
	case r.Reported:
		text = r.reportedWords()
	case r.Stray:
		text = "Accettato per l'amministratore, non parte / accepted for the administrator, it is not sent"
	case r.Already:
		text = "Era gia' confermato: il messaggio " + id + " e' gia' partito o sta partendo, non serve altro / confirmed before: message " + id + " was sent already or is leaving, nothing more is to be done"
	case r.Confirmed:
		text = "Confermato, il messaggio " + id + " parte / confirmed, message " + id + " will be sent"
	case r.Held:
		it, en := r.Lack.words()
		text = "Trattenuto come " + id + ", non ancora partito: " + it + " / held as " + id + ", not sent yet: " + en
	case r.Approval:
		text = "Accettato come " + id + ", parte quando e' autorizzato / accepted as " + id + ", it leaves when it is approved"
	}
	return &smtp.SMTPError{Code: 250, EnhancedCode: smtp.EnhancedCode{2, 0, 0}, Message: text}
}

// words say what a held message needs.
func (l Lack) words() (it, en string) {
	switch l {
	case HoldWrong:
		return "il PIN dato e' errato; rispondere con il PIN corretto all'avviso in arrivo",
			"the PIN that was given is wrong; reply with the right PIN to the notice that follows"
	case HoldLocked:
		return "troppi PIN errati oggi, il PIN e' bloccato fino a mezzanotte; poi, o quando l'amministratore lo sblocca, rispondere con il PIN all'avviso in arrivo",
			"too many wrong PINs today, the PIN is locked until midnight; then, or once the administrator unlocks it, reply with the PIN to the notice that follows"
	case HoldSpent:
		return "il codice dell'app e' gia' stato usato; rispondere con il prossimo all'avviso in arrivo",
			"the code of the app was used already; reply with the next one to the notice that follows"
	}
	return "serve il PIN; rispondere con il PIN all'avviso in arrivo", "it needs the PIN; reply with the PIN to the notice that follows"
}

// replyPIN finds the PIN in a reply: a mark in its Subject, or else the first
// line that was typed, with nothing else in it. What follows is quoted, and not
// looked at. A program's reply has none.
func replyPIN(message []byte) string {
	index, err := mime.Parse(bytes.NewReader(message), int64(len(message)), mime.Limits{})
	if err != nil {
		return ""
	}
	for _, f := range mime.Fields(message[:index.Root.HeaderLen]) {
		switch {
		case strings.EqualFold(f.Name, "Auto-Submitted"): // RFC 3834 section 5
			if kind, _, _ := strings.Cut(f.Body(), ";"); !strings.EqualFold(strings.TrimSpace(kind), "no") {
				return ""
			}
		case strings.EqualFold(f.Name, "Subject"):
			if m := pinMark.FindStringSubmatch(mime.DecodeWords(f.Body())); m != nil {
				return strings.TrimSpace(m[1])
			}
		}
	}
	return typedPIN(firstLine(typedText(bytes.NewReader(message), &index.Root)))
}

// typedLine is a line that is a PIN.
var typedLine = regexp.MustCompile(`(?i)^(?:\[\s*PIN\s*:\s*([^\]]+)\]|(?:PIN\s*[:=]?\s*)?([0-9][0-9 ]{2,22}[0-9]))\.?$`)

// typedPIN is the PIN that a line is, "" where it is something else.
func typedPIN(line string) string {
	m := typedLine.FindStringSubmatch(line)
	if m == nil {
		return ""
	}
	if m[1] != "" {
		return strings.TrimSpace(m[1])
	}
	digits := strings.ReplaceAll(m[2], " ", "")
	if len(digits) < 4 || len(digits) > 12 {
		return ""
	}
	return digits
}

// firstLine is the first line that is not blank, without blanks and invisible
// characters around it; "" where that is quoted.
func firstLine(text string) string {
	for line := range strings.Lines(text) {
		line = strings.TrimFunc(line, func(r rune) bool {
			return unicode.IsSpace(r) || unicode.IsControl(r) || unicode.Is(unicode.Cf, r)
		})
		if line != "" {
			if line[0] == '>' {
				return ""
			}
			return strings.Map(func(r rune) rune {
				if unicode.IsSpace(r) {
					return ' '
				}
				return r
			}, line)
		}
	}
	return ""
}

// typedText is the text of a message as far as it is read: of alternatives the
// plain one, else the HTML without its marks.
func typedText(r io.ReaderAt, p *mime.Part) string {
	for len(p.Children) > 0 {
		next := &p.Children[0]
		for i := range p.Children {
			if c := &p.Children[i]; p.Subtype == "alternative" && c.Type == "text" && c.Subtype == "plain" {
				next = c
				break
			}
		}
		p = next
	}
	if p.Type != "text" {
		return ""
	}
	// A body that is cut off by maxReply ends in an error; what came counts.
	b, _ := io.ReadAll(io.LimitReader(mime.Content(r, p), 64<<10))
	text := mime.DecodeCharset(p.Params["charset"], b)
	if p.Subtype == "html" {
		text = withoutTags(text)
	}
	return text
}

// Parts of HTML.
var (
	unseen = regexp.MustCompile(`(?is)<!--.*?-->|<(head|style|script|title)\b.*?</(head|style|script|title)\s*>`)
	breaks = regexp.MustCompile(`(?i)<(?:br|/?p|/?div|/?tr|/?td|/?table|/?li|/?ul|hr|/?h[1-6]|body)\b[^>]*>`)
	quote  = regexp.MustCompile(`(?i)<blockquote\b`)
	tags   = regexp.MustCompile(`(?s)<[^>]*>`)
)

// withoutTags is what a person sees of HTML, up to the first quotation.
func withoutTags(s string) string {
	s = unseen.ReplaceAllString(s, "")
	if i := quote.FindStringIndex(s); i != nil {
		s = s[:i[0]]
	}
	s = strings.NewReplacer("\r", " ", "\n", " ").Replace(s)
	return html.UnescapeString(tags.ReplaceAllString(breaks.ReplaceAllString(s, "\n"), ""))
}
