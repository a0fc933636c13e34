package smtpd

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/netip"
	"slices"
	"time"

	"pecgate/gateway/auth"
)

// Relay makes a Server serve groupware servers in place of mail programs. Who may do
// what is said by the policy's relays; here is what only a listener needs to know.
type Relay struct {
	Peers func() []Peer // required: those of the configuration in force
	Auth  RelayAuth     // nil: no login is offered, and no secret is right
	// Strays takes what has a null sender; required.
	Strays Strays
	// Looped tells by its header why a message must not leave although it has a sender:
	// it is the answer of a machine, or a copy of ours that comes back. It goes where
	// Strays go. nil: nothing is.
	Looped func(header []byte) (why string)
	// Journals remembers what journal reports brought; nil: none is taken for what is in it.
	Journals Journals
	// JournalDomain is the domain of the gateway's own address: reports may go there or to Hostname.
	JournalDomain string
	// Passing takes ordinary mail where a relay has it pass through. nil: none does.
	Passing Passing
}

// Peer is a groupware server that stands for its users.
type Peer struct {
	Name     string // that of a relay of the policy
	Networks []netip.Prefix
	// ClientCA must have signed the certificate that the server shows, which must bear
	// one of ClientNames where there are any; nil: none is asked for.
	ClientCA    *x509.CertPool
	ClientNames []string
	// Login must have been used, with a password of this hash; empty: none.
	Login, Password string
	// SecretField must stand in each message, with a value of this hash
	// (auth.NewRelaySecret); empty: none is asked for.
	SecretField, SecretHash string
}

// RelayAuth is what smtpd needs of gateway/auth for groupware servers.
type RelayAuth interface {
	LoginServer(ctx context.Context, logins []auth.ServerLogin, name, password, remote string) (int, error)
	// RelaySecret checks the values of a relay's secret in a message.
	RelaySecret(hash string, values []string, remote string) error
}

// notOurs is the whole answer to an address in no relay's networks.
const notOurs = "554 5.7.1 Questo servizio e' solo per i server di posta dell'ente: aggiungere l'indirizzo a networks di un relay in policy.yaml / this service is for the organisation's own mail servers: add the address to networks of a relay in policy.yaml"

// Admit is for gate.Options: only the networks of relays may connect.
func (s *Server) Admit(client netip.Addr) string {
	if r := s.opt.Relay; r != nil && len(near(r.Peers(), client)) == 0 {
		return notOurs + "\r\n"
	}
	return ""
}

// near are the peers in whose narrowest network an address lies: what is asked of one
// host is not got round by a wider network that asks less.
func near(all []Peer, a netip.Addr) (out []Peer) {
	best := -1
	for _, p := range all {
		bits := -1
		for _, n := range p.Networks {
			if n.Contains(a.Unmap()) {
				bits = max(bits, n.Bits())
			}
		}
		switch {
		case bits < 0 || bits < best:
		case bits > best:
			best, out = bits, []Peer{p}
		default:
			out = append(out, p)
		}
	}
	return out
}

// proof is what a connection has shown.
type proof struct {
	addr        netip.Addr
	tls         tls.ConnectionState
	login, hash string // a login that was right; empty: none
}

// peer is the first that a connection has shown itself to be, or why it is none.
func (p proof) peer(all []Peer, now time.Time) (Peer, *refusal) {
	why := notAPeer()
	for _, one := range near(all, p.addr) {
		switch {
		case one.ClientCA != nil && !one.certified(p.tls.PeerCertificates, now):
			why = noCertificate()
		case one.Login != "" && (one.Login != p.login || one.Password != p.hash):
			why = noServerLogin()
		default:
			return one, nil
		}
	}
	return Peer{}, why
}

// certified tells whether a certificate is one of this peer.
func (p Peer) certified(chain []*x509.Certificate, now time.Time) bool {
	if len(chain) == 0 {
		return false
	}
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		Roots: p.ClientCA, Intermediates: between, CurrentTime: now,
		// Many servers show the certificate that they serve with.
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	})
	if err != nil {
		return false
	}
	return len(p.ClientNames) == 0 || slices.ContainsFunc(p.ClientNames, func(name string) bool {
		return chain[0].VerifyHostname(name) == nil
	})
}

// logins are those that peers near an address may use, in order.
func logins(peers []Peer) (out []auth.ServerLogin, of []Peer) {
	for _, p := range peers {
		if p.Login != "" {
			out, of = append(out, auth.ServerLogin{Name: p.Login, Password: p.Password}), append(of, p)
		}
	}
	return out, of
}

func notAPeer() *refusal {
	return refuse(554, "5.7.1", "Questo server non e' piu' in policy.yaml tra i relay: rivolgersi all'amministratore di sistema.",
		"This server is not among the relays of policy.yaml any more: ask the system administrator.", "relay-network")
}

func noCertificate() *refusal {
	return refuse(530, "5.7.0", "Da questo server serve un certificato client firmato dalla CA del relay (client_ca), con uno dei nomi di client_names: impostarlo nel connettore di invio.",
		"This server must show a client certificate signed by the CA of the relay (client_ca), with one of the names of client_names: set it in the send connector.", "relay-certificate")
}

func noServerLogin() *refusal {
	return refuse(530, "5.7.0", "Questo server deve accedere con il nome e la password del relay: impostarli nel connettore di invio.",
		"This server must log in with the name and password of the relay: set them in the send connector.", "relay-login")
}

// stateOf is the TLS of a connection.
func stateOf(l link) (state tls.ConnectionState) {
	if t, ok := l.(interface{ TLS() tls.ConnectionState }); ok {
		state = t.TLS()
	}
	return state
}
