package mime

import (
	"strings"
	"testing"
	"time"
)

func TestReadSummary(t *testing.T) {
	raw := "Date: Wed, 04 Mar 2026 23:30:00 +0100\r\nFrom: \"Rossi, \\\"M\\\"\" <rossi@pec.example.org>\r\nTo: gruppo: a@x.example, b@x.example;\r\n" +
		"Cc: =?utf-8?q?Societ=C3=A0?= <cc@example.com>\r\nSubject: =?utf-8?b?RmF0dHVyYSBwZXIgcXVhbGl0w6A=?=\r\nIn-Reply-To: <a@b>\r\nMessage-ID: <m@b>\r\n\r\nx"
	ix, err := Parse(strings.NewReader(raw), int64(len(raw)), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	s := ReadSummary(ix.Envelope)
	if want := time.Date(2026, 3, 4, 22, 30, 0, 0, time.UTC); !s.Date.Equal(want) {
		t.Errorf("date %v", s.Date)
	}
	if s.Subject != "Fattura per qualità" || s.From != "rossi" || s.To != "gruppo" || s.Cc != "cc" || s.InReplyTo != "<a@b>" || s.MessageID != "<m@b>" {
		t.Errorf("%+v", s)
	}
	for i := range ix.Envelope {
		ReadSummary(ix.Envelope[:i]) // ends, whatever is missing
	}
	if got := ReadSummary(nil); got != (Summary{}) {
		t.Errorf("of nothing: %+v", got)
	}
}

func TestBaseSubject(t *testing.T) {
	for subject, want := range map[string]struct {
		base    string
		changed bool
	}{
		"Contratto":                        {"Contratto", false},
		"Re: Contratto":                    {"Contratto", true},
		"RE:  re[2]: Contratto  2026 ":     {"Contratto 2026", true},
		"R: Contratto":                     {"R: Contratto", false},
		"[lista] Re: Contratto":            {"Contratto", true},
		"[lista] Contratto (fwd) (FWD)":    {"Contratto", true},
		"[Fwd: [x] Re: Contratto]":         {"Contratto", true},
		"[solo blob]":                      {"[solo blob]", false},
		"POSTA CERTIFICATA: Re: Contratto": {"POSTA CERTIFICATA: Re: Contratto", false},
		"Rif: x":                           {"Rif: x", false},
		"Re:":                              {"", true},
		"":                                 {"", false},
		strings.Repeat("Re: ", 200) + "x":  {"x", true},
		strings.Repeat("[Fwd: ", 50) + "x" + strings.Repeat("]", 50): {"x", true},
	} {
		base, changed := BaseSubject(subject)
		if base != want.base || changed != want.changed {
			t.Errorf("BaseSubject(%q) = %q, %v; want %q, %v", subject, base, changed, want.base, want.changed)
		}
	}
}
