package events

// ControlUnaudited is what somebody asked over the control socket while the
// store could not take its audit line: this line stands in for it.
func (l *Log) ControlUnaudited(event, mailbox, subject, result, peer string, err error) {
	l.out.Error("asked over the control socket, audit line not stored", "event", event, "mailbox", Clip(mailbox),
		"subject", Clip(subject), "result", result, "peer", peer, "error", Clip(err.Error()))
}

// ControlCut is an answer over the control socket that its reader did not take
// to the end.
func (l *Log) ControlCut(event, peer string, err error) {
	l.out.Info("answer over the control socket not read to its end", "event", event, "peer", peer, "error", Clip(err.Error()))
}
