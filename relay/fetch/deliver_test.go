package fetch

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"
)

// folder reads what stands in a folder: bytes and dates.
func folder(t *testing.T, s *Session, name string) (all []string, at []time.Time) {
	t.Helper()
	_, err := s.New(t.Context(), name, Cursor{}, 100, func(_ context.Context, it Item) error {
		b, err := io.ReadAll(it.Body)
		all, at = append(all, string(b)), append(at, it.InternalDate)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all, at
}

// A message is put into a folder once, as it is and with its date; one that stands there
// from an attempt of which nobody knows the end is found again, another of its
// Message-ID is none.
func TestDeliver(t *testing.T) {
	_, in, _ := simulated(t)
	s, err := Dial(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const message = "From: a@pec.example\r\nMessage-ID: <x1@pec.example>\r\nSubject: ricorso\r\n\r\n.\r\nciao \r\n"
	at := time.Date(2026, 7, 17, 2, 44, 25, 0, time.FixedZone("", 7200))
	deliver := func(text string, date time.Time, again bool) bool {
		t.Helper()
		got, err := s.Deliver(t.Context(), Parcel{
			Folder: "INBOX", At: date, MessageID: "<x1@pec.example>", Body: strings.NewReader(text), Size: int64(len(text)), Again: again,
		})
		if err != nil {
			t.Fatal(err)
		}
		return got.Before
	}
	if deliver(message, at, true) {
		t.Error("it was there before")
	}
	all, dates := folder(t, s, "INBOX")
	if len(all) != 1 || all[0] != message || !dates[0].Equal(at) {
		t.Fatalf("there is %q of %v", all, dates)
	}
	if !deliver(message, at.Add(time.Hour), true) || !deliver("Message-ID: <x1@pec.example>\r\n\r\nas another keeps it\r\n", at, true) {
		t.Error("it is not found again")
	}
	if deliver("Message-ID: <x1@pec.example>\r\n\r\nanother\r\n", at.Add(time.Hour), true) {
		t.Error("another is taken for it")
	}
	if deliver(message, at, false) {
		t.Error("a first attempt looks for it")
	}
	if all, _ := folder(t, s, "INBOX"); len(all) != 3 {
		t.Errorf("there are %d", len(all))
	}
}
