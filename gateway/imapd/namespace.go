package imapd

import "github.com/emersion/go-imap/v2" // the answer of NAMESPACE

// Namespace tells where folders stand (RFC 9051 section 6.3.10): one personal
// space from the root. The PEC trees are not declared as shared, since some
// clients do not show shared spaces at all.
func (s *session) Namespace() (*imap.NamespaceData, error) {
	if err := s.begin(); err != nil {
		return nil, err
	}
	return &imap.NamespaceData{Personal: []imap.NamespaceDescriptor{{Prefix: "", Delim: rune(delim[0])}}}, nil
}
