package mailbox

import (
	"encoding/binary"
	"strings"
)

// The key plan, of format 1 (see upgrade.go). Numbers are big-endian, so that
// keys sort as their numbers; strings end with a NUL. Mailboxes are lower case.
//
//	m/  message                         record (JSON)
//	mi/ message                         offsets of its parts (mime.Index)
//	mf/ message                         what lists show of it (Facts, JSON); may be missing
//	mh/ sha256, message                 nothing: messages by content
//	mb/ segment, offset, message        nothing: messages by the place of their bytes
//	mx/ segment, offset                 reference: bytes that no record names any more, to be removed
//	ms/ mailbox NUL message-id NUL, message   nothing: messages by Message-ID
//	mo/ person, message-id              the person's own copies (JSON)
//	mp/ message, folder, uid            nothing: the entries of a message
//	mr/ message, person                 nothing: that the person has read it is in the audit log
//	p/  login NUL                       person (number)
//	pi/ person                          login
//	po/ login NUL, person               when that person lost the login (JSON)
//	ap/ person, sha256                  app password (JSON): its name, when it was made and used
//	f/  folder                          record (JSON): counters, written by every change
//	fk/ mailbox NUL owner role NUL name folder (number)
//	e/  folder, uid                     entry: message, mod-sequence, audience ...
//	xe/ xs/ xb/ folder, uid             ENVELOPE, BODYSTRUCTURE and BODY as they go out
//	xw/ folder, uid                     signature of the words, for searches; may be missing
//	xh/ folder, uid                     header fields, for listings; may be missing
//	gp/ folder, person, uid             personal flags
//	gc/ folder, uid                     common flags and keywords (JSON)
//	h/  folder, person, uid             hidden from that person
//	c/  folder, mod-sequence            change feed
//	v/  folder, person                  how the person saw the folder last, and its UIDVALIDITY
//	ad/ mailbox NUL day, uid            archive line: folder, uid, message, audience
//	av/ folder, person                  as v/, of an archive
//	su/ person, name                    subscription
//	q/  mailbox NUL                     messages and bytes of a mailbox
//	rc/ mailbox NUL direction NUL year  last register number given
//	rn/ mailbox NUL direction NUL year, number   what has the number (JSON); stays when the message goes
//	lh/ hold NUL                        legal hold (JSON)
//	lm/ message, hold NUL               nothing: the holds on a message
//	lx/ hold NUL, message               nothing: the messages of a hold
//	a/s                                 audit log (mailbox/audit): its size and newest leaf
//	a/h a/e a/t  number                 its tree, its lines, its signed heads
//	n/  name NUL                        counters and marks: message, folder, person, audit,
//	                                    uidvalidity; plan, fill (format), retention (JSON),
//	                                    removed (how far the bytes of removals reach),
//	                                    backups, restored (JSON)
//	r/  room NUL key                    records of other rooms (Tx.Space)

func key(prefix string, parts ...any) []byte {
	k := append(make([]byte, 0, 64), prefix...)
	k = append(k, '/')
	for _, p := range parts {
		switch v := p.(type) {
		case MessageID:
			k = binary.BigEndian.AppendUint64(k, uint64(v))
		case FolderID:
			k = binary.BigEndian.AppendUint64(k, uint64(v))
		case uint64:
			k = binary.BigEndian.AppendUint64(k, v)
		case UID:
			k = binary.BigEndian.AppendUint32(k, uint32(v))
		case Person:
			k = binary.BigEndian.AppendUint32(k, uint32(v))
		case day:
			k = binary.BigEndian.AppendUint32(k, uint32(v))
		case []byte:
			k = append(k, v...)
		case string:
			// A NUL ends the string, so it may not hold one.
			k = append(k, strings.ReplaceAll(v, "\x00", "")...)
			k = append(k, 0)
		}
	}
	return k
}

func tailUint64(k []byte) uint64 { return binary.BigEndian.Uint64(k[len(k)-8:]) }
func tailUint32(k []byte) uint32 { return binary.BigEndian.Uint32(k[len(k)-4:]) }
