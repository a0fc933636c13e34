package events

// LoginOK says that somebody logged in.
func (l *Log) LoginOK(login, box, remote string) {
	l.out.Info("login", "user", Clip(login), "mailbox", Clip(box), "remote", Clip(remote))
}

// LoginRefused says that a login was refused: reason is one of "password",
// "unknown", "throttled", "size". The login is empty for an unknown name: what
// people type there by mistake is a password too often.
func (l *Log) LoginRefused(login, remote, reason string) {
	l.out.Warn("login refused", "user", Clip(login), "remote", Clip(remote), "reason", reason)
}

// LoginBusy says that a login could not be checked now, because too many wait.
func (l *Log) LoginBusy(remote string) {
	l.out.Warn("login not checked, too many wait", "remote", Clip(remote))
}

// HashUnusable says that the hash of a user in the policy cannot be used.
func (l *Log) HashUnusable(login, which string) {
	l.out.Error("hash in the policy cannot be used", "user", Clip(login), "which", which)
}

// PINWrong says that a wrong PIN was given, and how many that makes today.
func (l *Log) PINWrong(login string, today int) {
	l.out.Warn("wrong PIN", "user", Clip(login), "today", today)
}

// PINLocked says that a user's PIN is locked until the end of the day.
func (l *Log) PINLocked(login string) {
	l.out.Warn("PIN locked until midnight", "user", Clip(login))
}
