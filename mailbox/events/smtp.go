package events

import (
	"fmt"
	"strings"
)

// Submitted says that a submission is durable and was told 250. Edits are words
// of smtpd for what it changed in the header.
func (l *Log) Submitted(id, user, mailbox, remote string, recipients int, size int64, pin, duplicate bool, edits []string) {
	l.out.Info("submission accepted", "id", Clip(id), "user", Clip(user), "mailbox", Clip(mailbox), "remote", Clip(remote),
		"recipients", recipients, "size", size, "pin", pin, "duplicate", duplicate, "edits", strings.Join(edits, ", "))
}

// MessageIDReplaced says that a client used a Message-ID again for another
// message of the same mailbox, which is a fault of its program: receipts quote
// nothing else. The submission goes out under an id of ours.
func (l *Log) MessageIDReplaced(id, user, mailbox, remote string) {
	l.out.Warn("a Message-ID was used again and is replaced: the mail program that wrote it gives one id to several messages",
		"id", Clip(id), "user", Clip(user), "mailbox", Clip(mailbox), "remote", Clip(remote))
}

// SMTPRefused says that a command or a message was refused. The reason is a
// stable word, where is the line of the policy that decided.
func (l *Log) SMTPRefused(user, mailbox, remote string, code int, enhanced, reason, where string) {
	l.out.Info("SMTP refusal", "user", Clip(user), "mailbox", Clip(mailbox), "remote", Clip(remote),
		"code", code, "enhanced", enhanced, "reason", reason, "where", where)
}

// SubmissionRefused is SMTPRefused of a message, or of its sender or one of its
// recipients, by somebody who is logged in.
func (l *Log) SubmissionRefused(user, mailbox, remote string, code int, enhanced, reason, where string) {
	l.SMTPRefused(user, mailbox, remote, code, enhanced, reason, where)
	l.audit(Deed{
		Event: "submission", Login: user, Mailbox: mailbox, From: remote, Result: "refused", Reason: reason,
		Where: where, Code: code, Much: true,
	})
}

// SMTPFault says that something of ours failed; the client heard only the id.
func (l *Log) SMTPFault(id string, err error) {
	l.out.Error("SMTP fault", "id", id, "error", Clip(err.Error()))
}

// SMTPLibrary is a complaint of the SMTP library about a connection.
func (l *Log) SMTPLibrary(format string, v ...any) {
	l.out.Warn("SMTP library", "message", clipTo(fmt.Sprintf(format, v...), maxStack))
}

// maxStack bounds what a panic's stack adds to a line.
const maxStack = 4 << 10

func clipTo(s string, n int) string {
	if len(s) > n {
		s = s[:n] + "..."
	}
	return strings.ToValidUTF8(s, "?")
}
