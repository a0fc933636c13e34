package events

import (
	"context"
	"log/slog"
	"time"
)

// Attempt is one try to hand a submission to the provider.
func (l *Log) Attempt(mailbox, submission string, number int, class, stage string, code int, err error) {
	level, text := slog.LevelInfo, ""
	if err != nil {
		level, text = slog.LevelWarn, Clip(err.Error())
	}
	l.out.Log(context.Background(), level, "attempt", "mailbox", mailbox, "submission", submission, "number", number,
		"class", class, "stage", stage, "code", code, "error", text)
}

// At is where a message stands at the provider: in a folder, or by POP3 under
// its unique-id.
type At struct {
	Folder string
	UID    uint32
	UIDL   string
}

func (a At) with(mailbox string, more ...any) []any {
	at := []any{"mailbox", mailbox, "folder", Clip(a.Folder), "uid", a.UID}
	if a.UIDL != "" {
		at = []any{"mailbox", mailbox, "uidl", Clip(a.UIDL)}
	}
	return append(at, more...)
}

// Unreached is an attempt that did not reach the provider, which says nothing about the
// submission. One after the other is told at doubling distances, with how often it came.
func (l *Log) Unreached(mailbox, submission, stage string, t *Trouble, now time.Time, err error) {
	if n, since, tell := t.Failed(now); tell {
		l.out.Warn("provider not reached for sending", "mailbox", mailbox, "submission", submission, "stage", stage, "times", n,
			"since", since.UTC().Format(time.RFC3339), "error", Clip(err.Error()))
	}
}

// Reached is one that did, and tells so where the last ones did not.
func (l *Log) Reached(mailbox string, t *Trouble) {
	if n, since, was := t.Good(); was {
		l.out.Info("provider reached again for sending", "mailbox", mailbox, "times", n, "since", since.UTC().Format(time.RFC3339))
	}
}

// Fetched is a message of the provider that is now in the store.
func (l *Log) Fetched(mailbox string, at At, kind, verdict, reason, submission string) {
	l.out.Info("fetched", at.with(mailbox, "kind", kind, "verdict", verdict, "reason", Clip(reason), "submission", submission)...)
}

// Refetched is a message of the provider that the store already had.
func (l *Log) Refetched(mailbox string, at At) {
	l.out.Info("fetched again", at.with(mailbox)...)
}

// PollFailed is a round of fetching that ended early. One that fails again and
// again is told at doubling distances, an hour to a day, with how often it did.
func (l *Log) PollFailed(mailbox string, t *Trouble, now time.Time, err error) {
	if n, since, tell := t.Failed(now); tell {
		l.out.Warn("fetch failed", "mailbox", mailbox, "times", n, "since", since.UTC().Format(time.RFC3339), "error", Clip(err.Error()))
	}
}

// PollGood is one that did not, and tells so where the last ones did.
func (l *Log) PollGood(mailbox string, t *Trouble) {
	if n, since, was := t.Good(); was {
		l.out.Info("fetch works again", "mailbox", mailbox, "times", n, "since", since.UTC().Format(time.RFC3339))
	}
}

// ListenFailed is a connection over which the provider tells of new messages at
// once, and that has ended or was never offered. Rounds go on without it.
func (l *Log) ListenFailed(mailbox string, err error) {
	l.out.Info("nobody listens for new messages, they are found by the next round", "mailbox", mailbox, "error", Clip(err.Error()))
}

// Elsewhere are folders at the provider that hold receipts and are not fetched.
func (l *Log) Elsewhere(mailbox, folders string) {
	l.out.Warn("receipts stand in folders that are not fetched: add them to incoming.folders", "mailbox", mailbox, "folders", Clip(folders))
}

// Stapled is a status (OCSP) that a provider's server staples to its certificate and
// that is of no use, or "" where that is over.
func (l *Log) Stapled(mailbox, server, trouble string) {
	if trouble == "" {
		l.out.Info("the status stapled to the provider's certificate is good again, or is there no more", "mailbox", mailbox, "server", server)
		return
	}
	l.out.Warn("the status stapled to the provider's certificate is of no use", "mailbox", mailbox, "server", server, "reason", Clip(trouble))
}

// Trusted is that other CAs are trusted from now on; anchors names them.
func (l *Log) Trusted(anchors string) {
	l.out.Info("other CAs of providers are trusted from now on (provider_trust)", "anchors", anchors)
}

// JudgedAgain is how many messages were judged again because other CAs are
// trusted, and of how many it is known by now what they are.
func (l *Log) JudgedAgain(looked, decided int) {
	l.out.Info("what could not be verified was judged again by other CAs", "looked", looked, "decided", decided)
}

// Renumbered is a folder at the provider whose messages all have other UIDs than
// before.
func (l *Log) Renumbered(mailbox, folder string, before, now uint32) {
	l.out.Warn("the provider has numbered a folder anew, its messages are compared by content", "mailbox", mailbox, "folder", Clip(folder),
		"before", before, "now", now)
}

// ProviderLoginRefused is a login that the provider refused: it is not sent again.
func (l *Log) ProviderLoginRefused(mailbox, service, words string) {
	l.out.Error("login refused by the provider, suspended", "mailbox", mailbox, "service", service, "answer", Clip(words))
}

// Fault is a failure of the gateway itself in a room.
func (l *Log) Fault(room, mailbox string, err error) {
	l.out.Error("fault", "room", room, "mailbox", mailbox, "error", Clip(err.Error()))
}

// Poison is a message that stays at the provider because it cannot be fetched.
func (l *Log) Poison(mailbox string, at At, err error) {
	l.out.Error("message set aside", at.with(mailbox, "error", Clip(err.Error()))...)
}

// IDsChanged is a maildrop whose messages all have other unique-ids than before.
func (l *Log) IDsChanged(mailbox string, before, now int) {
	l.out.Warn("the provider has given all messages new ids, they are compared by content", "mailbox", mailbox, "before", before, "now", now)
}

// CopyRule says what becomes of the copies at the provider from now on, and how
// many stood there when the rule came.
func (l *Log) CopyRule(mailbox, rule string, standing int) {
	l.out.Warn("rule for the provider's copies", "mailbox", mailbox, "rule", rule, "standing", standing)
}

// CopyKept is a message whose copy stays at the provider although its time is
// over: the reason says what is doubtful about it.
func (l *Log) CopyKept(mailbox string, at At, reason string) {
	l.out.Error("the provider's copy is kept", at.with(mailbox, "reason", Clip(reason))...)
}

// CopiesDeleted is how many copies at the provider were deleted in a round, and
// how many of those asked for are there still.
func (l *Log) CopiesDeleted(mailbox string, gone, left int) {
	l.out.Info("provider's copies deleted", "mailbox", mailbox, "gone", gone, "left", left)
}

// Alarm is a condition that stands from now on; told: notices of it were written.
func (l *Log) Alarm(mailbox, kind, about string, told bool) {
	l.out.Warn("alarm", "mailbox", mailbox, "kind", kind, "about", Clip(about), "told", told)
}

// AlarmEnded is the end of one.
func (l *Log) AlarmEnded(mailbox, kind, about string) {
	l.out.Info("alarm ended", "mailbox", mailbox, "kind", kind, "about", Clip(about))
}

// RelayPanic says that handling a mailbox panicked in a room; what was handled is
// counted, the process lives. The stack holds no values.
func (l *Log) RelayPanic(room, mailbox, stack string) {
	l.out.Error("relay panic", "room", room, "mailbox", mailbox, "stack", clipTo(stack, maxStack))
}

// ClockBack says that the clock was put back: so many times of a room's records lay
// ahead, and were set anew.
func (l *Log) ClockBack(room, mailbox string, records int) {
	l.out.Warn("the clock was put back", "room", room, "mailbox", mailbox, "records", records)
}

// Forwarded is an attempt to bring something to an ordinary mailbox.
func (l *Log) Forwarded(id, kind, mailbox, class, stage string, code, attempts int, err error) {
	args := []any{"id", id, "kind", kind, "mailbox", mailbox, "class", class, "stage", stage, "code", code, "attempts", attempts}
	if err != nil {
		l.out.Warn("forward", append(args, "error", Clip(err.Error()))...)
		return
	}
	l.out.Info("forward", args...)
}
