package autoconfig

import (
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pecgate/mailbox/events"
)

// However often somebody asks, the log grows by so many lines a minute, and by
// one that counts the rest.
func TestLogBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := new(lines)
		s, err := New(Options{Settings: settings("it"), Events: events.New(slog.New(slog.NewTextHandler(log, nil)))})
		if err != nil {
			t.Fatal(err)
		}
		ask := func(n int, path string) {
			for range n {
				s.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, path, nil))
			}
		}
		want := func(when string, each int, rest string) {
			t.Helper()
			synctest.Wait()
			got := log.String()
			log.reset()
			if n := strings.Count(got, "msg=\"settings asked\""); n != each {
				t.Errorf("%s: %d lines, want %d", when, n, each)
			}
			all, counted := strings.Count(got, "\n"), 0
			if rest != "" {
				counted = 1
			}
			if all != each+counted || !strings.Contains(got, rest) {
				t.Errorf("%s: %d lines, want %d and %q:\n%s", when, all, each, rest, got)
			}
		}

		ask(maxLines, pathThunderbird)
		want("as many as have a line", maxLines, "")
		ask(5000, pathThunderbird)
		ask(300, "/wp-login.php")
		want("more in the same minute", 0, "")
		time.Sleep(interval)
		want("the minute's end", 0, "served=5000 refused=300 faults=0")
		time.Sleep(10 * interval)
		want("nobody asks", 0, "")

		ask(maxLines+1, "/")
		want("again", maxLines, "")
		time.Sleep(interval)
		want("again, the end", 0, "served=0 refused=1 faults=0")

		// However long a flood lasts, each minute of it has as many lines.
		for range 120 {
			ask(100, "/")
			time.Sleep(time.Second)
		}
		synctest.Wait()
		got := log.String()
		log.reset()
		if n := strings.Count(got, "\n"); n > 3*(maxLines+1) {
			t.Errorf("two minutes of a flood wrote %d lines", n)
		}
	})
}

// What net/http says of a stranger's connections is bounded, too, and what is
// counted at the end is told.
func TestLogBoundOfFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := new(lines)
		s, err := New(Options{Settings: settings("it"), Events: events.New(slog.New(slog.NewTextHandler(log, nil)))})
		if err != nil {
			t.Fatal(err)
		}
		for range 1000 {
			s.http.ErrorLog.Print("http: Accept error")
			s.diary.fault(errors.New("no answer"))
		}
		if n := strings.Count(log.String(), "\n"); n != maxLines {
			t.Errorf("%d lines", n)
		}
		log.reset()
		if err := s.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "served=0 refused=0 faults=1980") {
			t.Errorf("at the end: %s", got)
		}
		log.reset()
		time.Sleep(2 * interval)
		synctest.Wait()
		if got := log.String(); got != "" {
			t.Errorf("after the end: %s", got)
		}
	})
}
