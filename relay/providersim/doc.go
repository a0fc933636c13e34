// Package providersim is a simulated provider of Italian certified mail (PEC):
// SMTP submission, IMAP and POP3, all over implicit TLS, a certification
// authority of its own, and real S/MIME signatures over the exact bytes it sends.
// A page on loopback switches its faults while it runs. It serves `pecgate demo`, `pecgate simulate` and the scenario tests, where it is
// the judge: it stands outside the gateway and keeps its own ledgers.
//
// It owns: what a provider keeps (mailboxes in memory, the ledger of accepted
// submissions, the list of emitted messages), what a provider decides (formal
// checks, virus, what becomes of a message at each recipient, warnings by a clock
// whose hour may be short) and what a provider makes (all twelve kinds of PEC
// message in the style of old and of new engines, daticert.xml, signatures). It
// plays two providers: the one that clients log in at, and another that serves
// addresses elsewhere and signs with a certificate of its own.
//
// Invariants:
//
//   - The bytes of a submission are kept as they crossed the wire after
//     dot-unstuffing; nothing is repaired. Inside postacert.eml they differ only
//     by the replaced Message-ID and the appended X-Riferimento-Message-ID.
//   - The bytes served by IMAP and POP3 are the bytes in Emitted, for ever.
//   - The ledger and the list of emitted messages are append-only.
//   - Nothing is sent to a peer while a lock is held.
//   - Every goroutine belongs to the Provider and has ended when Close returns.
//
// It must not import any other package of this module. Parsing shared with the
// gateway would let one fault hide in both, so headers, MIME, addresses and CMS
// are read and written here by code of its own. Any library may be used.
//
// A stranger may feed it (it listens on a socket): commands, headers, parts,
// recipients and message sizes are limited. It holds everything in memory and
// is no server for real mail.
//
// Fixtures: none on disk; tests make their messages and certificates.
package providersim
