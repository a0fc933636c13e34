package relay

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
)

// gates bound how many connections there are at once to a host of a provider, over
// all its mailboxes: senders and fetchers alike (Account.Connections). Who has to
// wait is let in in turn, so that after an outage the mailboxes come one behind the
// other and none is passed over.
//
// Whoever hung the last time (its time limit ended it) may do so again, for ten minutes
// at the dot. Such ones never take the last place, so that however many mailboxes hang,
// one connection stays for the others (B4); among themselves they come in turn. Where
// the provider takes a single one they share it with all.
//
// As many as there are places, when all hang for the first time and at once, have every
// one until their time limits: a command's (Endpoint.Timeout) or, at the dot, ten
// minutes. That is left so. It happens once to each, after it they are known; nothing
// is lost, what waits keeps its turn. To end them sooner would make hand-overs uncertain,
// and one connection more than the provider takes would have it refuse or block us.
type gates struct {
	mu    sync.Mutex
	hosts map[string]*gateOf
}

type gateOf struct {
	used  int // those that listen and those that hung before among them
	slow  int // that hung before
	idle  int // that listen
	queue []*turnAt
}

type turnAt struct {
	most int
	slow bool
	in   chan struct{} // closed when it is let in
}

// enter waits until a connection to a host may be made, and returns how to give its
// place back; once, also after an error. most 0: without a limit. slow: its last
// connection hung.
func (g *gates) enter(ctx context.Context, host string, most int, slow bool) (leave func(), err error) {
	if most <= 0 {
		return func() {}, nil
	}
	host = strings.ToLower(host)
	g.mu.Lock()
	if g.hosts == nil {
		g.hosts = map[string]*gateOf{}
	}
	h := g.hosts[host]
	if h == nil {
		h = new(gateOf)
		g.hosts[host] = h
	}
	t := &turnAt{most: most, slow: slow && most > 1, in: make(chan struct{})}
	h.queue = append(h.queue, t)
	g.admit(host, h)
	g.mu.Unlock()
	var once sync.Once
	leave = func() {
		once.Do(func() {
			g.mu.Lock()
			defer g.mu.Unlock()
			h.used--
			if t.slow {
				h.slow--
			}
			g.admit(host, h)
		})
	}
	select {
	case <-t.in:
		return leave, nil
	case <-ctx.Done():
	}
	g.mu.Lock()
	i := slices.Index(h.queue, t)
	if i >= 0 {
		h.queue = slices.Delete(h.queue, i, i+1)
		g.admit(host, h)
	}
	g.mu.Unlock()
	if i < 0 {
		leave() // it was let in meanwhile
	}
	return func() {}, ctx.Err()
}

// listen takes a place for a connection that stays and only listens, if one is free:
// at most half of them, so that there are always some for work.
func (g *gates) listen(host string, most int) (leave func(), ok bool) {
	if most <= 0 {
		return func() {}, true
	}
	host = strings.ToLower(host)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.hosts == nil {
		g.hosts = map[string]*gateOf{}
	}
	h := g.hosts[host]
	if h == nil {
		h = new(gateOf)
	}
	if h.idle >= most/2 || h.used >= most || len(h.queue) > 0 {
		return nil, false
	}
	g.hosts[host] = h
	h.used++
	h.idle++
	return sync.OnceFunc(func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		h.used--
		h.idle--
		g.admit(host, h)
	}), true
}

// admit lets in whoever may come, in turn; the caller holds the lock.
func (g *gates) admit(host string, h *gateOf) {
	for i := 0; i < len(h.queue); {
		t := h.queue[i]
		if h.used >= t.most {
			break
		}
		if t.slow && h.slow >= max(1, t.most-1-h.idle) {
			i++ // the others pass it
			continue
		}
		close(t.in)
		h.queue = slices.Delete(h.queue, i, i+1)
		h.used++
		if t.slow {
			h.slow++
		}
	}
	if h.used == 0 && len(h.queue) == 0 {
		delete(g.hosts, host)
	}
}

// hung tells whether an attempt ended because the provider said nothing for too long.
func hung(err error) bool {
	var timed net.Error
	return errors.As(err, &timed) && timed.Timeout()
}
