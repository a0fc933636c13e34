package imapd

import (
	"strings"
	"testing"
)

// TestG6_AReplyWithAPINIsNotKept: of a client's copy of a reply with a PIN only
// the envelope stays, however its text was written; other messages are whole.
func TestG6_AReplyWithAPINIsNotKept(t *testing.T) {
	token := strings.Repeat("ab2", 8) + "xy"
	for to, want := range map[string]bool{
		"To: confirm+" + token + "@gateway.example\r\n":                            true,
		"To: \"Conferma\" <Confirm+" + strings.ToUpper(token) + "@gw.example>\r\n": true,
		"To: a@x.example,\r\n <confirm+" + token + "@gateway.example>\r\n":         true,
		"Bcc: confirm+" + token + "@gateway.example\r\n":                           true,
		"To: confirm@gateway.example\r\n":                                          false,
		"To: confirm+short@gateway.example\r\n":                                    false,
		"Subject: confirm+" + token + "@gateway.example\r\n":                       false,
	} {
		short, ok := withoutReply([]byte("From: a@b.example\r\n" + to + "Content-Type: multipart/mixed; boundary=471193\r\nX-Secret: 471193\r\nMessage-ID: <1@b.example>\r\n\r\n"))
		if ok != want {
			t.Errorf("%q: %t", to, ok)
		}
		if ok && (strings.Contains(string(short), "471193") || !strings.Contains(string(short), "Message-ID: <1@b.example>\r\n") || !strings.Contains(string(short), to)) {
			t.Errorf("%q is kept as\n%s", to, short)
		}
	}
}
