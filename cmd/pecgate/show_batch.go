package main

import (
	"fmt"
	"strings"

	"pecgate/relay"
)

// batchText tells how far a batch is, for people. id is that of what is shown: the
// batch, or one of its messages.
func batchText(b *relay.ShownBatch, id string) string {
	text := ""
	if id != b.ID {
		text = "one message of " + b.ID + ": "
	}
	text += fmt.Sprintf("%d messages, %d queued, %d handed over, %d accepted", b.Messages, b.Queued, b.HandedOver, b.Accepted)
	for _, x := range []struct {
		n    int
		what string
	}{{b.Held, "held"}, {b.Uncertain, "uncertain"}, {b.NotAccepted, "not accepted"}, {b.Cancelled, "cancelled"}} {
		if x.n > 0 {
			text += fmt.Sprintf(", %d %s", x.n, x.what)
		}
	}
	text += fmt.Sprintf("; of %d recipients %d delivered, %d failed", b.Recipients, b.Delivered, b.Failed)
	if b.Late > 0 {
		text += fmt.Sprintf(", %d overdue", b.Late)
	}
	return text
}

// recipientsText names the first recipients of a message, and how many more there
// are.
func recipientsText(to []string) string {
	const most = 3
	if len(to) <= most {
		return strings.Join(to, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(to[:most], ", "), len(to)-most)
}
