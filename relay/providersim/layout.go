package providersim

import (
	"fmt"
	"strings"
)

// Folders names a provider's way of laying out folders (pec-format section 5).
type Folders string

const (
	FoldersAruba      Folders = "aruba"       // INBOX.Inviata, separator ".", everything below INBOX
	FoldersLegalmail  Folders = "legalmail"   // INBOX/Spedite, separator "/", everything below INBOX
	FoldersSpecialUse Folders = "special-use" // Sent with \Sent (RFC 6154), separator "/"
)

// SentFolder is the name of the Sent folder in the Aruba layout, which is the
// default. Submission does not fill it; a client may by APPEND.
const SentFolder = "INBOX.Inviata"

type layout struct {
	separator  byte
	prefix     string // of the personal namespace (RFC 2342)
	sent       string
	specialUse bool
}

func (f Folders) layout() (layout, error) {
	switch f {
	case FoldersAruba, "":
		return layout{separator: '.', prefix: "INBOX.", sent: SentFolder}, nil
	case FoldersLegalmail:
		return layout{separator: '/', prefix: "INBOX/", sent: "INBOX/Spedite"}, nil
	case FoldersSpecialUse:
		return layout{separator: '/', sent: "Sent", specialUse: true}, nil
	}
	return layout{}, fmt.Errorf("folders %q: known are %s, %s and %s", f, FoldersAruba, FoldersLegalmail, FoldersSpecialUse)
}

// check returns name without a separator at its end, which announces folders
// below it (RFC 9051 6.3.4), or says that no folder may be called so.
func (l layout) check(name string) (string, error) {
	sep := string(l.separator)
	name = strings.TrimSuffix(name, sep)
	if !usableName(name) || !strings.HasPrefix(name, l.prefix) {
		return "", errFolderName
	}
	for _, part := range strings.Split(name, sep) {
		if part == "" {
			return "", errFolderName
		}
	}
	return name, nil
}

// above lists the folders over name that are not INBOX, the highest first.
func (l layout) above(name string) []string {
	var out []string
	for i := 0; i < len(name); i++ {
		if name[i] == l.separator && name[:i] != "INBOX" {
			out = append(out, name[:i])
		}
	}
	return out
}

// below tells whether name lies under parent.
func (l layout) below(name, parent string) bool {
	return strings.HasPrefix(name, parent+string(l.separator))
}
