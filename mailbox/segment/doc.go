// Package segment keeps the bytes of messages in append-only files that are
// valid tar archives.
//
// It owns one folder and everything in it. A segment file is named by its
// number and nothing else (0000000000000002.tar); nothing on disk is named
// after what a user chose. Every message is a pair of entries, written
// together and made durable together; a removed message gets a third entry,
// wherever the store is writing then:
//
//	<sha256>.eml               the message, byte for byte
//	<sha256>.<n>.json          the sidecar the caller gave; n is the segment's number
//	                           times 1,000,000 plus the place in it, so never used twice
//	<sha256>.<n>.removed.json  {"removed": time}: the pair with this number is dead
//
// Segments with an even number hold many small messages; the one with the
// highest even number is the active one and the only file that ever grows.
// Segments with an odd number hold one large message each, streamed to
// <number>.tmp and renamed when whole and synced. The highest odd one, once
// removed, leaves an empty archive in its place: no number is given twice.
//
// A sweep copies what is alive in a mostly dead segment to the active one and
// unlinks the old file. A copy bears in its sidecar entry (group name) the
// number it was copied from: while both files stand, the two are one message.
//
// Invariants:
//   - Commit returns nil only when message and sidecar would survive a power cut,
//     Remove only when the removal would.
//   - A failed write or sync of shared bytes is fatal: the store answers ErrFailed
//     from then on, and nothing is tried again (a second fsync can report success
//     for pages the kernel has already dropped). Open reads the truth from disk.
//   - A sealed segment and a large one never change; they are unlinked whole.
//   - Open cuts the active segment after its last whole entry, but only what no
//     sync had covered: each message and removal entry carries how far its segment
//     was synced when its group began, and damage below such a mark is ErrCorrupt;
//     so is damage in what the owner's records name (Options.Named).
//   - A pair goes from disk only by a sweep, only with a removal entry that names
//     it and only when the owner's records say the same; or when a copy of it is
//     durable and the owner has said that its records name the copy.
//   - Damage stops a sweep before anything is unlinked.
//   - No error text holds a byte of a message or a sidecar.
//
// # What the owner must do
//
// The owner keeps the records that name messages by Ref; this package never
// sees them.
//
//   - Records are read first: what they name is told to Open (Options.Named), which
//     cannot tell damage in the last group from an unfinished write without them.
//   - Commit, then the record, then Writer.Release. A segment with a message that
//     is not released is not swept, so that no record is made for bytes that moved.
//   - To remove: first the last record that names a reference goes (committed),
//     then Remove(ref). A crash between the two leaves bytes without a record;
//     Walk shows them and the owner decides. Remove after ErrNotFound is done.
//   - A reference is copied from one record to another inside one transaction,
//     never from a value read before it; and moved changes all records that name
//     one Move.From in one transaction (different Moves may be in different ones).
//     Then records name either the old place or the new, never both.
//   - A reader that gets ErrNotFound from Open reads its record again, once: the
//     message may have moved. (The last 100,000 moves are followed by Open itself.)
//   - Sweeps are asked for by the owner, one at a time, as Due says; not before its
//     own count of records was found right, and not below its space floor, since a
//     sweep first writes (Live + Removals of the segment) before it frees.
//   - Walk shows every message once. It has a record if a record names Entry.Ref or
//     Entry.Copy. One that has none and is not Removed is bytes without a record: to
//     be kept and shown to the administrator, or removed by Remove.
//   - A restored or copied folder needs the tar files only.
//
// It imports the standard library only, and mailbox/planted. Its tests make their own fixtures.
package segment
