package providersim

import (
	"bytes"
	"fmt"
	"strconv"
)

// maildrop is INBOX as one POP3 session sees it from login to QUIT.
type maildrop struct {
	inbox    *folder
	validity uint32
	messages []dropped // message number n is messages[n-1]
	noUIDL   bool
}

type dropped struct {
	raw     []byte
	uid     uint32
	id      string // of UIDL
	size    int64  // as LIST and STAT tell it
	deleted bool
}

// openMaildrop takes the snapshot; the faults that lie about it act once per session.
func (p *Provider) openMaildrop(a *account) maildrop {
	f := a.folder("INBOX")
	st := f.state()
	d := maildrop{inbox: f, validity: st.validity, noUIDL: p.faults.NoUIDL.fires()}
	salt := ""
	if p.faults.ChangingUIDL.fires() {
		salt = strconv.FormatUint(p.seq.Add(1), 36) + "."
	}
	wrong := p.faults.WrongSizes.fires()
	for _, m := range st.messages {
		size := int64(len(m.Raw))
		if wrong {
			// As servers do that count a stored line end as one byte.
			size -= 1 + int64(bytes.Count(m.Raw, []byte("\r\n")))
		}
		d.messages = append(d.messages, dropped{
			raw: m.Raw, uid: m.UID, size: max(size, 0),
			id: fmt.Sprintf("%s%08x.%d", salt, st.validity, m.UID),
		})
	}
	return d
}

// total counts what is not marked for deletion.
func (d *maildrop) total() (n int, size int64) {
	for _, m := range d.messages {
		if !m.deleted {
			n++
			size += m.size
		}
	}
	return n, size
}

func (d *maildrop) restore() {
	for i := range d.messages {
		d.messages[i].deleted = false
	}
}

// pick finds a message by number; nil if there is none or it is marked.
func (d *maildrop) pick(arg string) *dropped {
	n, err := strconv.ParseUint(arg, 10, 31)
	if err != nil || n < 1 || n > uint64(len(d.messages)) || d.messages[n-1].deleted {
		return nil
	}
	return &d.messages[n-1]
}

// update removes the marked messages from INBOX and tells whether it could: not
// when the folder was renumbered meanwhile, for then the UIDs are those of others.
func (d *maildrop) update() bool {
	uids := map[uint32]bool{}
	for _, m := range d.messages {
		if m.deleted {
			uids[m.uid] = true
		}
	}
	return len(uids) == 0 || d.inbox.remove(d.validity, uids)
}
