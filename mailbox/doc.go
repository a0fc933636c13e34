// Package mailbox is the store as all other rooms see it: messages, folders,
// what each person sees of them, and the change feed.
//
// It owns the records (mailbox/kv) and joins them to the bytes
// (mailbox/segment) and their offsets (mailbox/mime). What a message means is
// decided by its callers: the store files what it is told to file.
//
// Invariants:
//
//   - Bytes are durable before the record that names them; a record without
//     bytes is impossible.
//   - What one call to Update does is durable together or not at all. A caller
//     may let its own records take part (Tx.Space).
//   - A UID is never used twice in a folder, whatever crashes or is removed.
//   - Every change of a folder gets the folder's next mod-sequence number in
//     the transaction that makes it; a watch only wakes up, the feed tells.
//   - Stored bytes never change. Readers get ranges of them.
//   - Nothing is written while the disk has less than the floor free; reading
//     goes on.
//
// It must not import relay, gateway or configs.
package mailbox
