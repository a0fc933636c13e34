package events

// Recovered tells of messages whose bytes were durable and whose record a crash
// prevented: they stand in front of the administrator now.
func (l *Log) Recovered(messages int) {
	l.out.Warn("messages recovered without a record", "messages", messages)
}

// Retained tells of messages that were removed because their time was over. The
// audit log names each of them.
func (l *Log) Retained(messages int) {
	l.out.Info("messages removed whose time was over", "messages", messages)
}
