package mime

import (
	"bytes"
	"strings"
	"time"
)

// maxReceived bounds one Received field, in bytes.
const maxReceived = 8 << 10

// ReceivedDate reads the time of the topmost Received field (RFC 5321 section
// 4.4) from the beginning of a message, which may be cut off anywhere. The zero
// time stands for no such field, or one that is cut off or cannot be read.
func ReceivedDate(head []byte) time.Time {
	for len(head) > 0 {
		line, rest, whole := bytes.Cut(head, []byte("\n"))
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok || !whole {
			return time.Time{} // the end of the header
		}
		field := append([]byte(nil), value...)
		for whole && len(rest) > 0 && (rest[0] == ' ' || rest[0] == '\t') {
			line, rest, whole = bytes.Cut(rest, []byte("\n"))
			if len(field)+len(line) <= maxReceived {
				field = append(append(field, ' '), line...)
			}
		}
		head = rest
		if !strings.EqualFold(strings.TrimSpace(string(name)), "Received") {
			continue
		}
		i := bytes.LastIndexByte(field, ';')
		if i < 0 || !whole || len(rest) == 0 {
			return time.Time{}
		}
		return ParseDate(strings.TrimSpace(strings.ReplaceAll(string(field[i+1:]), "\r", "")))
	}
	return time.Time{}
}
