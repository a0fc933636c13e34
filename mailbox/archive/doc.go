// Package archive is the reading side of archives: it walks over the messages
// in a file or folder that somebody kept, exported or was sent. It knows a
// single message (.eml, or any name), mbox in its four variants, Maildir with
// its subfolders, folders of messages, and .zip files of any of these.
//
// It owns no message and changes nothing. What it unpacks lies in memory or in
// a temporary file without a name (mode 0600, in the folder that TMPDIR names),
// and is gone when its Item is closed.
//
// Invariants:
//   - The bytes of an Item are those of the archive. Only mbox may have changed
//     a message when it was written (lines that begin with ">From "): Quoted
//     counts such lines, and Unquoted gives the bytes without that change as a
//     reading of its own, never in place of the first.
//   - An entry that cannot be read is an Item with Err, and the walk goes on: no
//     entry hides the others.
//   - The order is that of the names in a folder, and that of the archive in a
//     file. It is the same at every walk.
//   - Names of entries are shown, never opened or written. In a folder nothing
//     outside of it is opened, whatever its symbolic links say.
//   - What is unpacked is bounded before and while it is unpacked (Limits).
//     An archive inside an archive is refused. Compressed files other than .zip
//     are not looked into.
//   - No message is held in memory as a whole, except unpacked ones up to 1 MiB.
//
// It uses only the standard library, imports no other room, and must not import
// the store, policy, relay or gateway. Its tests make their archives themselves.
package archive
