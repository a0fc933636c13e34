package gate

import (
	"context"
	"slices"
)

// Drain is the soft stop: it stops accepting, tells every connection
// (Conn.OnDrain), waits for them to end, and cuts those that have not when the
// context ends. It returns the number of connections it cut.
func (l *Listener) Drain(ctx context.Context) int {
	l.draining.Store(true)
	_ = l.Close()
	l.mu.Lock()
	live := l.live()
	var empty chan struct{}
	if len(live) > 0 {
		if l.empty == nil {
			l.empty = make(chan struct{})
		}
		empty = l.empty
	}
	l.mu.Unlock()
	for _, c := range live {
		c.drain()
	}
	cut := 0
	if empty != nil {
		select {
		case <-empty:
		case <-ctx.Done():
			for _, c := range l.Conns() {
				_ = c.Cut()
				cut++
			}
		}
	}
	l.opt.Events.Drained(l.opt.Name, cut)
	return cut
}

// Conns lists the live connections.
func (l *Listener) Conns() []*Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.live()
}

// live is Conns with mu held.
func (l *Listener) live() []*Conn {
	out := make([]*Conn, 0, len(l.conns))
	for c := range l.conns {
		out = append(out, c)
	}
	return slices.Clip(out)
}
