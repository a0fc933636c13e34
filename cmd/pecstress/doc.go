// Command pecstress breaks a running gateway on purpose and judges from outside
// what became of the mail.
//
// It runs the real program (cmd/pecgate, built from this tree) against a
// simulated provider in its own process, lets people submit and mail arrive,
// and kills the program, cuts its power, breaks its system calls, fills its disk
// or damages its files. Then it starts the gateway again and compares what was
// promised with what is there.
//
// `pecstress handover` has one question, in hundreds of tries: what becomes of a
// message whose hand-over is cut while the provider has it and the gateway does
// not know (handover.go, cutter.go).
//
// It owns the world that this happens in (world.go), the ledgers of what was
// promised (ledger.go), the judge (check.go), and the scenarios.
//
// Invariants:
//
//   - What the gateway says of itself is never evidence. Evidence is: each 250,
//     written down and synced before the next command; what the provider was
//     given and what it put into mailboxes; what IMAP gives out. The gateway is
//     asked for the state of a submission only where the provider does not have
//     the message, and for how far it is, to know when to look.
//   - The ledgers lie outside the gateway's folder and are never touched by what
//     breaks it.
//   - A harness that cannot fail is worth nothing: planted faults must be
//     reported, and a power cut without any sync must lose mail. If not, the run
//     fails.
//   - A scenario that cannot run on this machine is a failure, not a pass.
//   - Whatever was started, mounted or attached is ended, also after an error or
//     a signal, and only that: by process id, mount point and loop device.
//
// It may import any library and relay/providersim; of the gateway's own rooms
// only the names of planted faults and the hash of passwords, so that no fault
// of the gateway hides in its judge. The store is imported for one thing: to open
// damaged copies of its folder, thousands of them, in a process of its own
// (corrupt_look.go). What it says it found there is compared with hashes that the
// driver and the provider know.
package main
