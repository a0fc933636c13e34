package imapd

import (
	"github.com/emersion/go-imap/v2" // the answer of SELECT

	"pecgate/mailbox"
)

// clientFlags are the flags that a client may change for good.
func clientFlags() []imap.Flag {
	return []imap.Flag{imap.FlagAnswered, imap.FlagFlagged, imap.FlagDeleted, imap.FlagSeen, imap.FlagDraft,
		imap.FlagForwarded, imap.FlagMDNSent, imap.FlagJunk, imap.FlagNotJunk}
}

// gatewayFlags are the keywords that mean something to the gateway. Only the last
// one may be set by a client.
func gatewayFlags() []imap.Flag {
	return []imap.Flag{"$PecAccepted", "$PecDelivered", "$PecFailed", "$PecOverdue", "$PecUncertain", "$PecUnverified", "$PecInCharge"}
}

// Select opens a folder (RFC 9051 section 6.3.2). The library has called
// Unselect before when one was open.
func (s *session) Select(name string, o *imap.SelectOptions) (*imap.SelectData, error) {
	if err := s.begin(); err != nil {
		return nil, err
	}
	n, err := s.lookupFolder(name)
	if err != nil {
		return nil, s.reply("SELECT", err)
	}
	viewer, ok := s.viewer(n.key)
	if !ok {
		return nil, errNoFolder()
	}
	var snap *mailbox.Snapshot
	var archive *archived
	if n.period != nil {
		snap, archive, err = s.selectArchive(n)
	} else {
		snap, err = s.srv.opt.Store.Snapshot(s.ctx, n.key, viewer)
	}
	if err != nil {
		return nil, s.reply("SELECT", err)
	}
	s.deselect()
	s.v = newView(snap, n.key, viewer, o != nil && o.ReadOnly)
	s.v.inner, s.v.archive = n.inner, archive
	if archive != nil && !s.v.readOnly {
		s.v.readOnly = true
		s.f.retell("OK [READ-WRITE]", "OK [READ-ONLY]")
	}
	s.hold(s.v)
	data := &imap.SelectData{
		Flags:       append(clientFlags(), gatewayFlags()...),
		NumMessages: uint32(len(snap.UIDs)),
		UIDNext:     imap.UID(snap.UIDNext),
		UIDValidity: snap.UIDValidity,
	}
	if !s.v.readOnly {
		data.PermanentFlags = append(clientFlags(), imap.FlagWildcard)
	}
	if s.rev2() {
		data.List = &imap.ListData{Mailbox: n.name, Delim: rune(delim[0])}
		return data, nil
	}
	data.FirstUnseenSeqNum = s.firstUnseen(s.v)
	return data, nil
}

// firstUnseen is what IMAP4rev1 wants to be told (RFC 3501 section 6.3.1); 0
// where there is none, or where it cannot be had: the folder is open all the same.
func (s *session) firstUnseen(v *view) uint32 {
	if v.archive != nil || len(v.uids) == 0 {
		return 0
	}
	l, err := s.srv.opt.Store.Listing(s.ctx, v.folder, v.viewer, len(v.uids), len(v.uids))
	if err != nil || l == nil {
		return 0
	}
	uid, found := l.FirstUnseen()
	if !found {
		return 0
	}
	return v.seq(uid)
}

// Unselect closes the folder without removing anything.
func (s *session) Unselect() error {
	s.settle()
	s.deselect()
	s.hold(nil)
	return nil
}
