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
//     That number is the feed's own, one for each folder and not one for a whole
//     PEC mailbox: whoever follows, follows a folder as one person sees it (a
//     mailbox in the sense of RFC 9051), and a common number would make every
//     session read the changes of all folders. The feed is bounded; who is too
//     far behind is told so and takes a new snapshot.
//   - Stored bytes never change. Readers get ranges of them.
//   - Nothing removes a message but Retain: not before its mailbox's age, not
//     under a legal hold, not while somebody needs it. What people remove are
//     entries. Only what the gateway wrote itself and can write anew gives way to
//     the next one of its kind (FileGenerated). Bytes that several records name go with the last of them.
//   - Bytes without a record become a recovered message for the administrator,
//     each once; removed ones never do (Recover).
//   - The segments alone are enough to find every message again, with its mailbox,
//     direction, envelope and author (Origin, Rebuild).
//   - Register numbers, counters of messages and bytes, and the archive's index
//     are written in the transaction that they tell of.
//   - The signature of an entry's words never denies what a search would find; it
//     may be missing, and holds no text (index.go).
//   - Nothing new is taken while the disk has less than the floor free, and
//     nothing at all is written below a quarter of it; reading goes on.
//
// What runs beside the rest is asked for by the owner of the store, who waits
// for it: Recover once after Open, then Sweep; Retain at least once a day.
//
// It must not import relay, gateway or configs.
package mailbox
