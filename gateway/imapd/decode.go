package imapd

import (
	"errors"
	"io"

	"pecgate/mailbox/mime"
)

var errUnknownEncoding = errors.New("imapd: unknown transfer encoding")

// identity tells whether a transfer encoding leaves the bytes as they are.
func identity(encoding string) bool {
	switch encoding {
	case "", "7bit", "8bit", "binary":
		return true
	}
	return false
}

// decoder reads a range of a message with its transfer encoding undone
// (BINARY, RFC 3516), or fails with errUnknownEncoding.
func decoder(encoding string, r io.ReaderAt, off, n int64) (io.Reader, error) {
	if !identity(encoding) && encoding != "base64" && encoding != "quoted-printable" {
		return nil, errUnknownEncoding
	}
	return mime.Content(r, &mime.Part{BodyOff: off, BodyLen: n, Encoding: encoding}), nil
}
