package smtpd

import (
	"bytes"
	"encoding/base64"
	"errors"
	"slices"
	"strings"

	"pecgate/gateway/auth"
	"pecgate/mailbox/mime"
)

// Where a groupware server cannot log in, and strangers send from the same addresses, a
// header field with a secret in each message says that it is the organisation's own.
// It is looked at right behind the header, before anything else is, and goes no
// further: what the rest of this package sees of a message has no such field.

// header gathers a message's header block without the field of the secret, where the
// server must set one; it fails where that is not right. What the header of such a
// server looks like to two readers alike must be certain first.
func (s *relaySession) header(b *body) (read []byte, end int, err error) {
	read, end, err = s.session.header(b)
	if s.peer.SecretField == "" || over(err) {
		return read, end, err
	}
	if err == nil && b.dirty {
		err = badBytes()
	}
	if err == nil {
		read, end, err = s.proved(read, end)
	}
	if err != nil {
		return nil, -1, err
	}
	b.leak = s.secret
	return read, end, nil
}

// proved takes the field of the secret out of what was read of a message, of which the
// first end octets are its header.
func (s *relaySession) proved(read []byte, end int) ([]byte, int, error) {
	if s.peer.SecretField == "" {
		return read, end, nil
	}
	var values []string
	var out []byte
	kept := 0
	for _, f := range mime.Fields(read[:end]) {
		if !strings.EqualFold(f.Name, s.peer.SecretField) {
			continue
		}
		v := ""
		if wellFormed(f) {
			v = value(f)
		}
		values = append(values, v)
		out = append(out, read[kept:f.Off]...)
		kept = f.Off + len(f.Raw)
	}
	if err := s.rightSecret(values); err != nil {
		return nil, -1, err
	}
	out = append(out, read[kept:]...)
	s.secret = newLeak(values[0])
	s.secret.add(out)
	return out, end - (len(read) - len(out)), nil
}

// rightSecret has the values of the field judged.
func (s *relaySession) rightSecret(values []string) error {
	err := auth.ErrRelaySecret
	if a := s.srv.opt.Relay.Auth; a != nil {
		err = a.RelaySecret(s.peer.SecretHash, values, s.c.Remote())
	}
	if err == nil {
		return nil
	}
	where := ""
	if rule, ok := s.srv.opt.Policy().Relay(s.peer.Name); ok {
		where = rule.Line
	}
	if errors.Is(err, auth.ErrSecretThrottled) {
		s.c.hangUp = silence
		r := refuse(421, "4.7.0", "Da questa rete arrivano troppi messaggi senza il segreto del relay (secret_header): riprovare piu' tardi.",
			"Too many messages without the secret of the relay (secret_header) come from this network: try again later.", "relay-secret-throttled")
		r.where = where
		return r
	}
	r := noSecret(len(values))
	r.where = where
	return r
}

func noSecret(fields int) *refusal {
	why := "relay-secret-wrong"
	switch {
	case fields == 0:
		why = "relay-secret-missing"
	case fields > 1:
		why = "relay-secret-twice"
	}
	// Which of them it is only the log tells.
	return refuse(550, "5.7.1", "Il messaggio non ha, una volta sola, il segreto con cui il server di posta dell'ente si fa riconoscere (secret_header in policy.yaml): l'amministratore deve controllare la regola che lo aggiunge.",
		"The message does not have, once, the secret by which the organisation's mail server is known (secret_header in policy.yaml): the administrator must look at the rule that adds it.", why)
}

// secretInside refuses what would carry the secret out of the house, as a notice of
// failure that somebody attaches.
func secretInside() *refusal {
	return refuse(550, "5.7.1", "Nel messaggio o in un allegato si legge il segreto del server di posta (secret_header), come negli avvisi di mancato recapito: toglierlo e inviare di nuovo.",
		"The secret of the mail server (secret_header) can be read in the message or an attachment, as in notices of failure: take it out and send again.", "relay-secret-inside")
}

// leak looks for a secret in text that comes in pieces: as it is, and inside of base64.
// Line ends, blanks and soft ends of quoted-printable within it do not hide it. A nil
// one finds nothing.
type leak struct {
	forms [][]byte
	tail  []byte // what may be the beginning of one
	found bool
}

func newLeak(secret string) *leak {
	l := &leak{forms: [][]byte{[]byte(secret)}}
	for before := range 3 { // octets of a group of three that stand before it
		coded := base64.RawStdEncoding.EncodeToString(append(make([]byte, before), secret...))
		// Characters at the ends hold bits of neighbours, too.
		l.forms = append(l.forms, []byte(coded[(before*8+5)/6:(before+len(secret))*8/6]))
	}
	return l
}

func (l *leak) add(piece []byte) {
	if l == nil || l.found {
		return
	}
	text, most := l.tail, 0
	for _, c := range piece {
		if c != '\r' && c != '\n' && c != ' ' && c != '\t' && c != '=' {
			text = append(text, c)
		}
	}
	for _, f := range l.forms {
		l.found = l.found || bytes.Contains(text, f)
		most = max(most, len(f))
	}
	l.tail = slices.Clone(text[max(0, len(text)-most+1):])
}

func (l *leak) seen() bool { return l != nil && l.found }

// in tells whether it stands in a text for itself.
func (l *leak) in(text []byte) bool {
	if l == nil {
		return false
	}
	other := &leak{forms: l.forms}
	other.add(text)
	return other.found
}
