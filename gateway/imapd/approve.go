package imapd

import (
	"context"
	"errors"

	"github.com/emersion/go-imap/v2" // sets and the COPYUID data

	"pecgate/mailbox"
	"pecgate/policy"
)

// What members with compose submitted stands in a shared folder until another
// member approves it: a MOVE or COPY from there into the folder of what is
// approved releases it, a MOVE to a trash or an EXPUNGE ends it. Both folders are
// filled by the gateway alone.

// Approvals changes submissions that wait for approval. The errors of both are
// Refused where the person may not.
type Approvals interface {
	// Approve releases them, by their messages. It returns where each stands then
	// among what is approved, zero for one that waits for a PIN or waited no more.
	Approve(ctx context.Context, who policy.Identity, box, remote string, messages []mailbox.MessageID) ([]mailbox.Place, error)
	// Reject ends them, and files them in a trash unless that is the zero key. It
	// returns where each stands there, zero for one that waited no more.
	Reject(ctx context.Context, who policy.Identity, remote string, messages []mailbox.MessageID, trash mailbox.FolderKey) ([]mailbox.Place, error)
}

// Refused is a refusal in words for the person.
type Refused string

func (r Refused) Error() string { return string(r) }

func (v *view) toApprove() bool { return v.key.Role == mailbox.RoleToApprove }

// approvable tells whether the gateway alone fills a folder of approvals.
func approvable(r mailbox.Role) bool {
	return r == mailbox.RoleToApprove || r == mailbox.RoleApproved
}

// approvalScope is what a member sees of the folders of approvals.
func approvalScope(r policy.Rights) (mailbox.Scope, bool) {
	if r.Approve {
		return mailbox.ScopeAll, true
	}
	return mailbox.ScopeOwn, r.Compose
}

// approve releases what stands under uids of the folder of what is to be
// approved. What has been approved before stays as it is.
func (s *session) approve(v *view, uids []mailbox.UID, to mailbox.FolderKey) (*imap.CopyData, error) {
	if !v.toApprove() || v.key.Box != to.Box || s.srv.opt.Approvals == nil {
		return nil, errOnlyApproval()
	}
	messages, from, err := s.standing(v, uids)
	if err != nil || len(messages) == 0 {
		return nil, err
	}
	places, err := s.srv.opt.Approvals.Approve(s.ctx, s.id, v.key.Box, s.f.remote(), messages)
	if err != nil {
		return nil, refusal(err)
	}
	return s.placed(to, from, places)
}

// reject ends what stands under uids. With a trash it goes there.
func (s *session) reject(v *view, uids []mailbox.UID, trash mailbox.FolderKey) (*imap.CopyData, error) {
	if s.srv.opt.Approvals == nil {
		return nil, mailbox.ErrRefused
	}
	messages, from, err := s.standing(v, uids)
	if err != nil {
		return nil, err
	}
	if len(messages) == 0 {
		return nil, errNotWaiting()
	}
	places, err := s.srv.opt.Approvals.Reject(s.ctx, s.id, s.f.remote(), messages, trash)
	if err != nil || trash.Role == "" {
		return nil, refusal(err)
	}
	return s.placed(trash, from, places)
}

// standing lists the messages that stand under uids.
func (s *session) standing(v *view, uids []mailbox.UID) (messages []mailbox.MessageID, from []mailbox.UID, err error) {
	err = s.srv.opt.Store.Entries(s.ctx, v.folder, v.viewer, uids, mailbox.Want{}, func(e *mailbox.Entry) error {
		messages, from = append(messages, e.Message), append(from, e.UID)
		return nil
	})
	return messages, from, err
}

// placed are the pairs of those that stand in another folder now.
func (s *session) placed(to mailbox.FolderKey, from []mailbox.UID, places []mailbox.Place) (*imap.CopyData, error) {
	var done mailbox.Copied
	for i, p := range places {
		if p.UID != 0 {
			done.From, done.To = append(done.From, from[i]), append(done.To, p.UID)
		}
	}
	if len(done.From) == 0 {
		return nil, nil
	}
	viewer, ok := s.viewer(to)
	if !ok {
		return nil, nil
	}
	snap, err := s.srv.opt.Store.Snapshot(s.ctx, to, viewer)
	if err != nil {
		return nil, err
	}
	done.UIDValidity = snap.UIDValidity
	return copyData(done), nil
}

func refusal(err error) error {
	var text Refused
	if errors.As(err, &text) {
		return no(imap.ResponseCodeNoPerm, string(text))
	}
	return err
}

// errOnlyApproval says what may go into the folder of what is approved.
func errOnlyApproval() error {
	return no(imap.ResponseCodeCannot, "Only what waits for approval in this mailbox can be moved here, which sends it")
}

// errOnlyApproved says how what waits for approval is moved.
func errOnlyApproved() error {
	return no(imap.ResponseCodeCannot, "A message that waits for approval can be moved to the folder of approved ones, which sends it, or to the trash, which rejects it")
}
