// Package mime sees a message as offsets. Parse reads a message once, front to
// back, in blocks, and leaves an Index: where the header and body of each part
// begin and end, and the IMAP answers for ENVELOPE, BODYSTRUCTURE and BODY as
// ready wire bytes. Bodies are never held in memory and never rewritten.
//
// Invariants:
//   - Parse fails only when reading fails. Whatever cannot be understood, or is
//     beyond a limit, is a text/plain or application/octet-stream leaf that
//     covers the bytes; no byte of a message becomes unreachable.
//   - All ranges lie inside the message; a part's header and body are adjacent.
//   - The range of a body part ends before the line end that precedes its
//     boundary line (RFC 2046 section 5.1.1), so that Part.Raw is what a
//     signature covers.
//   - Time and memory are linear in the size, with constants set by Limits.
//   - The wire bytes hold no NUL, and no CR or LF outside a counted literal.
//   - CutMark changes the named fields only, and leaves no match of the mark in
//     their raw or decoded form, or it fails.
//
// It owns header syntax, encoded words, addresses for display, the index and
// its record form. It knows nothing of storage, accounts or certified mail, and
// imports only the standard library and golang.org/x/text; in particular not
// net/mail or mime/multipart, which alter or refuse what strangers send.
//
// Fixtures: testdata/hostile/mime at the top of the module.
package mime
