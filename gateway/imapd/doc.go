// Package imapd is the IMAP service (RFC 9051 and RFC 3501): what staff see of
// the gateway in their own mail client.
//
// It owns the folder tree and its names in both languages, who sees which
// folder, the view that each session has of its selected folder, and the
// encoding of every FETCH answer. The protocol library parses commands and
// writes small answers; it works on a connection of ours (filter) that lies
// above TLS.
//
// Invariants:
//
//   - Rights are asked of the policy again with every command and watched while
//     a session idles. A folder that somebody may not see answers exactly as one
//     that does not exist.
//   - Stored bytes are served as ranges of the store, never rebuilt: BODY[] is
//     the message byte for byte, or is refused where it holds what a literal
//     cannot (nul.go).
//   - An APPEND is committed only after all bytes that the client announced and
//     the end of its command have come, and never with a PIN in its header.
//   - Sequence numbers change only where the protocol allows: EXPUNGE is held
//     back during FETCH, STORE and SEARCH, and announced before EXISTS and flags.
//   - A command by numbers that met a message which another session has removed
//     says EXPUNGEISSUED.
//   - After EXAMINE nothing changes, CLOSE included.
//   - Nothing is written to a client inside a transaction of the store, nor with
//     a lock that another connection takes.
//   - The library gets whole commands only, none above its own limits, so that
//     it never takes the rest of a refused command for the next one.
//   - What a search answers was read in the ENVELOPE or the message itself; the
//     signatures of words only say where reading is of no use. Few searches read
//     at a time, and one ends with its client.
//   - No text that a client sent goes into an answer's text or a log line, except
//     the login name, bounded.
//
// It must not import configs, relay or gateway/gate; the listener yields
// connections with TLS done. Dialogs for its tests lie in testdata/dialogs/imap
// of the repository root.
package imapd
