package providersim

import (
	"fmt"
	"slices"
	"strings"
	"sync"
)

// Behaviour is what becomes of a message at one recipient address.
type Behaviour string

const (
	Delivered Behaviour = "delivered"  // stored: receipt of delivery
	UnknownTo Behaviour = "unknown"    // no such mailbox: 5.1.1 from the recipient's provider
	NoDomain  Behaviour = "no-domain"  // no such domain: 5.1.2 from the sender's provider
	Full      Behaviour = "full"       // mailbox full: 5.2.2 from the recipient's provider
	Virus     Behaviour = "virus"      // the recipient's provider finds a virus: kind 7, then 8 to the sender
	Silent    Behaviour = "silent"     // nothing comes back: 12 h and 24 h warnings
	TakenOnly Behaviour = "taken-only" // taken in charge, never delivered: the 24 h warning alone
	Late      Behaviour = "late"       // nothing until the 12 h warning, delivered an hour after it
	Bounce    Behaviour = "bounce"     // outside PEC: an ordinary failure report comes back, wrapped as an anomaly
)

// Behaviours lists the values of Behaviour, in the order of the constants.
func Behaviours() []Behaviour {
	return []Behaviour{Delivered, UnknownTo, NoDomain, Full, Virus, Silent, TakenOnly, Late, Bounce}
}

// behaviours holds what was set for single addresses.
type behaviours struct {
	mu  sync.Mutex
	set map[string]Behaviour // by folded address
}

func (b *behaviours) get(address string) Behaviour {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.set[fold(address)]
}

// SetBehaviour says what becomes of messages accepted from now on at one
// recipient address, known or not. Any value but Bounce makes an address that is
// no mailbox here one of another provider's PEC users; Bounce makes it one
// outside PEC. An empty value forgets what was set. A mailbox of this provider
// cannot bounce, and nothing is delivered to one that does not exist.
func (p *Provider) SetBehaviour(address string, b Behaviour) error {
	switch {
	case !compliant(address):
		return fmt.Errorf("behaviour: %q is no address", address)
	case b != "" && !slices.Contains(Behaviours(), b):
		var known []string
		for _, k := range Behaviours() {
			known = append(known, string(k))
		}
		return fmt.Errorf("behaviour %q is not known; known are %s", b, strings.Join(known, ", "))
	case b == Bounce && p.own[domainOf(address)]:
		return fmt.Errorf("behaviour: %s is a PEC address and cannot bounce", address)
	case (b == Delivered || b == Late) && p.own[domainOf(address)] && p.account(address) == nil:
		return fmt.Errorf("behaviour: there is no mailbox %s here to deliver to; make it, or take an address of another domain", address)
	}
	p.behave.mu.Lock()
	defer p.behave.mu.Unlock()
	if b == "" {
		delete(p.behave.set, fold(address))
		return nil
	}
	if p.behave.set == nil {
		p.behave.set = map[string]Behaviour{}
	}
	p.behave.set[fold(address)] = b
	return nil
}

// Behaviour is what was set for an address, empty if nothing was.
func (p *Provider) Behaviour(address string) Behaviour { return p.behave.get(address) }

// BehaviourSet is a copy of everything that was set, by address in lower case.
func (p *Provider) BehaviourSet() map[string]Behaviour {
	p.behave.mu.Lock()
	defer p.behave.mu.Unlock()
	out := make(map[string]Behaviour, len(p.behave.set))
	for a, b := range p.behave.set {
		out[a] = b
	}
	return out
}

// route is one recipient of one submission with what will become of it.
type route struct {
	address   string
	behaviour Behaviour
	certified bool
	local     *account // nil: not a mailbox here
	outside   bool     // the other provider serves it
}

// routes decides for all recipients at once, so that a later SetBehaviour does
// not change a message half way.
func (p *Provider) routes(recipients []string) []route {
	late := p.faults.LateReceipts.fires()
	var out []route
	for _, address := range recipients {
		r := route{address: address, behaviour: p.behave.get(address), local: p.account(address)}
		exists := r.local != nil || p.external[fold(address)]
		r.certified = exists || p.domains[domainOf(address)] || r.behaviour != ""
		r.outside = r.local == nil && !p.own[domainOf(address)]
		switch {
		case r.behaviour == Bounce:
			r.certified = false
		case r.behaviour != "" || !r.certified:
		case exists:
			r.behaviour = Delivered
		default:
			r.behaviour = UnknownTo
		}
		if late && r.behaviour == Delivered {
			r.behaviour = Late
		}
		out = append(out, r)
	}
	return out
}
