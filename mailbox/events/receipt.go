package events

// ReceiptDiffers is a signed delivery receipt whose copy of the message has
// another content than the one that was sent. It changes no outcome.
func (l *Log) ReceiptDiffers(mailbox, submission, sha256 string, differences int) {
	l.out.Warn("receipt carries another content than was sent", "mailbox", mailbox, "submission", submission,
		"sha256", sha256, "differences", differences)
}
