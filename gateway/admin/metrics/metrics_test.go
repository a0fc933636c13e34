package metrics

import (
	"context"
	"errors"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"pecgate/relay"
)

const box = "protocollo@pec.alfa.example"

// full is an appliance of which everything is known.
func full(now time.Time) Options {
	left := 5
	return Options{
		Status: func(context.Context) (relay.Status, error) {
			return relay.Status{
				Mailboxes: []relay.BoxStatus{{Address: box, LastFetch: now.Add(-time.Minute), LastError: "user " + box + " not known", CertificateExpires: now.Add(48 * time.Hour), PasswordDaysLeft: &left, Suspended: "x"}},
				Queue:     map[relay.State]int{relay.Queued: 3}, Overdue: 2, Alarms: make([]relay.Alarm, 1), Forwards: 4,
				Space: relay.Space{Free: 1000, Floor: 10, AtFloor: true, Used: []relay.Used{{Mailbox: box, Bytes: 7}, {Bytes: 9}}},
			}, nil
		},
		Oldest: func(context.Context) (map[string]time.Time, error) {
			return map[string]time.Time{box: now.Add(-time.Hour)}, nil
		},
		Occupied:    func(string) (int64, int64, bool) { return 5, 10, true },
		Certificate: func() time.Time { return now.Add(24 * time.Hour) },
		Logins:      func() int64 { return 6 }, Panics: func() int64 { return 1 },
		Ready: func(context.Context) error { return nil }, Now: func() time.Time { return now },
	}
}

func ask(t *testing.T, o Options, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	New(o).ServeHTTP(w, httptest.NewRequest("GET", path, nil))
	return w.Code, w.Body.String()
}

// The numbers are those of the status, and mailboxes have no addresses.
func TestMetrics(t *testing.T) {
	o := full(time.Now())
	code, text := ask(t, o, Metrics)
	label := `{mailbox="` + Label(box) + `"}`
	for _, want := range []string{
		`pecgate_submissions{state="queued"} 3`, `pecgate_submissions{state="uncertain"} 0`, "pecgate_overdue_recipients 2", "pecgate_alarms 1",
		"pecgate_forwards_waiting 4", "pecgate_store_free_bytes 1000", "pecgate_store_floor_bytes 10", "pecgate_store_at_floor 1",
		"pecgate_mailbox_stored_bytes" + label + " 7", "pecgate_mailbox_up" + label + " 0", "pecgate_mailbox_suspended" + label + " 1",
		"pecgate_fetch_lag_seconds" + label + " 60", "pecgate_provider_certificate_days_left" + label + " 2", "pecgate_credential_days_left" + label + " 5",
		"pecgate_provider_quota_used_bytes" + label + " 5", "pecgate_provider_quota_bytes" + label + " 10", "pecgate_queue_oldest_seconds" + label + " 3600",
		"pecgate_certificate_days_left 1", "pecgate_logins_refused_total 6", "pecgate_connection_panics_total 1", "pecgate_scrape_errors 0",
	} {
		if !strings.Contains(text, "\n"+want+"\n") {
			t.Errorf("no %s", want)
		}
	}
	if code != 200 || strings.Contains(text, "@") || strings.Contains(text, "alfa") {
		t.Errorf("%d\n%s", code, text)
	}
	o.Status = func(context.Context) (relay.Status, error) { return relay.Status{}, errors.New("no") }
	o.Ready = func(context.Context) error { return errors.New("secret words") }
	if code, text := ask(t, o, Metrics); code != 200 || !strings.Contains(text, "pecgate_scrape_errors 1") || strings.Contains(text, "pecgate_alarms") {
		t.Errorf("a status that cannot be read: %d\n%s", code, text)
	}
	if code, text := ask(t, o, Readyz); code != 503 || strings.Contains(text, "secret") {
		t.Errorf("%d %s", code, text)
	}
	if code, _ := ask(t, o, Healthz); code != 200 {
		t.Error(code)
	}
}

// What the dashboard and the alert rules ask for is there.
func TestDashboardAndAlerts(t *testing.T) {
	_, text := ask(t, full(time.Now()), Metrics)
	have := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (pecgate_\w+)`).FindAllStringSubmatch(text, -1) {
		have[m[1]] = true
	}
	used := map[string]bool{}
	for _, file := range []string{"prometheus.alerts.yaml", "grafana.json"} {
		b, err := os.ReadFile("../../../configs/" + file)
		if err != nil {
			t.Fatal(err)
		}
		names := regexp.MustCompile(`pecgate_\w+`).FindAllString(string(b), -1)
		if len(names) < 10 {
			t.Errorf("%s names %d metrics", file, len(names))
		}
		for _, n := range names {
			if used[n] = true; !have[n] {
				t.Errorf("%s asks for %s, which there is not", file, n)
			}
		}
	}
	for n := range have {
		if !used[n] {
			t.Errorf("nobody looks at %s", n)
		}
	}
}
