package relay

import (
	"errors"
	"strings"

	"pecgate/mailbox"
	"pecgate/mailbox/pec"
	"pecgate/policy"
)

// Who gets what arrives about sending, and what is wrong with a mailbox
// (receipts_to and the table of rights):
//
//   - A receipt of a submission is its sender's, in the mailbox's folder. Where the
//     sender sees no tree that holds it, it stands in their own INBOX too, unless
//     receipts_to gives the receipts to the receivers alone.
//   - Where the sender's login has left the policy, or has no right on the mailbox
//     any more, and for what is tied to no submission, it is for everybody who
//     receives; where nobody does, it stands in the administrator's INBOX too.
//   - Anomalies are for those who have that right, else as before.
//   - What is between providers only is the administrator's.
//   - Reports of outcomes and notices go the same way.
//
// What everybody who receives sees of other people's receipts is for the one who
// shows the folders (receipts_to receivers or both): it follows the policy as it is
// when somebody looks. History is filed and stands in no INBOX.

// destination is who gets what is filed in a folder of a mailbox.
type destination struct {
	audience mailbox.Person   // in the mailbox's folder; 0: all who see what is nobody's
	inbox    []mailbox.Person // who sees it in no folder of the mailbox, so that it stands in their own INBOX too
}

// seesReceipts tells whether somebody sees the receipts of what they sent in the
// mailbox's tree.
func seesReceipts(r policy.Rights) bool { return r.Reads() && (r.Receive || r.Writes()) }

// getsReceipts and getsAnomalies tell whether somebody sees what is nobody's in
// particular.
func getsReceipts(r policy.Rights) bool  { return r.Reads() && r.Receive }
func getsAnomalies(r policy.Rights) bool { return r.Reads() && r.Anomalies }

// rights are those of a login on a mailbox by now. Without a policy everybody has
// all.
func (o Options) rights(login, box string) policy.Rights {
	if o.Policy == nil {
		return policy.Rights{Send: true, Receive: true, Anomalies: true}
	}
	return o.Policy().Rights(login, box, o.Store.Now())
}

// anybody tells whether a member of a mailbox has rights that are enough.
func (o Options) anybody(box string, enough func(policy.Rights) bool) bool {
	if o.Policy == nil {
		return true
	}
	p := o.Policy()
	m, ok := p.Mailbox(box)
	if !ok {
		return false
	}
	for _, l := range m.Members {
		if l.User != "" && enough(p.Rights(l.User, box, o.Store.Now())) {
			return true
		}
	}
	return false
}

// receiptsTo is the mailbox's setting: sender, receivers or both.
func (o Options) receiptsTo(box string) string {
	if o.Policy != nil {
		if m, ok := o.Policy().Mailbox(box); ok {
			return m.ReceiptsTo
		}
	}
	return "sender"
}

// toAll is where goes what is nobody's in particular: to those whose rights are
// enough, else to the administrator.
func (o Options) toAll(tx *mailbox.Tx, box string, enough func(policy.Rights) bool) (d destination, err error) {
	if o.anybody(box, enough) {
		return d, nil
	}
	return o.toInbox(tx, d, o.account(box).Admin)
}

// toInbox adds the INBOX of a login, if there is one.
func (o Options) toInbox(tx *mailbox.Tx, d destination, login string) (destination, error) {
	if login == "" {
		return d, nil
	}
	who, err := tx.EnsurePerson(login)
	d.inbox = append(d.inbox, who)
	return d, err
}

// toSender is where what comes about a submission goes.
func (o Options) toSender(tx *mailbox.Tx, sub *Submission) (d destination, err error) {
	login, err := o.senderNow(tx, sub)
	if err != nil {
		return d, err
	}
	if login == "" {
		return o.toAll(tx, sub.Box, getsReceipts)
	}
	d.audience = sub.Person
	if seesReceipts(o.rights(login, sub.Box)) {
		return d, nil
	}
	if o.receiptsTo(sub.Box) != "receivers" {
		d.inbox = []mailbox.Person{sub.Person}
		return d, nil
	}
	return o.alsoAdmin(tx, d, sub.Box)
}

// alsoAdmin adds the administrator where nobody receives.
func (o Options) alsoAdmin(tx *mailbox.Tx, d destination, box string) (destination, error) {
	all, err := o.toAll(tx, box, getsReceipts)
	d.inbox = all.inbox
	return d, err
}

// senderNow is the login of who sent a submission by now, or "" where they have
// left, or have no right on the mailbox any more.
func (o Options) senderNow(tx *mailbox.Tx, sub *Submission) (string, error) {
	if _, left, err := tx.Left(sub.Person); err != nil || left {
		return "", err
	}
	login, err := tx.Login(sub.Person)
	if errors.Is(err, mailbox.ErrNotFound) {
		login, err = sub.User, nil // it never logged in here: made anew from the bytes
	}
	if err != nil || !o.rights(login, sub.Box).Any() {
		return "", err
	}
	return login, nil
}

// toWhom is where a message goes that arrived and is tied to sub, or to nothing.
func (o Options) toWhom(tx *mailbox.Tx, acc Account, r *pec.Report, to mailbox.Role, sub *Submission) (d destination, err error) {
	switch {
	case sub != nil:
		return o.toSender(tx, sub)
	case forAdmin(r):
		if d.audience, err = tx.EnsurePerson(acc.Admin); err != nil || getsAnomalies(o.rights(acc.Admin, acc.Box)) {
			return d, err
		}
		d.inbox = []mailbox.Person{d.audience}
		return d, nil
	case to == mailbox.RoleAnomalies:
		return o.toAll(tx, acc.Box, getsAnomalies)
	case aboutSending(r.Kind):
		return o.toAll(tx, acc.Box, getsReceipts)
	}
	return d, nil // incoming mail is for those who receive, and for nobody else
}

// giveTo files a message that stands in its folder in the INBOX of each who sees
// no folder that holds it.
func giveTo(tx *mailbox.Tx, m *mailbox.Message, all []mailbox.Person) error {
	if m.History {
		return nil
	}
	for _, who := range all {
		k := mailbox.FolderKey{Owner: who, Role: mailbox.RoleInbox}
		if _, _, err := tx.File(k, m, mailbox.Filing{Audience: who}); err != nil {
			return err
		}
	}
	return nil
}

// tellInstead are those who get what would be told to the sender of a submission
// who has left: those who receive, else the administrator. It is empty
// where the sender is to be told.
func (o Options) tellInstead(tx *mailbox.Tx, sub *Submission) (all []addressee, err error) {
	if login, err := o.senderNow(tx, sub); err != nil || login != "" {
		return nil, err
	}
	if o.Policy != nil {
		p := o.Policy()
		if m, ok := p.Mailbox(sub.Box); ok {
			seen := map[string]bool{}
			for _, l := range m.Members {
				key := strings.ToLower(l.User)
				if key != "" && !seen[key] && p.Rights(l.User, sub.Box, o.Store.Now()).Receive && len(all) < maxTold {
					all = append(all, addressee{user: l.User})
				}
				seen[key] = true
			}
		}
	}
	if admin := o.account(sub.Box).Admin; len(all) == 0 && admin != "" {
		all = []addressee{{user: admin}}
	}
	return all, nil
}

// maxTold bounds how many get a notice in place of a sender who has left.
const maxTold = 100
