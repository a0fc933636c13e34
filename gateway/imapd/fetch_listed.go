package imapd

import (
	"pecgate/mailbox"
	"pecgate/mailbox/mime"
)

// listed answers for consecutive messages from the folder's listing, which is in
// memory, where it has all that is asked for. from is the place of the first.
func (f *fetcher) listed(uids []mailbox.UID, from int) (done bool, err error) {
	if f.contents || f.fields || f.o.Envelope || f.full || f.body || f.v.inner || f.v.archive != nil {
		return false, nil
	}
	l, err := f.s.srv.opt.Store.Listing(f.s.ctx, f.v.folder, f.v.viewer, len(uids), len(f.v.uids))
	if err != nil || l == nil {
		return false, err
	}
	f.out = f.out[:0]
	at := 0
	for n, uid := range uids {
		var found bool
		if at, found = l.Find(uid, at); !found {
			f.missed = true
			continue
		}
		e := mailbox.Entry{UID: uid}
		if f.o.Flags {
			e.Flags = l.Flags(at)
			f.out = f.v.introduce(f.out, e.Flags)
		}
		if f.o.RFC822Size {
			e.Size = int64(l.Size(at))
		}
		if f.o.InternalDate {
			e.Date = l.Date(at)
		}
		f.out = openFetch(f.out, uint32(from+n+1))
		f.out = closeFetch(f.items(f.out, &e, f.o.Flags))
		if len(f.out) >= fetchBlock {
			if err := f.s.f.append(f.out); err != nil {
				return true, err
			}
			f.out = f.out[:0]
		}
	}
	return true, f.s.f.append(f.out)
}

// appendFields answers the header fields that are asked for, from those that are
// stored with the entry.
func (f *fetcher) appendFields(e *mailbox.Entry) {
	for i, o := range f.o.BodySection {
		data := withoutNUL(mime.SelectFields(e.Fields, o.HeaderFields, false))
		from, size := partOf(int64(len(data)), o.Partial)
		if i == 0 {
			f.out = separate(f.out)
		} else {
			f.out = append(f.out, ' ') // the last byte is a stranger's
		}
		if label := f.labels[i]; label != "" {
			f.out = append(f.out, label...)
		} else {
			f.out = appendSection(f.out, o)
		}
		f.out = append(appendLiteralHead(f.out, size, false), data[from:from+size]...)
	}
}
