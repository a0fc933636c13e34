package imapd

import (
	"bytes"
	"strings"
)

// libraryFault is how the library ends a command that it cannot read: a name
// that is no modified UTF-7, a wrong set of numbers, an unknown search key. The
// service itself never says it.
const libraryFault = " NO [SERVERBUG] Internal server error\r\n"

// blame is the answer p, where the fault is the client's with words that say
// so. wmu is held; only the reading goroutine ends commands, so that the command
// under way is the one that p is about.
func (f *filter) blame(p []byte) []byte {
	if f.tag == "" || len(p) != len(f.tag)+len(libraryFault) || !bytes.HasPrefix(p, []byte(f.tag)) || string(p[len(f.tag):]) != libraryFault {
		return p
	}
	switch name := strings.TrimPrefix(f.cur.name, "UID "); name {
	case "LIST", "LSUB":
		return []byte(f.tag + " OK " + name + " completed\r\n") // a pattern that no name fits
	case "FETCH", "STORE", "SEARCH", "EXPUNGE", "COPY", "MOVE":
		return []byte(f.tag + " BAD [CLIENTBUG] A word of this command is unknown or written wrong\r\n")
	}
	return []byte(f.tag + " NO [CANNOT] " + both("A name of this command is written wrong") + "\r\n")
}
