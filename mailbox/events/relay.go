package events

import (
	"context"
	"log/slog"
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

// Fetched is a message of the provider that is now in the store.
func (l *Log) Fetched(mailbox, folder string, uid uint32, kind, verdict, reason, submission string) {
	l.out.Info("fetched", "mailbox", mailbox, "folder", Clip(folder), "uid", uid, "kind", kind, "verdict", verdict,
		"reason", Clip(reason), "submission", submission)
}

// Refetched is a message of the provider that the store already had.
func (l *Log) Refetched(mailbox, folder string, uid uint32) {
	l.out.Info("fetched again", "mailbox", mailbox, "folder", Clip(folder), "uid", uid)
}

// PollFailed is a round of fetching that ended early.
func (l *Log) PollFailed(mailbox string, err error) {
	l.out.Warn("fetch failed", "mailbox", mailbox, "error", Clip(err.Error()))
}

// Fault is a failure of the gateway itself in a room.
func (l *Log) Fault(room, mailbox string, err error) {
	l.out.Error("fault", "room", room, "mailbox", mailbox, "error", Clip(err.Error()))
}

// Poison is a message that stays at the provider because it cannot be fetched.
func (l *Log) Poison(mailbox, folder string, uid uint32, err error) {
	l.out.Error("message set aside", "mailbox", mailbox, "folder", Clip(folder), "uid", uid, "error", Clip(err.Error()))
}
