package providersim

import (
	"slices"
	"strings"

	"github.com/emersion/go-imap/v2"            // types of the session interface
	"github.com/emersion/go-imap/v2/imapserver" // as above
)

// Namespace tells where folders stand (RFC 2342).
func (s *imapSession) Namespace() (*imap.NamespaceData, error) {
	l := s.user.layout
	return &imap.NamespaceData{Personal: []imap.NamespaceDescriptor{{Prefix: l.prefix, Delim: rune(l.separator)}}}, nil
}

// List answers LIST and LSUB; the latter comes as a selection of the subscribed.
func (s *imapSession) List(w *imapserver.ListWriter, ref string, patterns []string, o *imap.ListOptions) error {
	delim := rune(s.user.layout.separator)
	if len(patterns) == 0 || len(patterns) == 1 && patterns[0] == "" {
		// RFC 9051 6.3.9: an empty pattern asks for the delimiter.
		return w.WriteList(&imap.ListData{Attrs: []imap.MailboxAttr{imap.MailboxAttrNoSelect}, Delim: delim})
	}
	for _, data := range s.listed(o, slices.ContainsFunc(patterns, func(p string) bool { return strings.Contains(p, "%") })) {
		if !slices.ContainsFunc(patterns, func(p string) bool { return globMatch(data.Mailbox, ref+p, s.user.layout.separator) }) {
			continue
		}
		data.Delim = delim
		if o.ReturnStatus != nil && !slices.Contains(data.Attrs, imap.MailboxAttrNoSelect) && !slices.Contains(data.Attrs, imap.MailboxAttrNonExistent) {
			if f := s.user.folder(data.Mailbox); f != nil {
				data.Status = status(data.Mailbox, f)
			}
		}
		if err := w.WriteList(&data); err != nil {
			return err
		}
	}
	return nil
}

// listed is what a LIST may choose from, with parents for a pattern that holds '%'.
func (s *imapSession) listed(o *imap.ListOptions, parents bool) []imap.ListData {
	l, places, subscribed := s.user.layout, s.user.list(), s.user.subscriptions()
	var names []string
	for _, p := range places {
		names = append(names, p.name)
	}
	exists := func(name string) bool { return slices.Contains(names, name) }
	candidates := names
	if o.SelectSubscribed {
		candidates = subscribed
		for _, name := range subscribed {
			if !parents {
				break
			}
			// RFC 3501 6.3.9: with '%' a subscribed folder shows as its parent.
			for _, above := range append(l.above(name), "INBOX") {
				if l.below(name, above) && !slices.Contains(candidates, above) {
					candidates = append(candidates, above)
				}
			}
		}
	}
	var out []imap.ListData
	for _, name := range candidates {
		data := imap.ListData{Mailbox: name}
		special := l.specialUse && name == l.sent
		isSubscribed := slices.Contains(subscribed, name)
		switch {
		case o.SelectSpecialUse && !special:
			continue
		case o.SelectSubscribed && !isSubscribed:
			data.Attrs = append(data.Attrs, imap.MailboxAttrNoSelect)
		case !exists(name):
			data.Attrs = append(data.Attrs, imap.MailboxAttrNonExistent)
		case slices.ContainsFunc(names, func(n string) bool { return l.below(n, name) }):
			data.Attrs = append(data.Attrs, imap.MailboxAttrHasChildren)
		default:
			data.Attrs = append(data.Attrs, imap.MailboxAttrHasNoChildren)
		}
		if special {
			data.Attrs = append(data.Attrs, imap.MailboxAttrSent)
		}
		if (o.ReturnSubscribed || o.SelectSubscribed) && isSubscribed {
			data.Attrs = append(data.Attrs, imap.MailboxAttrSubscribed)
		}
		out = append(out, data)
	}
	return out
}

// globMatch matches a LIST pattern in linear steps: '*' any text, '%' any text
// without the separator. INBOX is without case.
func globMatch(name, pattern string, separator byte) bool {
	if len(pattern) >= 5 && strings.EqualFold(pattern[:5], "INBOX") {
		pattern = "INBOX" + pattern[5:]
	}
	reach := make([]bool, len(name)+1) // reach[i]: the pattern so far matches name[:i]
	reach[0] = true
	for _, c := range []byte(pattern) {
		next := make([]bool, len(name)+1)
		for i := range reach {
			switch {
			case c == '*' || c == '%':
				next[i] = reach[i] || i > 0 && next[i-1] && (c == '*' || name[i-1] != separator)
			case i > 0:
				next[i] = reach[i-1] && name[i-1] == c
			}
		}
		reach = next
	}
	return reach[len(name)]
}

func (s *imapSession) Status(name string, _ *imap.StatusOptions) (*imap.StatusData, error) {
	f := s.user.folder(name)
	if f == nil {
		return nil, noFolder()
	}
	return status(name, f), nil
}

// status fills every item: the library panics on an asked one that is missing.
func status(name string, f *folder) *imap.StatusData {
	st := f.state()
	var total, unseen, deleted, recent uint32
	var size, gone int64
	for _, m := range st.messages {
		total++
		size += int64(len(m.Raw))
		if !hasFlag(m.Flags, `\Seen`) {
			unseen++
		}
		if hasFlag(m.Flags, `\Deleted`) {
			deleted++
			gone += int64(len(m.Raw))
		}
	}
	limit := uint32(appendLimit)
	return &imap.StatusData{
		Mailbox: name, NumMessages: &total, NumRecent: &recent, UIDNext: imap.UID(st.next),
		UIDValidity: st.validity, NumUnseen: &unseen, NumDeleted: &deleted, Size: &size,
		AppendLimit: &limit, DeletedStorage: &gone,
	}
}
