// Package planted names faults that can be planted into the program on purpose,
// one at a time, to prove that the tests which hunt for such faults find them.
//
// It owns the list of names and the question Is, nothing else: what a fault does
// stands where it is planted, as one `if planted.Is(...)`. A program built
// without the tag `planted` has none of them: Is is the constant false there and
// the compiler leaves the branch out. With the tag, the environment variable
// PECGATE_PLANTED names the one that is on.
//
// It imports nothing but the standard library, and nothing of this module.
package planted

// Bug is the name of a planted fault.
type Bug string

// Variable is the environment variable that names the fault in a program built
// with the tag `planted`.
const Variable = "PECGATE_PLANTED"

// What can be planted. Each comment says what goes wrong.
const (
	// Durability.
	NoSync             Bug = "no-sync"              // nothing is synced: neither bytes, records, journal nor folders
	NoSyncSegment      Bug = "no-sync-segment"      // the bytes of messages are not synced
	NoSyncRecords      Bug = "no-sync-records"      // the records are not synced
	ReplyBeforeCommit  Bug = "reply-before-commit"  // 250 is said before the message is stored
	CommitErrorIgnored Bug = "commit-error-ignored" // an error of a commit is taken for success
	CutTailSilently    Bug = "cut-tail-silently"    // start cuts whole entries off the newest segment
	SkipRecordCount    Bug = "skip-record-count"    // start does not compare the records with their count
	SkipHashCheck      Bug = "skip-hash-check"      // stored bytes are not compared with their SHA-256
	ServeOtherBytes    Bug = "serve-other-bytes"    // IMAP gives out other bytes than those stored

	// Handing over.
	IntentNotWritten Bug = "intent-not-written"       // the intent is not recorded before the dot
	ResendUncertain  Bug = "resend-after-uncertain"   // what may have left is sent again after a crash
	AnyAnswerIsGood  Bug = "any-answer-is-good"       // a temporary refusal at the dot counts as taken
	RetryIsAnother   Bug = "retry-is-another"         // a client's identical retry becomes a second submission
	SameIDSuppressed Bug = "same-id-suppressed"       // another message with a Message-ID used before is dropped with 250
	RestoredResends  Bug = "restored-resends"         // after a restore what the backup calls unsent is sent at once
	PINInThreadTopic Bug = "pin-left-in-thread-topic" // the PIN is cut from the subject only

	// Taking in.
	CursorBeforeRecord Bug = "cursor-before-record"      // the fetch cursor moves before the message is stored
	DedupeByMessageID  Bug = "dedupe-by-message-id"      // incoming mail with a Message-ID seen before is dropped
	ReceiptBelieved    Bug = "unsigned-receipt-believed" // a receipt counts whatever its signature is
	WrongMailbox       Bug = "wrong-mailbox"             // incoming mail is filed in another mailbox
)

// All lists every fault that can be planted.
func All() []Bug {
	return []Bug{
		NoSync, NoSyncSegment, NoSyncRecords, ReplyBeforeCommit, CommitErrorIgnored, CutTailSilently, SkipRecordCount, SkipHashCheck, ServeOtherBytes,
		IntentNotWritten, ResendUncertain, AnyAnswerIsGood, RetryIsAnother, SameIDSuppressed, RestoredResends, PINInThreadTopic,
		CursorBeforeRecord, DedupeByMessageID, ReceiptBelieved, WrongMailbox,
	}
}
