package fetch

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/emersion/go-imap/v2" // commands and answers
)

// Folder is one folder of the provider.
type Folder struct {
	Name string
	Sent bool // holds what was sent: \Sent (RFC 6154), or a name that providers use for it
}

// maxFolders bounds what Folders returns.
const maxFolders = 1000

// sentNames are the last parts of the names of folders for sent mail where the
// provider marks none with \Sent.
var sentNames = []string{"inviata", "posta inviata", "spedite", "sent", "sent items", "sent messages", "inviati"}

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
			f := Folder{Name: d.Mailbox, Sent: slices.Contains(d.Attrs, imap.MailboxAttrSent)}
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
