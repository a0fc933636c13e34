// Package audit is the log of who did what: append-only, chained, with proofs.
//
// It owns the keys below one prefix of the records (mailbox/kv), the key that
// signs tree heads, and the file of heads that stands outside of the records.
// It has no transaction of its own for entries: they are durable with the
// change that they tell of, or not at all.
//
// # Format, version 1
//
// Everything that is needed to check a log or a proof without this program.
// Numbers of entries and heads count from 0. Hashes are SHA-256, written in
// standard base64.
//
// The text of an entry is one JSON object in the canonical form of RFC 8785:
// no white space, keys in ascending order, UTF-8, no escape but the needed
// ones. Its keys, of which those in brackets are left out when empty:
//
//	[actor]    who: a login, or the room that acted
//	at         when, UTC: 2026-11-22T09:30:00.000000Z, always six digits
//	event      what
//	[from]     from where: the peer's address
//	[mailbox]  the PEC mailbox it is about
//	[more]     further facts, an object of strings
//	n          number of the entry
//	prev       leaf of the entry before it; empty for entry 0
//	[reason]   why
//	[result]   with which result
//	[subject]  the submission or message it is about
//	v          1
//
// The leaf of an entry is the hash of: a zero byte, 16 random bytes (the
// salt), the text. The leaves are a Merkle tree as RFC 6962 section 2.1 makes
// it. Without its salt nobody can guess a text back from its leaf, so salt and
// text may go together (retention) and the tree stands. That is itself an
// entry, event "audit-removal", whose more.numbers names the entries that lost
// their text: "3-17,20". A text that is gone without such an entry is a fault.
//
// A tree head is a signed note (the text, an empty line, and a line per
// signature: an em dash, the key's name, base64 of four bytes that name the key
// and the Ed25519 signature of the text). Its text is five lines:
//
//	pecgate.example.org                              name of the key
//	1234                                             number of entries
//	nND/nri/U0xuHUrYSy0HtMeal2vzD9V4k/BO79C+QeI=     root of the tree over them
//	time 2026-11-22T09:30:00.000000Z                 when it was signed, UTC
//	head 17                                          number of the head
//
// A public key is written name+hash+base64: eight hexadecimal digits, the
// first four bytes of the hash of (name, newline, key), then the key: a byte 1
// and the 32 bytes of Ed25519.
//
// The file of heads has one line for each head, {"note":"..."}.
//
// Records below the prefix; numbers are eight bytes, big-endian:
//
//	s         state: version 1, number of entries, number of heads, last leaf
//	h number  the leaf and then the root of every subtree that this entry completes
//	e number  salt and text
//	t number  signed tree head
//
// # Invariants
//
//   - An entry never changes and no number is given twice; Append refuses to
//     write over anything.
//   - No content of a message and no secret is in an entry: its writers see to
//     that. Values that strangers choose are bounded here.
//   - A head is in the file of heads only after its records are durable, so a
//     file that knows more than the records means records that were rolled back.
//   - What is found wrong is named by its number and never shown by its text.
//
// What it cannot find: who can write records, key and file of heads as the
// appliance can may replace all three. A copy of the newest head elsewhere is
// the answer to that.
//
// It imports mailbox/kv only. Fixtures lie in testdata.
package audit
