package events

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestDiary(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []map[string]int
		d := NewDiary(3, time.Minute, func(rest map[string]int) { told = append(told, rest) })
		lines := func(n int, kind string) (had int) {
			for range n {
				if d.Line(kind) {
					had++
				}
			}
			return had
		}
		if n := lines(2, "a"); n != 2 {
			t.Errorf("%d lines of the first two", n)
		}
		if n := lines(10, "b") + lines(5, "a"); n != 1 {
			t.Errorf("%d lines of the next", n)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(told) != 1 || told[0]["a"] != 5 || told[0]["b"] != 9 {
			t.Errorf("counted %v", told)
		}
		time.Sleep(time.Hour)
		if n := lines(4, "a"); n != 3 || len(told) != 1 {
			t.Errorf("%d lines in the next interval, %v", n, told)
		}
		d.Close()
		if len(told) != 2 || told[1]["a"] != 1 {
			t.Errorf("at the end %v", told)
		}
		lines(10, "a")
		time.Sleep(time.Hour)
		synctest.Wait()
		if len(told) != 2 {
			t.Errorf("after the end %v", told)
		}
	})
}

func TestTrouble(t *testing.T) {
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	var tr Trouble
	if _, _, was := tr.Good(); was {
		t.Error("trouble before there was any")
	}
	told := 0
	for range 7 * 24 * 60 { // a week, each minute
		if _, _, tell := tr.Failed(now); tell {
			told++
		}
		now = now.Add(time.Minute)
	}
	if told != 1+5+5 { // at once, after 1, 3, 7, 15, 31 hours, then each day
		t.Errorf("told %d times in a week", told)
	}
	if n, _, tell := tr.Failed(now.Add(-24 * time.Hour)); !tell || n != 7*24*60+1 {
		t.Errorf("after a jump back: %d, %v", n, tell)
	}
	if n, since, was := tr.Good(); n != 7*24*60+1 || !was || since.Hour() != 10 {
		t.Errorf("over: %d since %v", n, since)
	}
	if n, _, tell := tr.Failed(now); !tell || n != 1 {
		t.Errorf("the next one: %d, %v", n, tell)
	}
}
