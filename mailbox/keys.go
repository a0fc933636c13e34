package mailbox

import (
	"encoding/binary"
	"strings"
)

// The key plan. Numbers are big-endian, so that keys sort as their numbers;
// strings end with a NUL.
//
//	m/  message                         record (JSON)
//	mi/ message                         offsets of its parts (mime.Index)
//	mh/ sha256, message                 nothing: messages by content
//	ms/ mailbox NUL message-id NUL, message   nothing: messages by Message-ID
//	mo/ person, message-id              the person's own copies (JSON)
//	p/  login NUL                       person (number)
//	pi/ person                          login
//	f/  folder                          record (JSON): counters, written by every change
//	fk/ mailbox NUL owner role NUL name folder (number)
//	e/  folder, uid                     entry: message, mod-sequence, audience ...
//	xe/ xs/ xb/ folder, uid             ENVELOPE, BODYSTRUCTURE and BODY as they go out
//	mp/ message, folder, uid            nothing: the entries of a message
//	gp/ folder, person, uid             personal flags
//	gc/ folder, uid                     common flags and keywords (JSON)
//	h/  folder, person, uid             hidden from that person
//	c/  folder, mod-sequence            change feed
//	v/  folder, person                  how the person saw the folder last, and its UIDVALIDITY
//	su/ person, name                    subscription
//	a/  number                          audit line (JSON)
//	n/  name                            counters
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
