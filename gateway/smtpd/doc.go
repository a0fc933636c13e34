// Package smtpd takes submissions from mail clients (RFC 6409) and from groupware
// servers, and hands what policy allows to an Intake.
//
// It owns the SMTP conversation, the judgement of a submission's header and the
// edits of it. The commands are read and answered by go-smtp; a filter under it
// (conn.go) closes what that library leaves open, and takes the message itself
// from the connection in blocks (body.go).
//
// Invariants:
//
//   - 250 after DATA is said only after Delivery.Commit has returned.
//   - A message ends at CRLF.CRLF and nowhere else, and nothing is committed
//     unless that was seen. A read error while a message comes in closes the
//     connection, so that no byte of a message is ever run as a command.
//   - What is handed on is what came, byte for byte, without the dots of
//     transparency, except the edits of the header (edits.go), each of which is
//     named in Submission.HeaderEdits. Bare CR, bare LF and NUL are refused,
//     never repaired.
//   - The bytes that are judged are the bytes that are handed on. Header and
//     addresses are read by strict readers (header.go, path.go, from.go,
//     addresses.go); what two readers could understand differently is refused.
//     What passes (letter.go), a provider accepts and understands alike: the
//     table of headers is judged by the simulated provider and three other
//     readers, too.
//   - Every refusal has a code, an enhanced code and one sentence each in Italian
//     and English that says what to do (sentences.go).
//   - All or nothing: after one refused recipient nothing of that transaction
//     is accepted.
//   - A PIN goes to auth and nowhere else: no log, error, reply or stored byte.
//     Of a reply that confirms a held message nothing is stored or handed on, and
//     a PIN is looked at only where a live token or a good message asks for it.
//   - A message leaves by the policy in force at its end. Where that says otherwise
//     who gets what than the one of its header, it is to be sent again.
//   - A session ends at the first MAIL, or end of a message, at which its login is
//     another person's or has another password, or its app password is revoked.
//   - A groupware server (relay.go) stands for its users without a login of theirs:
//     only from its networks, with the certificate and login that it must show, asked
//     anew at each message and at its end. Who the user is policy.DecideRelay finds in
//     envelope and header; from there on a message is a submission like any other.
//     What has no sender is the administrator's, without a PIN, and goes nowhere else.
//     Ordinary mail that passes on shows no PIN either (relay_passing_pin.go).
//   - The secret of a server (relay_secret.go) is looked at before anything else of a
//     message is and cut there: nothing that is judged, written or logged has it.
//   - Of a journal report (relay_journal.go) only the message inside leaves, judged as if
//     its sender had sent it here; a refusal goes to that sender, never back to the server.
//   - A message by BDAT (relay_bdat.go) is whole when all octets of the chunk with LAST
//     are there. The library sees no chunk; one that is refused is passed over.
//   - Everything on a connection happens in its one goroutine, except Close.
//   - Errors become replies in one place (reply.go); an unknown error is a
//     temporary one with a neutral text and a number to look for in the log.
//
// It is the home of the go-smtp server. It must not import mailbox (except
// events and mime), relay or configs. Dialogs lie in testdata/dialogs/smtp,
// headers with their judgement in testdata/golden/judge.
package smtpd
