package relay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"pecgate/mailbox"
	"pecgate/relay/fetch"
)

// folders reconciles by IMAP.
func (r *reconciling) folders(ctx context.Context) (err error) {
	session, err := loggedIn(ctx, r.s, r.w, r.w.server(), fetch.Dial)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, session.Close()) }()
	all, err := session.Folders(ctx)
	if err != nil {
		return err
	}
	for _, f := range all { // what there is to do
		if st, err := session.New(ctx, f.Name, fetch.Cursor{}, 0, nil); err == nil {
			r.total += int64(st.Exists)
		} else if !errors.Is(err, fetch.ErrNoFolder) {
			return err
		}
	}
	for _, f := range all {
		out := ReconciledFolder{Name: f.Name, Configured: r.w.acc.configured(f.Name), Sent: f.Sent}
		if !out.Configured && !f.Sent && !slices.Contains(r.o.Also, f.Name) {
			out.Aside = f.Aside
		}
		err := r.folder(ctx, session, f, &out)
		if errors.Is(err, fetch.ErrNoFolder) {
			out.Error, err = "the provider does not open it", nil
		}
		if err != nil {
			return fmt.Errorf("folder %s: %w", f.Name, err)
		}
		r.out.Folders = append(r.out.Folders, out)
	}
	if err := r.store(ctx); err != nil || !r.o.BringIn {
		return err
	}
	if err := r.originals(ctx, session); err != nil {
		return err
	}
	return r.sentMail(ctx, session, all)
}

// folder compares one folder, page by page.
func (r *reconciling) folder(ctx context.Context, session *fetch.Session, f fetch.Folder, out *ReconciledFolder) error {
	c, met, err := r.s.readCursor(ctx, r.w.acc.Box, f.Name)
	if err != nil {
		return err
	}
	prefix, last := "", "" // of what we noted of this folder
	for after := uint32(0); ; {
		st, page, err := session.Standing(ctx, f.Name, after, reconcilePage)
		if err != nil {
			return err
		}
		if prefix == "" {
			prefix = folderPrefix(r.w.acc.Box, f.Name, st.UIDValidity)
		}
		if prefix != folderPrefix(r.w.acc.Box, f.Name, st.UIDValidity) {
			return errors.New("its UIDs began anew meanwhile: try again")
		}
		here := spot{folder: f.Name, validity: st.UIDValidity}
		unknown, gone, next, err := r.page(ctx, here, prefix, last, page, st.More)
		if err != nil {
			return err
		}
		for _, c := range gone {
			r.gone(c)
		}
		last = next
		if out.Messages += len(page); len(page) > 0 {
			after = page[len(page)-1].UID
		}
		if !met || c.UIDValidity != st.UIDValidity {
			c = cursor{} // the fetcher begins anew
		}
		if err := r.unknown(ctx, session, f, here, unknown, c, out); err != nil {
			return err
		}
		if err := r.step(ctx, len(page)); err != nil {
			return err
		}
		if !st.More || len(page) == 0 {
			return nil
		}
	}
}

// page compares listed messages with what we noted between last and the end of the
// page, and returns those of which we noted nothing, and what we noted and is gone.
func (r *reconciling) page(ctx context.Context, here spot, prefix, last string, page []fetch.Standing, more bool) (unknown []fetch.Standing, gone []copyOf, next string, err error) {
	end := ""
	if more && len(page) > 0 {
		here.uid = page[len(page)-1].UID
		end = here.standingKey(r.w.acc.Box)
	}
	var noted map[uint32]bool
	var ours []mailbox.MessageID
	err = r.s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
		noted, gone, ours, next = map[uint32]bool{}, nil, nil, last
		listed := map[uint32]bool{}
		for _, m := range page {
			listed[m.UID] = true
		}
		return scanStanding(tx, prefix, last, func(k string, st standing) (bool, error) {
			if end != "" && k > end {
				return false, nil
			}
			next = k
			at, err := here.below(prefix, k)
			if err != nil {
				return false, err
			}
			if st.Message > 0 {
				ours = append(ours, st.Message)
			}
			if listed[at.uid] {
				noted[at.uid] = st.Message > 0
			} else if st.Message > 0 {
				gone = append(gone, copyOf{at: at, st: st})
			}
			return true, nil
		})
	})
	if err != nil {
		return nil, nil, "", err
	}
	for _, id := range ours {
		r.seen.add(id)
	}
	for _, m := range page {
		if noted[m.UID] {
			r.out.Both++
		} else {
			unknown = append(unknown, m)
		}
	}
	return unknown, gone, next, nil
}

// unknown looks up the listed messages of which nothing was noted, and takes in
// what is missing, where asked.
func (r *reconciling) unknown(ctx context.Context, session *fetch.Session, f fetch.Folder, here spot, all []fetch.Standing, c cursor, out *ReconciledFolder) error {
	var old []fetch.Standing
	for _, m := range all {
		if out.Configured && (m.UID > c.UID || m.UID <= c.Left) {
			r.out.Waiting++
			continue
		}
		old = append(old, m)
	}
	if err := session.Named(ctx, old); err != nil {
		return err
	}
	var missing []fetch.Standing
	trouble := map[uint32]string{}
	err := r.s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
		missing = nil
		clear(trouble)
		for _, m := range old {
			known, err := r.known(tx, m, f.Sent)
			if err != nil {
				return err
			}
			if known {
				continue
			}
			var a aside
			here.uid = m.UID
			if err := tx.Space(room).Get(here.asideKey(r.w.acc.Box), &a); err == nil {
				trouble[m.UID] = a.Why
			} else if !errors.Is(err, mailbox.ErrNotFound) {
				return err
			}
			missing = append(missing, m)
		}
		return nil
	})
	if err != nil {
		return err
	}
	out.Elsewhere += len(old) - len(missing)
	out.Unknown += len(missing)
	if out.Aside != "" {
		return nil // drafts and the like are no mail that arrived
	}
	var uids []uint32
	size := map[uint32]int64{}
	for _, m := range missing {
		it := ReconciledItem{What: "never-taken", Folder: f.Name, UID: m.UID, MsgID: m.MessageID, Size: m.Size, Trouble: trouble[m.UID]}
		switch {
		case f.Sent:
			it.What = "sent-elsewhere"
			r.out.SentElsewhere++
		case it.Trouble != "":
			it.What = "set-aside"
			r.out.SetAside++
			r.out.NeverTaken++
		default:
			r.out.NeverTaken++
		}
		r.item(it)
		if !f.Sent {
			uids = append(uids, m.UID)
			size[m.UID] = m.Size
		}
	}
	if !r.o.BringIn || len(uids) == 0 {
		return nil
	}
	_, err = session.Again(ctx, f.Name, here.validity, uids, func(ctx context.Context, it fetch.Item) error {
		if it.Problem != nil {
			r.failed(it.Folder, it.UID, "", it.Problem)
			return nil
		}
		if err := r.s.take(ctx, r.w.acc, taking{it: it, listed: size[it.UID], history: true}); err != nil {
			if ctx.Err() != nil || errors.Is(err, mailbox.ErrNoSpace) || r.s.opt.Store.Broken() != nil {
				return err
			}
			r.failed(it.Folder, it.UID, "", err)
			return nil
		}
		r.out.BroughtIn++
		return r.s.takeBox(ctx, r.w)
	})
	return err
}

// failed notes a message that could not be taken in.
func (r *reconciling) failed(folder string, uid uint32, uidl string, why error) {
	r.out.Failed++
	r.s.opt.Events.Fault("reconcile", r.w.acc.Box, fmt.Errorf("message %d%s of %s: %w", uid, uidl, folder, why))
	for i := range r.out.Items {
		if it := &r.out.Items[i]; it.Folder == folder && it.UID == uid && it.UIDL == uidl {
			it.Trouble = why.Error()
		}
	}
}

// sentMail takes in what stands in folders of sent mail and what no receipt led
// to: its recipients are those of its header.
func (r *reconciling) sentMail(ctx context.Context, session *fetch.Session, all []fetch.Folder) error {
	for _, f := range all {
		if !f.Sent {
			continue
		}
		for after := uint32(0); ; {
			st, page, err := session.Standing(ctx, f.Name, after, reconcilePage)
			if errors.Is(err, fetch.ErrNoFolder) || err == nil && len(page) == 0 {
				break // it is noted with the folders, or empty: there may be another one
			}
			if err != nil {
				return err
			}
			if err := session.Named(ctx, page); err != nil {
				return err
			}
			var uids []uint32
			err = r.s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
				uids = nil
				for _, m := range page {
					known, err := r.known(tx, m, true)
					if err != nil {
						return err
					}
					if !known && m.MessageID != "" {
						uids = append(uids, m.UID)
					}
				}
				return nil
			})
			if err != nil {
				return err
			}
			_, err = session.Again(ctx, f.Name, st.UIDValidity, uids, func(ctx context.Context, it fetch.Item) error {
				err := it.Problem
				if err == nil {
					err = r.s.keepSent(ctx, r.w.acc, it)
				}
				if err != nil {
					if ctx.Err() != nil || r.s.opt.Store.Broken() != nil {
						return err
					}
					r.failed(it.Folder, it.UID, "", err)
					return nil
				}
				r.out.Originals++
				return r.s.takeBox(ctx, r.w)
			})
			if err != nil {
				return err
			}
			if after = page[len(page)-1].UID; !st.More {
				break
			}
		}
	}
	return nil
}

// maildrop reconciles by POP3, which shows the inbox only.
func (r *reconciling) maildrop(ctx context.Context) (err error) {
	drop, err := loggedIn(ctx, r.s, r.w, r.w.server(), fetch.DialMaildrop)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, drop.Close()) }()
	list, err := drop.List(ctx)
	if err != nil {
		return err
	}
	r.total = int64(len(list))
	_, met, err := r.s.readCursor(ctx, r.w.acc.Box, "")
	if err != nil {
		return err
	}
	listed := make(map[string]fetch.Listed, len(list))
	for _, l := range list {
		listed[l.ID] = l
	}
	out := ReconciledFolder{Configured: true, Messages: len(list)}
	prefix := maildropPrefix(r.w.acc.Box)
	noted := map[string]bool{}
	for after, more := "", true; more; {
		var page []copyOf
		err := r.s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
			page = nil
			return scanStanding(tx, prefix, after, func(k string, st standing) (bool, error) {
				page = append(page, copyOf{at: spot{id: strings.TrimPrefix(k, prefix)}, st: st})
				return len(page) < reconcilePage, nil
			})
		})
		if err != nil {
			return err
		}
		for _, c := range page {
			_, there := listed[c.at.id]
			switch {
			case c.st.Message == 0:
			case there:
				r.seen.add(c.st.Message)
				noted[c.at.id] = true
				r.out.Both++
			default:
				r.seen.add(c.st.Message)
				r.gone(c)
			}
			after = prefix + c.at.id
		}
		more = len(page) == reconcilePage
		if err := r.s.takeBox(ctx, r.w); err != nil {
			return err
		}
	}
	aside := map[string]string{}
	_, asides, err := r.s.asides(ctx, asidesPrefix(r.w.acc.Box, ""))
	if err != nil {
		return err
	}
	var missing []fetch.Listed
	for _, l := range list {
		if noted[l.ID] {
			continue
		}
		if _, set := asides[spot{id: l.ID}.asideKey(r.w.acc.Box)]; set {
			aside[l.ID] = "it could not be taken in"
		}
		if aside[l.ID] == "" && met {
			r.out.Waiting++ // new, or history whose turn comes
			continue
		}
		out.Unknown++
		r.out.NeverTaken++
		it := ReconciledItem{What: "never-taken", UIDL: l.ID, Size: l.Size, Trouble: aside[l.ID]}
		if it.Trouble != "" {
			it.What = "set-aside"
			r.out.SetAside++
		}
		r.item(it)
		missing = append(missing, l)
	}
	r.out.Folders = append(r.out.Folders, out)
	if r.o.BringIn {
		if err := r.bringIn(ctx, drop, missing, listed); err != nil {
			return err
		}
	}
	if err := r.step(ctx, len(list)); err != nil {
		return err
	}
	if err := r.store(ctx); err != nil || !r.o.BringIn {
		return err
	}
	return r.originals(ctx, nil)
}

// bringIn takes in messages of a maildrop.
func (r *reconciling) bringIn(ctx context.Context, drop *fetch.Maildrop, missing []fetch.Listed, listed map[string]fetch.Listed) error {
	return drop.Fetch(ctx, missing, func(ctx context.Context, it fetch.Item) error {
		err := it.Problem
		if err == nil {
			err = r.s.take(ctx, r.w.acc, taking{it: it, listed: listed[it.ID].Size, history: true})
		}
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, mailbox.ErrNoSpace) || r.s.opt.Store.Broken() != nil {
				return err
			}
			r.failed("", 0, it.ID, err)
			return nil
		}
		r.out.BroughtIn++
		return r.s.takeBox(ctx, r.w)
	})
}

// keepSent keeps a message of a folder of sent mail as a recovered original.
func (s *Service) keepSent(ctx context.Context, acc Account, it fetch.Item) error {
	return s.keepOriginal(ctx, acc, nil, it.Body, fromProvider, "folder "+it.Folder+" of the provider", it.InternalDate)
}
