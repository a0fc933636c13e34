package configs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestSize(t *testing.T) {
	for text, want := range map[string]Size{
		"0B": 0, "1B": 1, "1kB": 1000, "1KB": 1000, "30MB": 30_000_000, "100MiB": 104_857_600, "1GiB": 1 << 30, "2TB": 2e12,
		"30 MB": 30_000_000, "1KiB": 1024,
	} {
		var s Size
		if err := s.UnmarshalText([]byte(text)); err != nil || s != want {
			t.Errorf("%s = %d, %v", text, s, err)
		}
	}
	for _, text := range []string{"", "MB", "30", "30mb", "30M", "1.5MB", "-1MB", "+1MB", "01MB", "0x1MB", "1  MB", "9223372036855TB", "1e3MB", "٣MB"} {
		var s Size
		if s.UnmarshalText([]byte(text)) == nil {
			t.Errorf("%q was taken as %d", text, s)
		}
	}
	for s, want := range map[Size]string{0: "0B", 30e6: "30MB", 100 << 20: "100MiB", 1 << 30: "1GiB", 1500: "1500B", 1000: "1kB"} {
		if got := s.String(); got != want {
			t.Errorf("%d is written %s, want %s", s, got, want)
		}
	}
}

func TestDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"60s": time.Minute, "1m": time.Minute, "1h30m": 90 * time.Minute, "2d": 48 * time.Hour, "250ms": 250 * time.Millisecond, "0s": 0,
	} {
		if got, err := parseDuration(text); err != nil || got != want {
			t.Errorf("%s = %s, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "60", "s", "-1s", "1.5h", "1m1h", "1s1s", "1 m", "1w", "1µs", "99999999999d", "106751d24h"} {
		if got, err := parseDuration(text); err == nil {
			t.Errorf("%q was taken as %s", text, got)
		}
	}
}

// The last day ends at midnight of the appliance's zone, also where the clock changes on that day.
func TestDateEnd(t *testing.T) {
	rome, err := time.LoadLocation("Europe/Rome")
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"2027-06-30": "2027-06-30T22:00:00Z", "2027-12-31": "2027-12-31T23:00:00Z",
		"2027-03-28": "2027-03-28T22:00:00Z", "2027-10-31": "2027-10-31T23:00:00Z", "2028-02-29": "2028-02-29T23:00:00Z",
	} {
		var d Date
		if err := d.UnmarshalText([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if got := d.End(rome).UTC().Format(time.RFC3339); got != want || d.String() != text {
			t.Errorf("%s ends %s, want %s", d, got, want)
		}
	}
	if !(Date{}).End(rome).IsZero() {
		t.Error("no date has an end")
	}
}

func TestSecretResolve(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	write(t, in("unix"), "hunter2\n", 0o600)
	write(t, in("windows"), " hunter2 \r\n", 0o640)
	write(t, in("bare"), "hunter2", 0o400)
	write(t, in("open"), "hunter2", 0o644)
	write(t, in("group"), "hunter2", 0o660)
	write(t, in("lines"), "hunter2\n\n", 0o600)
	write(t, in("huge"), strings.Repeat("hunter2", 1000), 0o600)
	t.Setenv("GOOD_SECRET", "hunter2")
	t.Setenv("BAD_SECRET", "hunter2\r\nQUIT")
	for _, c := range []struct {
		secret Secret
		want   string
		fault  string
	}{
		{Secret{File: in("unix")}, "hunter2", ""},
		{Secret{File: in("windows")}, " hunter2 ", ""},
		{Secret{File: in("bare")}, "hunter2", ""},
		{Secret{Env: "GOOD_SECRET"}, "hunter2", ""},
		{Secret{File: in("open")}, "", "its mode 0644 lets others read or change it: run `chmod 0640 " + in("open") + "`"},
		{Secret{File: in("group")}, "", "its mode 0660 lets others read or change it: run `chmod 0640 " + in("group") + "`"},
		{Secret{File: in("lines")}, "", "it must be one line"},
		{Secret{File: in("huge")}, "", "it is larger than 4KiB"},
		{Secret{File: in("none")}, "", "there is no such file"},
		{Secret{File: dir}, "", "it is not a regular file"},
		{Secret{File: os.DevNull}, "", "it is not a regular file"},
		{Secret{Env: "BAD_SECRET"}, "", "it must be one line"},
		{Secret{Env: "NO_SUCH_SECRET"}, "", "it is empty or not set"},
		{Secret{Sealed: "hunter2"}, "", "damaged, or sealed for something else"},
		{Secret{}, "", "no password is configured"},
	} {
		got, err := c.secret.Resolve()
		switch {
		case c.fault == "" && (err != nil || got != c.want):
			t.Errorf("%+v: %q, %v", c.secret, got, err)
		case c.fault != "" && (err == nil || got != "" || !strings.HasSuffix(err.Error(), c.fault) || strings.Contains(err.Error(), "hunter2")):
			t.Errorf("%+v: %q, %v", c.secret, got, err)
		}
	}
}

func TestSuggest(t *testing.T) {
	known := []string{"send", "receive", "anomalies", "expires"}
	for word, want := range map[string]string{
		"sned": `did you mean "send"?`, "SEND": `did you mean "send"?`, "recieve": `did you mean "receive"?`,
		"expire": `did you mean "expires"?`, "x": `known: send, receive, anomalies, expires`,
		strings.Repeat("x", 1000): `known: send, receive, anomalies, expires`, "": `known: send, receive, anomalies, expires`,
	} {
		if got := suggest(word, known); got != want {
			t.Errorf("%.20s: %s", word, got)
		}
	}
}

// A value in a fault cannot break the line it is shown on.
func TestQuote(t *testing.T) {
	got := quote("a\r\nb\x1b[2J" + strings.Repeat("x", 100))
	if strings.ContainsAny(got, "\r\n\x1b") || len(got) > 100 {
		t.Error(got)
	}
}

func TestHoursAndPatience(t *testing.T) {
	for text, want := range map[string]time.Duration{"00:00": 0, "07:30": 7*time.Hour + 30*time.Minute, "23:59": 24*time.Hour - time.Minute} {
		var h Hour
		if err := h.UnmarshalText([]byte(text)); err != nil || !h.Set || h.At != want {
			t.Errorf("%s: %+v, %v", text, h, err)
		}
	}
	for _, text := range []string{"", "7:30", "24:00", "07:60", "0730", "450", "07:30:00"} {
		if err := new(Hour).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
	for text, want := range map[string]time.Duration{"off": 0, "0": 0, "30m": 30 * time.Minute, "3d": 72 * time.Hour} {
		var p Patience
		if err := p.UnmarshalText([]byte(text)); err != nil || time.Duration(p) != want {
			t.Errorf("%s: %v, %v", text, p, err)
		}
	}
	for _, text := range []string{"", "30", "-1h", "never", "0s"} {
		if err := new(Patience).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}
