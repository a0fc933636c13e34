package imapd

import (
	"github.com/emersion/go-imap/v2" // the answer of SELECT
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
	snap, err := s.srv.opt.Store.Snapshot(s.ctx, n.key, viewer)
	if err != nil {
		return nil, s.reply("SELECT", err)
	}
	s.deselect()
	s.v = newView(snap, n.key, viewer, o != nil && o.ReadOnly)
	s.v.inner = n.inner
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
	}
	return data, nil
}

// Unselect closes the folder without removing anything.
func (s *session) Unselect() error {
	s.settle()
	s.deselect()
	s.hold(nil)
	return nil
}
