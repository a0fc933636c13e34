package mailbox

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"pecgate/mailbox/mime"
)

// The header fields by which clients list a folder are stored beside the other
// answers of an entry, as they stand in the message, so that a listing reads no
// message. They may be missing: in mail that was stored before there were any,
// and where they are long.

// maxFields is how many bytes of fields are stored for an entry.
const maxFields = 8 << 10

// maxListedHeader is up to which length a header is looked through for them.
const maxListedHeader = 64 << 10

// listFields are the fields that mail programs ask for when they list a folder:
// Thunderbird, Apple Mail, K-9, Roundcube, mbsync and others. A field that is
// not in the record is not in the message.
func listFields() []string {
	return []string{
		"bcc", "cc", "chat-version", "content-transfer-encoding", "content-type", "date", "disposition-notification-to",
		"from", "importance", "in-reply-to", "list-id", "list-post", "list-unsubscribe", "mail-followup-to", "message-id",
		"mime-version", "newsgroups", "precedence", "priority", "references", "reply-to", "return-path", "sender", "subject",
		"to", "x-draft-info", "x-mailer", "x-priority", "x-ricevuta", "x-riferimento-message-id", "x-spam-flag",
		"x-tipo-ricevuta", "x-tiporicevuta", "x-trasporto", "x-tuid",
	}
}

// ListsFields tells whether all of these fields are among those that are stored
// beside an entry (Want.Fields).
func ListsFields(names []string) bool {
	list := listFields()
	for _, n := range names {
		if _, found := slices.BinarySearch(list, strings.ToLower(n)); !found {
			return false
		}
	}
	return len(names) > 0
}

// makeFields reads the fields of a message, nil where they are too long.
func makeFields(r io.ReaderAt, ix *mime.Index) ([]byte, error) {
	off, n, ok := ix.Section(nil, "HEADER")
	if !ok || n > maxListedHeader {
		return nil, nil
	}
	header := make([]byte, n)
	if _, err := r.ReadAt(header, off); err != nil && err != io.EOF {
		return nil, fmt.Errorf("read a header: %w", err)
	}
	fields := mime.SelectFields(header, listFields(), false)
	if len(fields) > maxFields {
		return nil, nil
	}
	return fields, nil
}
