package imapd

import (
	"regexp"
	"strings"

	"github.com/emersion/go-imap/v2" // sets and the COPYUID data

	"pecgate/mailbox"
	"pecgate/mailbox/mime"
	"pecgate/policy"
)

// What a person has submitted and not confirmed by PIN yet stands in a folder of
// their own that the gateway fills and empties. Deleting a message there takes
// the submission back; a move to a trash does so too.

func (v *view) toConfirm() bool { return v.key.Role == mailbox.RoleToConfirm }

// withdraw takes back what stands under uids. With a trash it goes there, and the
// pairs of a MOVE are returned.
func (s *session) withdraw(v *view, uids []mailbox.UID, trash mailbox.FolderKey) (*imap.CopyData, error) {
	if s.srv.opt.Withdraw == nil {
		return nil, mailbox.ErrRefused
	}
	messages, from, err := s.standing(v, uids)
	if err != nil {
		return nil, err
	}
	if len(messages) == 0 {
		return nil, errNotWaiting()
	}
	places, err := s.srv.opt.Withdraw(s.ctx, s.id.User, s.f.remote(), messages, trash)
	if err != nil || trash.Role == "" {
		return nil, refusal(err)
	}
	var done mailbox.Copied
	for i, p := range places {
		if p.UID != 0 {
			done.From, done.To = append(done.From, from[i]), append(done.To, p.UID)
		}
	}
	snap, err := s.srv.opt.Store.Snapshot(s.ctx, trash, mailbox.Viewer{Person: s.person})
	if err != nil {
		return nil, err
	}
	done.UIDValidity = snap.UIDValidity
	return copyData(done), nil
}

// errNotWaiting answers who takes back what the session still shows and what is
// gone from there: an OK would say that nothing leaves.
func errNotWaiting() error {
	return no(imap.ResponseCodeCannot, "It does not wait here any more: it was released, and leaves, or was taken back before")
}

// errOnlyTrash says how a held message is taken back.
func errOnlyTrash() error {
	return no(imap.ResponseCodeCannot, "A message that waits for its PIN can be deleted or moved to the trash, which cancels it")
}

// confirms tells whether what this person sends from a mailbox or approves there
// may be held for a PIN.
func (s *session) confirms(box string) bool {
	m, ok := s.srv.opt.Policy().Mailbox(box)
	if !ok {
		return false
	}
	r := s.srv.opt.Policy().Rights(s.id.User, box, s.srv.now())
	return r.Writes() && m.PINRequired && m.PINBy(policy.PINByReply) || r.Approve && m.ApprovalPIN()
}

// replyAddress is where a reply with a PIN goes (interface of gateway/smtpd): an
// address with a token.
var replyAddress = regexp.MustCompile(`(?i)\bconfirm\+[a-z2-7]{26}@`)

// replyKept is what a copy of a reply with a PIN has in place of its text.
const replyKept = "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n[PIN]\r\n"

// withoutReply is what is kept of a reply with a PIN that a client appends, as
// draft or as copy of what it sent: who wrote it to whom, and nothing of its
// text. ok is false for any other message.
func withoutReply(header []byte) (short []byte, ok bool) {
	for _, f := range mime.Fields(header) {
		switch strings.ToLower(f.Name) {
		case "to", "cc", "bcc":
			ok = ok || replyAddress.MatchString(f.Body())
			fallthrough
		case "from", "subject", "date", "message-id", "in-reply-to", "references":
			short = append(short, f.Raw...)
		}
	}
	return append(short, replyKept...), ok
}
