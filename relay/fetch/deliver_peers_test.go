//go:build peers

package fetch

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// TestDeliverToDovecot: a server that others wrote takes a message as it is and with
// its date, into a folder that is made for it, once.
func TestDeliverToDovecot(t *testing.T) {
	d := startDovecot(t)
	s, err := Dial(t.Context(), d.server("imaps", "tls"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const message = "From: a@pec.example\r\nMessage-ID: <x1@pec.example>\r\nSubject: perch\xc3\xa9\r\n\r\n.\r\nciao \r\n"
	at := time.Date(2026, 7, 17, 2, 44, 25, 0, time.FixedZone("", 7200))
	for n, again := range []bool{false, true, true} {
		got, err := s.Deliver(t.Context(), Parcel{
			Folder: "PEC", At: at, MessageID: "<x1@pec.example>", Body: strings.NewReader(message), Size: int64(len(message)), Again: again, Check: true,
		})
		if err != nil || got.Before != (n > 0) || !got.Found {
			t.Errorf("attempt %d: %+v, %v", n, got, err)
		}
	}
	all, dates := folder(t, s, "PEC")
	if !slices.Equal(all, []string{message}) || !dates[0].Equal(at) {
		t.Errorf("there is %q of %v", all, dates)
	}
}
