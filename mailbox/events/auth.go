package events

import "time"

// LoginOK says that somebody logged in.
func (l *Log) LoginOK(login, box, remote string) {
	l.refused.good(repeat{login, remote})
	l.out.Info("login", "user", Clip(login), "mailbox", Clip(box), "remote", Clip(remote))
	l.audit(Deed{Event: "login", Login: login, Mailbox: box, From: remote, Result: "good"})
}

// ServerLogin is LoginOK of a groupware server; audited tells whether the audit log is told.
func (l *Log) ServerLogin(label, remote string, audited bool) {
	l.out.Info("login", "user", Clip(label), "mailbox", "", "remote", Clip(remote))
	if audited {
		l.audit(Deed{Event: "login", Login: label, From: remote, Result: "good"})
	}
}

// LoginByApp is LoginOK with an app password; app is its name.
func (l *Log) LoginByApp(login, box, remote, app string) {
	l.refused.good(repeat{login, remote})
	l.out.Info("login", "user", Clip(login), "mailbox", Clip(box), "remote", Clip(remote), "app", Clip(app))
	l.audit(Deed{Event: "login", Login: login, Mailbox: box, From: remote, Result: "good", Reason: "app password " + Clip(app)})
}

// LoginRefused says that a login was refused: reason is one of "password",
// "unknown", "again" (a password that was refused there before), "throttled", "size", "no-right" (to the mailbox of an IMAP login). The login is empty for an unknown name: what
// people type there by mistake is a password too often. What is refused again and again
// has a line at doubling distances, with how often (times).
func (l *Log) LoginRefused(login, remote, reason string) {
	l.logins.Add(1)
	if times, tell := l.refused.again(repeat{login, remote}, reason, time.Now()); tell {
		l.out.Warn("login refused", "user", Clip(login), "remote", Clip(remote), "reason", reason, "times", times)
	}
	l.audit(Deed{Event: "login", Login: login, From: remote, Result: "refused", Reason: reason, Much: true})
}

// UserRemoved says that a login left the policy, or is another person's there:
// what was theirs is kept apart from whoever has the login later.
func (l *Log) UserRemoved(login, why string) {
	l.out.Warn("user removed", "user", Clip(login), "why", why)
}

// UserNotRemoved says that what was a person's could not be kept apart yet. Until
// it is, nobody logs in as this user.
func (l *Log) UserNotRemoved(login, why string, err error) {
	l.out.Error("user not removed yet, the login stays closed", "user", Clip(login), "why", why, "error", err.Error())
}

// LoginClosed says that somebody with the right password was kept out, because
// what was the login's former person's is not kept apart yet.
func (l *Log) LoginClosed(login, remote string) {
	l.out.Warn("login closed until what was its former person's is kept apart", "user", Clip(login), "remote", Clip(remote))
	l.audit(Deed{Event: "login", Login: login, From: remote, Result: "refused", Reason: "closed", Much: true})
}

// LoginBusy says that a login could not be checked now, because too many wait.
func (l *Log) LoginBusy(remote string) {
	l.out.Warn("login not checked, too many wait", "remote", Clip(remote))
}

// HashUnusable says that the hash of a user in the policy cannot be used.
func (l *Log) HashUnusable(login, which string) {
	l.out.Error("hash in the policy cannot be used", "user", Clip(login), "which", which)
}

// CodesClosed says that the sealed secret of a user's one-time codes does not
// open, so that none can be checked.
func (l *Log) CodesClosed(login string) {
	l.out.Error("the secret of one-time codes does not open, see pecgate check", "user", Clip(login))
}

// PINRight says that a right PIN was given for a submission of a mailbox.
func (l *Log) PINRight(login, mailbox, remote string) {
	l.out.Info("right PIN", "user", Clip(login), "mailbox", Clip(mailbox), "remote", Clip(remote))
	l.audit(Deed{Event: "pin", Login: login, Mailbox: mailbox, From: remote, Result: "right"})
}

// PINWrong says that a wrong PIN was given, and how many that makes today.
func (l *Log) PINWrong(login, mailbox, remote string, today int) {
	l.out.Warn("wrong PIN", "user", Clip(login), "mailbox", Clip(mailbox), "remote", Clip(remote), "today", today)
	l.audit(Deed{Event: "pin", Login: login, Mailbox: mailbox, From: remote, Result: "wrong"})
}

// CodeSpent says that a one-time code was given that was taken before.
func (l *Log) CodeSpent(login, mailbox, remote string) {
	l.out.Warn("one-time code given again", "user", Clip(login), "mailbox", Clip(mailbox), "remote", Clip(remote))
	l.audit(Deed{Event: "pin", Login: login, Mailbox: mailbox, From: remote, Result: "wrong", Reason: "code given again"})
}

// PINLocked says that a user's PIN is locked until the end of the day, and was
// not looked at.
func (l *Log) PINLocked(login, mailbox, remote string) {
	l.out.Warn("PIN locked until midnight", "user", Clip(login), "mailbox", Clip(mailbox), "remote", Clip(remote))
	l.audit(Deed{Event: "pin", Login: login, Mailbox: mailbox, From: remote, Result: "locked"})
}
