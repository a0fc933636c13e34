package relay

import (
	"fmt"
	"strings"

	"pecgate/relay/fetch"
)

// Occupied tells how full a mailbox is at its provider, in bytes, as the
// provider told in the last round; known is false where it does not tell.
func (s *Service) Occupied(box string) (used, limit int64, known bool) {
	s.mu.Lock()
	w := s.workers[strings.ToLower(box)]
	s.mu.Unlock()
	if w == nil {
		return 0, 0, false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.quota.Used, w.quota.Limit, w.quota.Known
}

// occupied keeps what the provider tells.
func (w *worker) occupied(q fetch.Quota) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.quota = q
	if w.facts.Quota = ""; q.Known {
		w.facts.Quota = quotaText(q)
	}
}

func quotaText(q fetch.Quota) string {
	percent := float64(q.Used) / float64(q.Limit) * 100 // the product may be too large for an int64
	return fmt.Sprintf("%.1f of %.1f MiB (%.0f %%)", mebi(q.Used), mebi(q.Limit), percent)
}

func mebi(n int64) float64 { return float64(n) / (1 << 20) }
