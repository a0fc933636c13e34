package imapd

import (
	"github.com/emersion/go-imap/v2"            // sets
	"github.com/emersion/go-imap/v2/imapserver" // writes the COPYUID of a MOVE
)

// Move moves messages into a folder of the person's own (RFC 9051 section
// 6.4.8). Out of a shared folder they go for this person only. The EXPUNGE
// answers follow with Poll, which the library calls next.
func (s *session) Move(w *imapserver.MoveWriter, set imap.NumSet, dest string) error {
	v, err := s.writable()
	if err != nil {
		return err
	}
	data, err := s.transfer(v, set, dest, true)
	if err != nil {
		return s.reply("MOVE", err)
	}
	if data == nil {
		return nil
	}
	return w.WriteCopyData(data)
}
