// Package dsn writes and reads delivery status notifications: multipart/report
// (RFC 6522) with message/delivery-status (RFC 3464), and what a sender asks of them
// by SMTP (RFC 3461: xtext, NOTIFY, ORCPT; addresses beyond ASCII by RFC 6533).
//
// It owns their bytes and nothing else: bytes in, bytes out. Who is told what, and
// when, is decided in relay.
//
// Invariants:
//   - What is written is ASCII in lines of at most 76 octets where they can be
//     folded, and never more than 998: any server takes it, 8BITMIME or not.
//   - No word of a stranger makes a field or ends one: control characters become
//     spaces before anything is written.
//   - A report names at most MaxRecipients recipients; more are an error.
//   - Read is strict: what is not whole and by the RFC is refused with the reason,
//     and it looks at no more than MaxStatus octets of fields.
//   - What was written is read back as it was given, but for the texts for people.
//
// It must not import anything but the standard library and mailbox/mime.
package dsn
