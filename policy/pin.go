package policy

import (
	"slices"
	"strings"
)

// The ways in which a PIN may be given.
const (
	PINBySubject  = "subject"  // [PIN:...] in the Subject
	PINByReply    = "reply"    // the message is held, and a reply to the notice of that releases it
	PINByHeader   = "header"   // the field X-Pecgate-PIN
	PINByPassword = "password" // behind the password of the login, after a space
)

// PINBy reports whether the mailbox allows a way to give the PIN. The subject is
// the way where none is named.
func (m *Mailbox) PINBy(method string) bool {
	if len(m.PINMethods) == 0 {
		return method == PINBySubject
	}
	return slices.Contains(m.PINMethods, method)
}

// HasPIN reports whether a user has a PIN, or one-time codes in place of it.
func (u *User) HasPIN() bool { return u.PIN != "" || u.TOTP != "" }

// ConfirmsByReply reports whether a user may be asked for a PIN by a notice: then a mail whose sender is no PEC mailbox may
// be the reply to one.
func (p *Policy) ConfirmsByReply(login string) bool {
	return slices.ContainsFunc(p.Mailboxes, func(m Mailbox) bool {
		return m.PINRequired && m.PINBy(PINByReply) && slices.ContainsFunc(m.Members, func(l Member) bool { return same(l.User, login) }) ||
			m.confirmsApproval(login)
	})
}

// withoutPIN is the verdict on a submission that is good but for its PIN: held where the mailbox allows the reply, and the
// user has a PIN to reply with. It has one sentence for missing and wrong: which of the two it was is nobody's business but
// the log's.
func (m *Mailbox) withoutPIN(u *User, given bool, address string, v Verdict) Verdict {
	if m.PINBy(PINByReply) && u.HasPIN() {
		v.Then, v.Enhanced, v.Reason = HoldPIN, "2.0.0", PINMissing
		if given {
			v.Reason = PINWrong
		}
		v.Line = m.Line
		v.Italian = "Messaggio trattenuto, non ancora partito: serve il PIN; rispondere all'avviso in arrivo scrivendo il PIN."
		v.English = "Message held, not sent yet: it needs the PIN; reply with the PIN to the notice that follows."
		return v
	}
	return m.refusePIN(u, given, address)
}

func (m *Mailbox) refusePIN(u *User, given bool, address string) Verdict {
	reason := PINMissing
	if given {
		reason = PINWrong
	}
	if !u.HasPIN() {
		return refuse(reason, 550, "5.7.1", m.Line,
			"Per inviare da "+address+" serve il PIN, e l'utente non ne ha uno: rivolgersi all'amministratore.",
			"Sending from "+address+" needs the PIN, and the user has none: ask the administrator.")
	}
	var it, en []string
	for _, way := range []struct{ method, italian, english string }{
		{PINBySubject, "scrivere [PIN:...] nell'oggetto", "write [PIN:...] in the subject"},
		{PINByHeader, "indicarlo nel campo X-Pecgate-PIN", "give it in the field X-Pecgate-PIN"},
		{PINByPassword, "scriverlo dopo la password e uno spazio", "write it behind the password and a space"},
	} {
		if m.PINBy(way.method) {
			it, en = append(it, way.italian), append(en, way.english)
		}
	}
	onceIt, onceEn := "", ""
	if u.TOTP != "" { // whoever sends two messages in one half minute must know why the second is refused
		onceIt, onceEn = " Il PIN e' il codice dell'app: ognuno vale una volta sola.", " The PIN is the code of the app: each is good once."
	}
	return refuse(reason, 550, "5.7.1", m.Line,
		"Per inviare da "+address+" serve il PIN corretto: "+strings.Join(it, " o ")+" e inviare di nuovo."+onceIt,
		"Sending from "+address+" needs the right PIN: "+strings.Join(en, " or ")+" and send again."+onceEn)
}
