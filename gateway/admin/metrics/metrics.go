// Package metrics tells programs that watch the appliance how it stands: alive, ready,
// and numbers for Prometheus.
//
// It owns the names of the metrics. Each is read when it is asked for; nothing is kept.
//
// Invariants:
//
//   - No label and no answer holds an address, a login or a secret: a mailbox is a short
//     digest of its address (Label).
//   - What cannot be read is left out, and pecgate_scrape_errors says so.
//
// It is the home of prometheus/client_golang. It must not import gateway or configs.
package metrics

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus" // the text format, which several versions of readers understand
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"pecgate/relay"
)

// askTime bounds one look.
const askTime = 10 * time.Second

// Options of a handler. All are required.
type Options struct {
	Status      func(context.Context) (relay.Status, error)
	Oldest      func(context.Context) (map[string]time.Time, error) // by mailbox: since when the oldest waits to leave
	Occupied    func(box string) (used, limit int64, known bool)
	Certificate func() time.Time // end of that of the listeners
	Logins      func() int64     // refused since the start
	Panics      func() int64     // of connections since the start
	Ready       func(context.Context) error
	Now         func() time.Time
}

// Paths that the handler answers.
const (
	Healthz = "/healthz" // the process answers
	Readyz  = "/readyz"  // it serves: 503 where not
	Metrics = "/metrics"
)

// Is reports whether a path is one of them.
func Is(path string) bool { return path == Healthz || path == Readyz || path == Metrics }

// New returns the handler of the paths above.
func New(o Options) http.Handler {
	all := prometheus.NewRegistry()
	all.MustRegister(&collector{o}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	say := func(w http.ResponseWriter, code int, text string) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(code)
		_, _ = w.Write([]byte(text + "\n")) // who went does not wait for it
	}
	mux.HandleFunc("GET "+Healthz, func(w http.ResponseWriter, _ *http.Request) { say(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET "+Readyz, func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), askTime)
		defer cancel()
		if err := o.Ready(ctx); err != nil {
			say(w, http.StatusServiceUnavailable, "not ready") // the log and `pecgate status` say why
			return
		}
		say(w, http.StatusOK, "ready")
	})
	mux.Handle("GET "+Metrics, promhttp.HandlerFor(all, promhttp.HandlerOpts{MaxRequestsInFlight: 2, Timeout: 2 * askTime}))
	return mux
}

// Label is what a mailbox is called in metrics: the same for the same address, and not
// the address.
func Label(box string) string {
	sum := sha256.Sum256([]byte("pecgate mailbox\n" + strings.ToLower(box)))
	return hex.EncodeToString(sum[:5])
}

type collector struct{ o Options }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("pecgate_"+name, help, labels, nil)
}

// Describe describes nothing: what there is depends on mailboxes and states.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

// Collect looks how everything stands.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), askTime)
	defer cancel()
	now, errs := c.o.Now(), 0.0
	gauge := func(v float64, d *prometheus.Desc, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	days := func(t time.Time) float64 { return t.Sub(now).Hours() / 24 }
	st, err := c.o.Status(ctx)
	if err != nil {
		errs++
	} else {
		for _, state := range relay.States() {
			gauge(float64(st.Queue[state]), desc("submissions", "Submissions in a state.", "state"), string(state))
		}
		gauge(float64(st.Overdue), desc("overdue_recipients", "Recipients for whom a receipt is late."))
		gauge(float64(len(st.Alarms)), desc("alarms", "Alarms that stand, at most 1000."))
		gauge(float64(st.Forwards), desc("forwards_waiting", "Messages that wait for the smarthost."))
		gauge(float64(st.Space.Free), desc("store_free_bytes", "Free bytes on the disk of the store."))
		gauge(float64(st.Space.Floor), desc("store_floor_bytes", "Free bytes below which nothing is accepted (min_free)."))
		floor := 0.0
		if st.Space.AtFloor {
			floor = 1
		}
		gauge(floor, desc("store_at_floor", "1: nothing is accepted or fetched for want of space."))
		for _, u := range st.Space.Used {
			if u.Mailbox != "" {
				gauge(float64(u.Bytes), desc("mailbox_stored_bytes", "Bytes stored of a mailbox.", "mailbox"), Label(u.Mailbox))
			}
		}
		for i := range st.Mailboxes {
			c.mailbox(&st.Mailboxes[i], now, days, gauge)
		}
	}
	if oldest, err := c.o.Oldest(ctx); err != nil {
		errs++
	} else {
		for box, since := range oldest {
			gauge(max(0, now.Sub(since).Seconds()), desc("queue_oldest_seconds", "Age of the oldest submission that waits to leave; without one there is no value.", "mailbox"), Label(box))
		}
	}
	if end := c.o.Certificate(); !end.IsZero() {
		gauge(days(end), desc("certificate_days_left", "Days until the certificate of the listeners ends."))
	}
	out <- prometheus.MustNewConstMetric(desc("logins_refused_total", "Refused logins and tokens since the start."), prometheus.CounterValue, float64(c.o.Logins()))
	out <- prometheus.MustNewConstMetric(desc("connection_panics_total", "Connections that ended by a fault of the program since the start."), prometheus.CounterValue, float64(c.o.Panics()))
	gauge(errs, desc("scrape_errors", "Parts that could not be read this time."))
}

func (c *collector) mailbox(b *relay.BoxStatus, now time.Time, days func(time.Time) float64, gauge func(float64, *prometheus.Desc, ...string)) {
	name := Label(b.Address)
	up := 1.0
	if b.LastError != "" {
		up = 0
	}
	gauge(up, desc("mailbox_up", "1: the provider was reached without an error the last time.", "mailbox"), name)
	suspended := 0.0
	if b.Suspended != "" {
		suspended = 1
	}
	gauge(suspended, desc("mailbox_suspended", "1: the provider refused the login, and nothing is tried until a person says so.", "mailbox"), name)
	if !b.LastFetch.IsZero() {
		gauge(max(0, now.Sub(b.LastFetch).Seconds()), desc("fetch_lag_seconds", "Time since the provider was read the last time without an error.", "mailbox"), name)
	}
	if !b.CertificateExpires.IsZero() {
		gauge(days(b.CertificateExpires), desc("provider_certificate_days_left", "Days until the certificate of the provider ends.", "mailbox"), name)
	}
	if b.PasswordDaysLeft != nil {
		gauge(float64(*b.PasswordDaysLeft), desc("credential_days_left", "Days until the password at the provider ends.", "mailbox"), name)
	}
	if used, limit, known := c.o.Occupied(b.Address); known && limit > 0 {
		gauge(float64(used), desc("provider_quota_used_bytes", "Bytes used of the mailbox at the provider.", "mailbox"), name)
		gauge(float64(limit), desc("provider_quota_bytes", "Bytes that the mailbox at the provider holds.", "mailbox"), name)
	}
}
