package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"syscall"

	"pecgate/gateway/gate"
)

// firstSocket is the descriptor of the first socket that systemd hands over
// (sd_listen_fds(3)).
const firstSocket = 3

// sockets are listening sockets that systemd opened (systemd.socket(5)): the service
// needs no right to open ports below 1024, and connections wait while it restarts. Each
// serves the address of pecgate.yaml that it listens on. Few lines in place of a
// library: the protocol is three variables.
type sockets struct {
	mu   sync.Mutex
	left []net.Listener
}

// inheritSockets takes over what systemd hands to this process, once.
func inheritSockets() (*sockets, error) {
	s := new(sockets)
	pid, err := strconv.Atoi(os.Getenv("LISTEN_PID"))
	if err != nil || pid != os.Getpid() {
		return s, nil // none, or another process's
	}
	n, err := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if err != nil || n < 0 || n > 1000 {
		return s, fmt.Errorf("LISTEN_FDS is %q: a count is expected", os.Getenv("LISTEN_FDS"))
	}
	for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		if err := os.Unsetenv(name); err != nil { // they are not for whom we start
			return s, err
		}
	}
	for fd := firstSocket; fd < firstSocket+n; fd++ {
		syscall.CloseOnExec(fd)
		f := os.NewFile(uintptr(fd), "socket "+strconv.Itoa(fd))
		ln, err := net.FileListener(f) // with a descriptor of its own
		if err = errors.Join(err, f.Close()); err != nil {
			return s, errors.Join(fmt.Errorf("socket %d of systemd: %w", fd, err), s.close())
		}
		s.left = append(s.left, ln)
	}
	return s, nil
}

// take returns the socket for an address of the configuration, nil where there is none:
// one of the same port whose address is the same, or where both mean every address.
func (s *sockets) take(address string) net.Listener {
	s.mu.Lock()
	defer s.mu.Unlock()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil
	}
	for i, ln := range s.left {
		at, err := netip.ParseAddrPort(ln.Addr().String())
		if err != nil || strconv.Itoa(int(at.Port())) != port {
			continue
		}
		want, err := netip.ParseAddr(host)
		if every := host == "" || err == nil && want.IsUnspecified(); every == at.Addr().IsUnspecified() && (every || want.Unmap() == at.Addr().Unmap()) {
			s.left = append(s.left[:i], s.left[i+1:]...)
			return ln
		}
	}
	return nil
}

// unused are the addresses that nothing serves.
func (s *sockets) unused() (all []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ln := range s.left {
		all = append(all, ln.Addr().String())
	}
	return all
}

func (s *sockets) close() error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, ln := range s.left {
		errs = append(errs, ln.Close())
	}
	s.left = nil
	return errors.Join(errs...)
}

// listen opens a listener, on systemd's socket where there is one for its address.
func (g *Gateway) listen(ctx context.Context, o gate.Options) (*gate.Listener, error) {
	o.Listener = g.sockets.take(o.Address)
	ln, err := gate.Listen(ctx, o)
	if errors.Is(err, os.ErrPermission) {
		return nil, fmt.Errorf("%w: ports below 1024 are opened by systemd, systemctl enable --now pecgate.socket", err)
	}
	return ln, err
}
