package fetch

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/emersion/go-imap/v2" // commands and answers
	"github.com/emersion/go-imap/v2/imapclient"
)

// Folder is one folder of the provider.
type Folder struct {
	Name string
	Sent bool // holds what was sent: \Sent (RFC 6154), or a name that providers use for it
	// Aside says why what stands there did not arrive, or arrived elsewhere:
	// "drafts", "junk" or "view" (\All and \Flagged show messages of other folders), by
	// the mark or by a name that providers use; empty: mail stands there.
	Aside string
}

// maxFolders bounds what Folders returns.
const maxFolders = 1000

// sentNames are the last parts of the names of folders for sent mail where the
// provider marks none with \Sent.
var sentNames = []string{"inviata", "posta inviata", "spedite", "sent", "sent items", "sent messages", "inviati"}

// asideNames are the last parts of the names of folders that hold no mail that
// arrived, or that holds unwanted mail.
var asideNames = map[string]string{
	"bozze": "drafts", "drafts": "drafts", "draft": "drafts", "modelli": "drafts", "templates": "drafts", "in uscita": "drafts", "outbox": "drafts",
	"spam": "junk", "junk": "junk", "junk e-mail": "junk", "junk email": "junk", "posta indesiderata": "junk", "indesiderata": "junk", "bulk mail": "junk",
}

// asideOf is Folder.Aside.
func asideOf(name string, attrs []imap.MailboxAttr) string {
	for _, a := range attrs {
		switch a {
		case imap.MailboxAttrDrafts:
			return "drafts"
		case imap.MailboxAttrJunk:
			return "junk"
		case imap.MailboxAttrAll, imap.MailboxAttrFlagged:
			return "view"
		}
	}
	return asideNames[strings.ToLower(name[strings.LastIndexAny(name, "./")+1:])]
}

// Folders lists the folders that can be opened, at most 1,000, INBOX among them.
func (s *Session) Folders(ctx context.Context) ([]Folder, error) {
	var out []Folder
	marked := false
	err := s.do(ctx, "list folders", func() error {
		opt := &imap.ListOptions{}
		if s.c.Caps().Has(imap.CapSpecialUse) {
			opt.ReturnSpecialUse = s.c.Caps().Has(imap.CapListExtended)
		}
		cmd := s.c.List("", "*", opt)
		many := false
		for d := cmd.Next(); d != nil; d = cmd.Next() {
			if slices.Contains(d.Attrs, imap.MailboxAttrNoSelect) || slices.Contains(d.Attrs, imap.MailboxAttrNonExistent) {
				continue
			}
			if many = len(out) == maxFolders; many {
				continue // read to its end
			}
			f := Folder{Name: d.Mailbox, Sent: slices.Contains(d.Attrs, imap.MailboxAttrSent), Aside: asideOf(d.Mailbox, d.Attrs)}
			marked = marked || f.Sent
			out = append(out, f)
		}
		if err := cmd.Close(); err != nil {
			return err
		}
		if many {
			return fmt.Errorf("more than %d folders", maxFolders)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for i := range out {
		if !marked {
			last := strings.ToLower(out[i].Name[strings.LastIndexAny(out[i].Name, "./")+1:])
			out[i].Sent = slices.Contains(sentNames, last)
		}
	}
	return out, nil
}

// Standing is a message of a folder as the provider lists it.
type Standing struct {
	UID       uint32
	Size      int64  // -1: not told
	MessageID string // by Named only; without brackets
}

// Standing lists the first most messages of a folder behind a UID, ascending, each
// once, and how the folder stands. It fetches nothing.
func (s *Session) Standing(ctx context.Context, folder string, after uint32, most int) (st State, out []Standing, err error) {
	if st, err = s.examine(ctx, folder); err != nil {
		return st, nil, err
	}
	all, more, err := s.listNew(ctx, st, after, min(most, maxNew))
	for _, m := range all {
		out = append(out, Standing{UID: m.uid, Size: m.size})
	}
	st.More = more
	return st, out, err
}

// Named fills in the Message-IDs of listed messages of the folder that was listed
// last. What the provider does not tell stays empty.
func (s *Session) Named(ctx context.Context, all []Standing) error {
	if len(all) == 0 {
		return nil
	}
	var set imap.UIDSet
	at := map[uint32]int{}
	for i, m := range all {
		set.AddNum(imap.UID(m.UID))
		at[m.UID] = i
	}
	return s.do(ctx, "ask for Message-IDs", func() error {
		cmd := s.c.Fetch(set, &imap.FetchOptions{UID: true, Envelope: true})
		for msg := cmd.Next(); msg != nil; msg = cmd.Next() {
			uid, id := uint32(0), ""
			for item := msg.Next(); item != nil; item = msg.Next() {
				switch item := item.(type) {
				case imapclient.FetchItemDataUID:
					uid = uint32(item.UID)
				case imapclient.FetchItemDataEnvelope:
					if item.Envelope != nil {
						id = strings.Trim(item.Envelope.MessageID, "<> ")
					}
				}
			}
			if i, ok := at[uid]; ok {
				all[i].MessageID = id[:min(len(id), 1000)]
			}
		}
		return cmd.Close()
	})
}
