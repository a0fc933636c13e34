package smtpd

import (
	"errors"
	"regexp"
	"slices"
	"strings"

	"pecgate/gateway/auth"
	"pecgate/mailbox/mime"
	"pecgate/mailbox/planted"
	"pecgate/policy"
)

// pinMark is a PIN mark. What a person may have meant as one (auth.MeansPIN) must
// not leave the house either.
var pinMark = regexp.MustCompile(`(?i)\[\s*PIN\s*:\s*([^\]]*)\]`)

// pinField gives the PIN of an application. It is cut whatever the mailbox
// allows.
const pinField = "X-Pecgate-PIN"

func unclearPIN() *refusal {
	return refuse(550, "5.7.1", "Il PIN va scritto una sola volta, nell'oggetto, nella forma [PIN:...].",
		"Write the PIN once, in the subject, in the form [PIN:...].", "pin-form")
}

// noPINWay is for a mailbox whose PIN may come by reply, from a server by which it may not.
func noPINWay(given bool) *refusal {
	why := policy.PINMissing
	if given {
		why = policy.PINWrong
	}
	return refuse(550, "5.7.1", "La casella richiede il PIN e da questo server il PIN giusto si da' solo nell'oggetto, nella forma [PIN:...]: aggiungerlo o rivolgersi all'amministratore.",
		"The mailbox asks for the PIN, and from this server the right PIN comes only in the subject, in the form [PIN:...]: add it or ask the administrator.", why)
}

// cutPIN takes every mark out of Subject and Thread-Topic (Outlook copies the
// subject there), and the field X-Pecgate-PIN. Only the Subject's marks give a
// PIN; those that disagree give none.
func (l *letter) cutPIN(header []byte) error {
	edited, marks, err := mime.CutMark(header, []string{"Subject"}, pinMark)
	if err != nil {
		return unclearPIN()
	}
	whole := edited
	edited, copies, err := mime.CutMark(edited, []string{"Thread-Topic"}, pinMark)
	if err != nil {
		return unclearPIN()
	}
	for _, m := range slices.Concat(marks, copies) {
		if strings.Count(m, "[") > 1 {
			return unclearPIN() // the PIN may stand behind the mark that was cut
		}
	}
	for _, m := range marks {
		v := pinMark.FindStringSubmatch(m)
		if v == nil {
			return unclearPIN()
		}
		given := strings.TrimSpace(v[1])
		if l.pin != "" && given != l.pin {
			return unclearPIN()
		}
		l.pin = given
	}
	if edited, err = l.cutPINField(edited); err != nil {
		return err
	}
	if len(marks)+len(copies) > 0 || l.fieldPIN != "" {
		l.edits = append(l.edits, "PIN cut")
	}
	// A mark without its end, or in another field, would be sent with the PIN.
	for _, f := range mime.Fields(edited) {
		body := f.Body()
		if auth.MeansPIN(body) || strings.Contains(body, "=?") && auth.MeansPIN(mime.DecodeWords(body)) {
			return unclearPIN()
		}
	}
	l.header = edited
	if planted.Is(planted.PINInThreadTopic) {
		l.header = whole
	}
	return nil
}

// cutPINField takes the field out, with its blanks and line end. Two of them
// are two PINs.
func (l *letter) cutPINField(header []byte) ([]byte, error) {
	var out []byte
	kept := 0
	for _, f := range mime.Fields(header) {
		if !strings.EqualFold(f.Name, pinField) {
			continue
		}
		if kept > 0 {
			return nil, unclearPIN()
		}
		l.fieldPIN = strings.TrimSpace(value(f))
		out = append(out, header[:f.Off]...)
		kept = f.Off + len(f.Raw)
	}
	if kept == 0 {
		return header, nil
	}
	return append(out, header[kept:]...), nil
}

// pinFor is the PIN that was given for a mailbox in a way that it allows; "" for
// none. What was given in another way was cut, and is not looked at. Of what the
// message says itself and what came with the login the message is the newer.
func (in *submission) pinFor(m *policy.Mailbox) (string, error) {
	pin := ""
	if in.takes(m, policy.PINBySubject) {
		pin = in.mail.pin
	}
	if field := in.mail.fieldPIN; in.takes(m, policy.PINByHeader) && field != "" {
		if pin != "" && pin != field {
			return "", unclearPIN()
		}
		pin = field
	}
	if in.handed != nil && in.handed.PIN != "" && in.takes(m, policy.PINByHeader) {
		if pin != "" && pin != in.handed.PIN {
			return "", unclearPIN()
		}
		pin = in.handed.PIN
	}
	if pin == "" && in.takes(m, policy.PINByPassword) {
		pin = in.loginPIN
	}
	return pin, nil
}

// provePIN has the PIN of a message judged that is good otherwise: queued, held
// for its PIN, or refused. A PIN that is locked counts as none where the
// message can be held.
func (in *submission) provePIN(p *policy.Policy, m *policy.Mailbox, size int64) (*Receipt, error) {
	known, err := in.delivery.Known(in.ctx)
	if err != nil {
		return nil, err
	}
	if known.ID != "" && !known.Held {
		return &known, nil // it was proved then: the client has only lost our answer
	}
	if in.pin == "" {
		if known.ID != "" {
			return &known, nil
		}
		return nil, in.judgePIN(p, size, false, HoldMissing)
	}
	right, err := in.srv.opt.Auth.CheckPIN(in.ctx, in.who.User, in.pin, auth.Use{Mailbox: m.Address, Remote: in.remote()})
	lack := HoldWrong
	switch {
	case errors.Is(err, auth.ErrPINLocked) && in.takes(m, policy.PINByReply):
		lack = HoldLocked
	case errors.Is(err, auth.ErrCodeSpent) && in.takes(m, policy.PINByReply):
		lack = HoldSpent
	case err != nil:
		return nil, err
	}
	return nil, in.judgePIN(p, size, right, lack)
}

// judgePIN asks the policy once more, with what is known of the PIN now.
func (in *submission) judgePIN(p *policy.Policy, size int64, right bool, lack Lack) error {
	v := in.judge(p, size, right)
	if !v.Allow {
		return verdict(v)
	}
	if v.Then == policy.HoldPIN {
		if m, ok := p.Mailbox(in.from); ok && !in.takes(m, policy.PINByReply) {
			return noPINWay(in.pin != "")
		}
		in.lack = lack
		in.delivery.Hold(lack)
	} else if right {
		in.proved = true
		in.delivery.Proved()
	}
	return nil
}
