// Package policy decides who may send from which PEC mailbox and who sees what of it.
//
// It owns the rules and the sentences of every refusal. Facts go in, a verdict with its reason and the deciding line
// comes out; the same facts always give the same verdict.
//
// Invariants:
//   - No line in the policy, no access. An ambiguous fact (two users or two mailboxes of one name) counts as no line.
//   - Deny wins: where several lines speak of the same member (by name, by group, from the defaults of mailboxes), each
//     right is what one of them says and none denies; a right of which no line speaks has its default. The last beginning
//     and the first end hold.
//   - Who writes for approval (compose) does not send: Verdict.Then says what becomes of a submission that is allowed.
//   - What a groupware server submits has one user or is refused, and leaves from a mailbox of that user (DecideRelay). It
//     never gains a recipient, goes whole or not at all, and facts that contradict each other are not weighed.
//   - A refused PIN gives one answer, whether it was missing or wrong.
//   - Addresses are compared without regard to ASCII case and are never matched by a lenient reader (ParseAddress).
//   - A Policy is never changed after it was built, so any number of goroutines may read one.
//
// It must not import anything but the standard library, and reads no clock, disk or network: the time is a parameter.
//
// Fixtures lie in testdata/policy (verdicts.golden, relays.golden) of the repository root.
package policy
