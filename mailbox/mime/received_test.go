package mime

import (
	"strings"
	"testing"
	"time"
)

func TestReceivedDate(t *testing.T) {
	const top = "Received: from a (b; c)\r\n\tby d\r\n\tid 1; Fri, 17 Jul 2026 02:44:25 +0200 (CEST)\r\n"
	want := time.Date(2026, 7, 17, 0, 44, 25, 0, time.UTC)
	for head, ok := range map[string]bool{
		top + "Subject: x\r\n\r\n": true,
		"Return-Path: <x@y>\r\n" + top + "Received: z; 1 Jan 2020 00:00:00 +0000\r\n": true,
		strings.ReplaceAll(top, "\r\n", "\n") + "\n":                                  true,
		strings.ReplaceAll(top, "Received", "received") + "\r\n":                      true,
		"Subject: x\r\n\r\n" + top + "\r\n":                                           false,
		"Received: without a date\r\n" + top + "\r\n":                                 false,
		top[:40]:                         false,
		top:                              false, // what comes behind may belong to it
		"Received: x; yesterday\r\nA: b": false,
		"":                               false,
		"no header":                      false,
		"Received: " + strings.Repeat("x", maxReceived) + ";\r\n 1 Jan 2020 00:00:00 +0000\r\nA: b\r\n": false,
	} {
		got := ReceivedDate([]byte(head))
		if ok && !got.Equal(want) || !ok && !got.IsZero() {
			t.Errorf("%.60q: %v", head, got)
		}
	}
}
