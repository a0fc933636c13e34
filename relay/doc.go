// Package relay carries: a submission from the moment it is accepted to the
// receipts of its last recipient, and what arrives at the provider into the
// store.
//
// It owns the outgoing queue, the states of submissions and of their
// recipients, the cursors of what was fetched, and the decision what a receipt
// changes. The protocols towards the provider are in relay/submit and
// relay/fetch, what a message means is in mailbox/pec.
//
// Invariants:
//
//   - What is asked often costs what is open: putHead alone writes a submission's
//     record, and with it what is listed and counted (open_index.go).
//   - A submission is always in exactly one state (the table below), and
//     deleted never means sent: terminal records stay.
//   - Whoever hands over or fetches holds a lease (lease.go), and looks again before
//     what cannot be undone: the final dot, a deletion at the provider. Several
//     services on one store never do one thing twice.
//   - What ends the gateway, or panics, three times in a row is set aside (poison.go):
//     a submission is held, a message of the provider stays there.
//   - Before the final dot an intent is durable. Whatever cuts the hand-over
//     after it leaves the submission uncertain, never queued.
//   - What is uncertain is decided only after every folder was searched for what
//     quotes its Message-ID, while the mailbox was readable for the set time
//     (uncertain.go). The gateway hands over a second time at most once ever, and
//     what was so is marked as such for good.
//   - Nothing that a search meets holds it up (uncertain_search.go): what could not be
//     read, and whatever was set aside since the hand-over, forbids a second one, and
//     the time goes on.
//   - A provider that breaks off each hand-over gets one at a time, more and more
//     rarely (brake.go).
//   - Only a receipt that is believed (pec.Report.Believed) and whose signed
//     data name the mailbox, the Message-ID (or the provider's identifier, once
//     an acceptance told it) and a recipient of the submission changes an outcome.
//     In which order receipts come, and how often, makes no difference to the end.
//   - Acceptances, non-acceptances and warnings of a delay count only from the
//     provider of the submission's acceptance; those of others are filed and told.
//   - Every receipt is seen by somebody: its sender, those who receive or the
//     administrator (routing.go).
//   - A receipt that carries another content than was sent is told and changes
//     no outcome: the signed receipt decides.
//   - Of each submission at most one report of its outcome stands (outcome.go). It is
//     written from the state alone, after the change, and replaces the one before
//     in one transaction; history has none.
//   - Of what came through a groupware server each end of a recipient is told at most
//     once by a delivery status notification (notification.go), never to a PEC mailbox.
//   - One connection at a time looks at what stands in a mailbox: reconcile.go works in
//     the fetcher's place.
//   - What was not sent from here has at most one recovered original, which is of
//     nobody (original.go). What is imported (import.go) is history and moves no cursor.
//   - Of a batch (batch.go) each message follows from the batch and its number, has
//     its record from its first attempt on, and never a second one. The hash of its
//     bytes, which are stored nowhere, is durable before the dot.
//   - No mailbox hands over more messages in a minute than its provider takes, and
//     a batch keeps no other message waiting.
//   - The cursor of a provider's folder moves in the transaction that records
//     the message; by POP3 the ids that were fetched are the cursor. Several are
//     prepared at a time, their records come in the provider's order (row.go).
//   - What stood there at first contact is history, and is taken in newest first. Words
//     of the provider that something came (listen.go) are hints: rounds go on without.
//   - What cannot be taken in is set aside with an alarm and tried again; what cannot
//     be filed is kept for the administrator besides (shelve.go).
//   - What could not be verified for want of a CA is judged again when other CAs are
//     trusted (judge.go).
//   - Nothing is deleted at the provider but what provider_copy says, and that
//     only when our bytes were read back and hashed and what stands there is what
//     was fetched (clear.go). A doubt keeps it there for good.
//   - Records of a backup are not believed when they call something unsent: it is
//     held until a receipt tells or a person decides (Restored).
//   - What may have left once (Submission.Doubt) is never called unsent, and a
//     person who sends it again is told and noted.
//   - An alarm is told once while its cause stands: record, notice and audit line are
//     one transaction (alarm.go).
//   - What waits for its sender's PIN (hold.go) leaves by that PIN only, once; the
//     token of its notice is kept as a hash. Hold and message are one transaction,
//     the notice and its token another.
//   - What its origin says waited for a PIN or for approval, and of which the records
//     are lost, is released by a person who asks for just that (Unconfirmed).
//   - A login that the provider refused is not sent again with the same credential,
//     by any service and over restarts (login.go), until a person says so. What is
//     queued says so meanwhile (halt.go).
//   - What has no room at the provider for its receipts waits (room.go), and is held where
//     it never will have (room_never.go); what is not known holds nothing back.
//   - Outside the hours of a mailbox nothing that is queued leaves and the provider is
//     not asked, but for what cannot wait (hours.go).
//   - One mailbox that is slow or broken delays no other: each has its own
//     sender and fetcher, and those whose connections hang leave one to its host free
//     (gates.go).
//
// The states of a submission, and what leads from one to another (Edges, in
// state.go, is what holds):
//
//	held         → queued        released: its PIN, a person, the retry of its batch
//	held         → cancelled     a person, its sender, or nobody in time
//	held         → handed-over   a signed notice about a recipient, which proves the hand-over; the provider's late 250
//	held         → accepted      the signed acceptance
//	held         → not-accepted  the signed non-acceptance; the provider's late 5xx
//	to-approve   → queued        approved
//	to-approve   → held          approved, but it may have left since the backup; its author left
//	to-approve   → cancelled     rejected, or approved by nobody in time
//	to-approve   → handed-over   a signed notice about a recipient, which proves the hand-over
//	to-approve   → accepted      the signed acceptance
//	to-approve   → not-accepted  the signed non-acceptance
//	queued       → attempting    a sender takes it, under a lease
//	queued       → held          a person, a restore, its batch is held, its sender left the policy, its receipts can never fit the mailbox
//	queued       → cancelled     a person, or its batch is cancelled
//	queued       → handed-over   a signed notice about a recipient, which proves the hand-over; the provider's late 250
//	queued       → accepted      the signed acceptance
//	queued       → not-accepted  the signed non-acceptance
//	attempting   → queued        a temporary refusal, or cut off before the intent
//	attempting   → uncertain     cut off after the intent, without a clear answer
//	attempting   → held          poison: its handling crashed for the third time; a restore
//	attempting   → handed-over   the provider's 250; a signed notice about a recipient, which proves the hand-over
//	attempting   → accepted      the signed acceptance
//	attempting   → not-accepted  the provider's 5xx, tried for too long; the signed non-acceptance
//	uncertain    → queued        sent again, flagged, where the mailbox says so; the provider's late refusal to take it now
//	uncertain    → held          no receipt in time; a restore
//	uncertain    → handed-over   a signed notice about a recipient, which proves the hand-over; the provider's late 250
//	uncertain    → accepted      the signed acceptance
//	uncertain    → not-accepted  the signed non-acceptance; the provider's late 5xx
//	handed-over  → accepted      the signed acceptance
//	handed-over  → not-accepted  the signed non-acceptance
//	not-accepted → handed-over   a signed notice about a recipient, which proves the hand-over
//	not-accepted → accepted      the signed acceptance
//	cancelled    → handed-over   a signed notice about a recipient, which proves the hand-over; the provider's late 250
//	cancelled    → accepted      the signed acceptance
//
// It must not import gateway or configs.
package relay
