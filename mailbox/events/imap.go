package events

// IMAPAccessEnded says that a session was ended because the policy no longer
// allows what it had open.
func (l *Log) IMAPAccessEnded(user, remote string) {
	l.out.Info("IMAP session ended, access lost", "user", Clip(user), "remote", Clip(remote))
}

// IMAPFault says that a command failed by a fault of ours.
func (l *Log) IMAPFault(command string, err error) {
	l.out.Error("IMAP command failed", "command", Clip(command), "error", Clip(err.Error()))
}

// IMAPLibrary says that the protocol library complained. The event is one of
// its fixed texts, never bytes of the peer.
func (l *Log) IMAPLibrary(event string) {
	l.out.Debug("IMAP library", "event", Clip(event))
}
