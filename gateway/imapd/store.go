package imapd

import (
	"errors"
	"slices"
	"strings"

	"github.com/emersion/go-imap/v2"            // flags and sets
	"github.com/emersion/go-imap/v2/imapserver" // the interface of the session

	"pecgate/mailbox"
)

// Limits of the flags that a client gives at once.
const (
	maxFlags   = 64
	maxKeyword = 100 // bytes
)

// Store changes flags (RFC 9051 section 6.4.6): \Seen, \Deleted and \Flagged of
// this person, all others of everybody. $PecInCharge takes charge of an incoming
// message; who comes second is told who was first.
func (s *session) Store(_ *imapserver.FetchWriter, set imap.NumSet, how *imap.StoreFlags, _ *imap.StoreOptions) error {
	v, err := s.writable()
	if err != nil {
		return err
	}
	flags, err := flagNames(how.Flags)
	if err != nil {
		return err
	}
	spans, err := v.spans(set, s.saved)
	if err != nil {
		return err
	}
	op := mailbox.FlagsSet
	switch how.Op {
	case imap.StoreFlagsAdd:
		op = mailbox.FlagsAdd
	case imap.StoreFlagsDel:
		op = mailbox.FlagsRemove
	}
	uids := v.collect(spans)
	after, err := s.srv.opt.Store.SetFlags(s.ctx, v.folder, v.viewer, uids, op, flags)
	_, byUID := set.(imap.UIDSet)
	var out []byte
	if (v.toConfirm() || v.toApprove()) && op != mailbox.FlagsRemove && slices.Contains(flags, string(imap.FlagDeleted)) {
		for _, e := range after {
			v.doom(e.UID)
		}
	}
	for _, e := range after {
		// What another one changed meanwhile is not known by a client that asked for
		// silence (RFC 9051 section 6.4.6).
		if !how.Silent || e.Before <= v.modseq {
			v.told[e.UID] = e.ModSeq
		}
		if !how.Silent {
			out = appendFlags(v.introduce(out, e.Flags), v.seq(e.UID), e.UID, e.Flags, byUID)
		}
	}
	var charge *mailbox.ChargeError
	if err != nil && !errors.As(err, &charge) {
		return s.reply("STORE", err)
	}
	if len(out) > 0 {
		if err := s.f.append(out); err != nil {
			return err
		}
	}
	if charge != nil {
		at := charge.At.In(s.srv.opt.Location).Format("2006-01-02 15:04")
		return no(imap.ResponseCodeNoPerm, "In carico a "+charge.Login+" dal "+at+" / "+charge.Login+" is in charge since "+at)
	}
	if !byUID && len(after) < len(uids) {
		return errSomeGone(len(after) == 0 && !how.Silent) // RFC 2180 section 4.2
	}
	return nil
}

// flagNames checks flags that a client gave.
func flagNames(in []imap.Flag) ([]string, error) {
	if len(in) > maxFlags {
		return nil, errLimit("Too many flags")
	}
	out := make([]string, 0, len(in))
	for _, flag := range in {
		f := string(flag)
		if strings.HasPrefix(f, `\`) {
			switch flag {
			case imap.FlagSeen, imap.FlagAnswered, imap.FlagFlagged, imap.FlagDeleted, imap.FlagDraft:
				out = append(out, f)
			default:
				if !strings.EqualFold(f, `\Recent`) { // never given, so never changed
					return nil, badCommand("Unknown system flag")
				}
			}
			continue
		}
		if len(f) > maxKeyword {
			return nil, errLimit("This keyword is too long")
		}
		for i := range len(f) {
			if !atomChar(f[i]) {
				return nil, badCommand("A keyword cannot be written so")
			}
		}
		out = append(out, f)
	}
	return out, nil
}
