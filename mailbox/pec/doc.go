// Package pec says what a PEC (Italian certified mail, RFC 6109) message is
// and whether to believe it: its kind, what the signed daticert.xml says, the
// verdict on the provider's S/MIME signature, and the keys by which a receipt
// is tied to the submission it speaks of.
//
// It owns no storage and keeps no state of a message. It reads the stored
// bytes by the offsets of a mime.Index and writes nothing.
//
// Invariants:
//   - Outer headers (X-Ricevuta, X-Trasporto, X-Riferimento-Message-ID,
//     Subject) lie outside the signature. They are a claim, never a proof.
//   - A Report is believed (Believed) only if the signature over the exact
//     stored bytes verifies, the certificate was issued by a pinned PEC CA, its
//     address is the one in From, and the kind was read from daticert.xml
//     inside the signed part.
//   - daticert.xml counts at one place only: multipart/signed >
//     multipart/mixed > direct child. One that lies deeper (in postacert.eml,
//     in a forwarded mail) is never read.
//   - Everything a stranger feeds is bounded before it is parsed: the header,
//     the decoded signature, its nesting, daticert.xml, its elements. The signed
//     part itself is streamed, so memory does not grow with the message.
//   - What was signed decides the kind: daticert.xml, or, without one, the shape
//     of an anomaly envelope. No outer header but From and Content-Type changes
//     verdict or outcome.
//   - A signed envelope one level down in another multipart (Relayed) is verified
//     and shown, but never believed. What lies in a message/rfc822 is never judged.
//   - "Cannot verify" is an answer of its own (unverifiable), not "invalid".
//   - An error of Read is an I/O error. Whatever the bytes hold ends in a Report.
//
// It must not import the store, policy, relay or gateway, nor anything that
// opens files, connections or archives. The test fixtures lie in testdata/pec and
// testdata/hostile/pec at the root of the repository; `go test -update` signs them
// anew.
package pec
