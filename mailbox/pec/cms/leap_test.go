package cms

import (
	"testing"
	"time"
)

// TestJ6_LeapSecond: a signing time in a leap second is read as the second behind it,
// in both forms and with every zone; a 61st second is not read.
func TestJ6_LeapSecond(t *testing.T) {
	der := func(tag byte, text string) []byte { return append([]byte{tag, byte(len(text))}, text...) }
	want := time.Date(2017, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, b := range [][]byte{
		der(tagUTCTime, "161231235960Z"), der(tagTime, "20161231235960Z"), der(tagUTCTime, "170101005960+0100"), der(tagUTCTime, "170101000000Z"),
	} {
		if got, err := readTime(b); err != nil || !got.Equal(want) {
			t.Errorf("%q: %s, %v", b[2:], got, err)
		}
	}
	if got, err := readTime(der(tagUTCTime, "161231235961Z")); err == nil {
		t.Errorf("a 61st second: %s", got)
	}
	// Behind 2038, as a 32-bit time_t would not be.
	if got, err := readTime(der(tagUTCTime, "380119031408Z")); err != nil || got.Unix() != 1<<31 {
		t.Errorf("2038: %s, %v", got, err)
	}
}
