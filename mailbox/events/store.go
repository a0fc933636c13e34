package events

// Recovered tells of messages whose bytes were durable and whose record a crash
// prevented: they stand in front of the administrator now.
func (l *Log) Recovered(messages int) {
	l.out.Warn("messages recovered without a record", "messages", messages)
}
