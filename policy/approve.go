package policy

import (
	"slices"
	"time"
)

// Reasons of DecideApproval beside those of Decide.
const (
	NoApprove   = "no-approve"   // the member does not approve
	OwnApproval = "own-approval" // it is their own, and the mailbox does not allow that
)

// ApprovalPIN reports whether who approves confirms it by replying with their PIN, whatever PINMethods say: an approval
// comes by IMAP, where no other way is.
func (m *Mailbox) ApprovalPIN() bool { return m.PINRequired && !m.ApprovalNoPIN }

// DecideApproval judges a member who releases what a member with compose wrote; own says that they wrote it themselves. Of
// an approval that is allowed Then says whether it waits for the PIN.
func (p *Policy) DecideApproval(id Identity, box string, own bool, now time.Time) Verdict {
	u, ok := p.User(id.User)
	if !ok {
		return refuseNotMember(lower(box))
	}
	if id.Archive {
		return refuseArchive()
	}
	if id.Box != "" && !same(id.Box, box) {
		return refuseBoxMismatch(id.Box)
	}
	m, ok := p.Mailbox(box)
	if !ok {
		return refuseUnknownMailbox(lower(box))
	}
	lines := m.of(u.Login)
	if len(lines) == 0 {
		return refuseNotMember(m.Address)
	}
	l := merge(lines)
	deciding, _ := decides(lines, Approve)
	switch {
	case l.expired(now):
		return refuseExpired(m.Address, lines[expires(lines)].Line)
	case l.early(now):
		return refuseNotYet(m.Address, lines[begins(lines)].Line)
	case !l.Approve:
		return refuseNoApprove(m.Address, lines[deciding].Line)
	case own && !m.ApproveOwn:
		return refuseOwnApproval(m.Address, m.Line)
	case !m.Active:
		return refuseInactive(m.Address, m.Line)
	case m.ApprovalPIN() && !u.HasPIN():
		return m.refusePIN(u, false, m.Address)
	}
	v := Verdict{
		Allow: true, Code: 250, Enhanced: "2.0.0", Line: lines[deciding].Line, Reason: Allowed,
		Italian: "Messaggio autorizzato.", English: "Message approved.",
	}
	if m.ApprovalPIN() {
		v.Then, v.Line = HoldPIN, m.Line
		v.Italian = "Autorizzazione da confermare: rispondere all'avviso in arrivo scrivendo il PIN."
		v.English = "The approval is to be confirmed: reply with the PIN to the notice that follows."
	}
	return v
}

// confirmsApproval reports whether a user may be asked to confirm an approval by their PIN.
func (m *Mailbox) confirmsApproval(login string) bool {
	return m.ApprovalPIN() && slices.ContainsFunc(m.Members, func(l Member) bool { return l.Approve && same(l.User, login) })
}

func refuseNoApprove(address, line string) Verdict {
	return refuse(NoApprove, 550, "5.7.1", line,
		"Non siete abilitati ad autorizzare i messaggi della casella "+address+": rivolgersi all'amministratore.",
		"You may not approve the messages of the mailbox "+address+": ask the administrator.")
}

func refuseOwnApproval(address, line string) Verdict {
	return refuse(OwnApproval, 550, "5.7.1", line,
		"Un messaggio proprio va autorizzato da un altro membro della casella "+address+".",
		"What you wrote yourself must be approved by another member of the mailbox "+address+".")
}
