package gate

import (
	"net/netip"
	"sync"
	"syscall"
)

// Limits count connections, in all and for each address. An IPv6 client counts
// by its /64, since it owns all of it. Safe for use by many listeners.
type Limits struct {
	total, each int
	farewells   chan struct{} // holds one for each connection that is being told why it is turned away

	mu sync.Mutex
	n  int
	by map[netip.Prefix]int
}

// NewLimits returns limits; 0 takes the defaults, 4096 in all, or fewer where
// the process may open few files, and 256 for each address (an office behind
// one address, several connections for each person).
func NewLimits(total, perAddress int) *Limits {
	if total <= 0 {
		total = min(4096, withinFiles())
	}
	if perAddress <= 0 {
		perAddress = 256
	}
	return &Limits{total: total, each: perAddress, by: map[netip.Prefix]int{}, farewells: make(chan struct{}, maxFarewells)}
}

// Bounds of withinFiles.
const (
	minConns = 4
	minSpare = 48 // files of an idle appliance with a few mailboxes, and some to work with
)

// withinFiles is how many connections leave the rest of the appliance enough
// files: a quarter of all, 48 at least. Each may need one more, for a long
// message.
func withinFiles() int {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return minConns
	}
	files := int(min(l.Cur, 1<<20))
	return max(minConns, (files-max(minSpare, files/4))/2)
}

// enter counts a connection and returns "", or the word of the limit that it
// would break. That of a load balancer, whose client is not known yet, counts
// only among all.
func (l *Limits) enter(a netip.Addr, balancer bool) string {
	k := group(a)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.n >= l.total {
		return "total"
	}
	if l.by[k] >= l.each && !balancer {
		return "address"
	}
	l.n++
	l.by[k]++
	return ""
}

// move counts a connection of a load balancer for its client from now on. With
// a word of refusal all is as before.
func (l *Limits) move(balancer, client netip.Addr) string {
	from, to := group(balancer), group(client)
	l.mu.Lock()
	defer l.mu.Unlock()
	if from == to {
		return ""
	}
	if l.by[to] >= l.each {
		return "address"
	}
	if l.by[from]--; l.by[from] <= 0 {
		delete(l.by, from)
	}
	l.by[to]++
	return ""
}

func (l *Limits) leave(a netip.Addr) {
	k := group(a)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n--
	if l.by[k]--; l.by[k] <= 0 {
		delete(l.by, k)
	}
}

func group(a netip.Addr) netip.Prefix {
	var bits int
	switch {
	case !a.IsValid():
		return netip.Prefix{}
	case a.Is4():
		bits = 32
	default:
		bits = 64
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}
