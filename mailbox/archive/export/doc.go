// Package export is the writing side of archives: mbox in a .zip, Maildir in a .zip,
// and a tree of .eml files in a .zip or a folder, in parts of a set size. What it
// writes mailbox/archive reads.
//
// It owns no message. The caller gives messages one after the other and opens them.
//
// Invariants:
//   - A file stands under its name only when it is whole: it is written under a hidden
//     name, synced, read back with the hash of every message compared, and renamed;
//     then the folder is synced. Nothing that is there is replaced. What was broken
//     off leaves nothing behind, unless the process was killed: then a hidden file.
//   - A message is never cut: a part ends before the message that would pass its size.
//   - Its bytes are those given, and have the hash given, or the export fails. Only
//     mbox changes some: a line of a body that begins with "From ", with any number of
//     ">" before it, gets one ">" more (mboxrd), and a message without an end of its
//     last line gets one. The manifest says of which messages that is true.
//   - The same messages give the same bytes: the order is the caller's, no time is
//     that of the writing. Names of files hold no word of a message: a number, a kind
//     of the caller's list, a hash; and of mailboxes only letters, digits, "@.-_".
//   - The bytes stream. What is kept is a record of each message of the part under
//     way, at most MaxMessages.
//
// Every export has manifest.json and SHA256SUMS, which `sha256sum -c` checks once it is
// unpacked. A .zip is not compressed: most of mail is attachments that are packed
// already, and no reader takes a stored file for one that unpacks to too much.
//
// Two things that somebody may put into a message to fool readers of mbox are known:
// more than 250 ">" before a "From ", which mailbox/archive does not undo, and a
// Content-Length field that is true but for blank lines at its end, in every message
// of the file. Both forms with one file for each message are free of this.
//
// It uses only the standard library and imports no other room.
package export
