package relay

import (
	"net"
	"strconv"
	"time"
)

// seenStaple keeps what is wrong with the status (OCSP) that a provider's server staples
// to its certificate, for the status, and logs each change of it: such an answer ends no
// connection, but it is not told by the server either. expires is zero where no
// connection came to TLS.
func (s *Service) seenStaple(w *worker, e Endpoint, expires time.Time, trouble string) {
	if expires.IsZero() {
		return
	}
	at := net.JoinHostPort(e.Host, strconv.Itoa(e.Port))
	w.mu.Lock()
	before := w.facts.staples[at]
	switch {
	case trouble == "":
		delete(w.facts.staples, at)
	case w.facts.staples == nil:
		w.facts.staples = map[string]string{at: trouble}
	default:
		w.facts.staples[at] = trouble
	}
	w.mu.Unlock()
	if trouble != before {
		s.opt.Events.Stapled(w.acc.Box, at, trouble)
	}
}
