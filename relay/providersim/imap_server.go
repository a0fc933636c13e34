package providersim

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"

	"github.com/emersion/go-imap/v2"            // the command parser and answer writers only: sessions and bytes are ours
	"github.com/emersion/go-imap/v2/imapserver" // as above
)

// startIMAP starts the library's server on connections that listener hands over.
func (p *Provider) startIMAP() func(*clientConn) {
	feed := &handedOver{conns: make(chan net.Conn), done: make(chan struct{})}
	caps := imap.CapSet{imap.CapIMAP4rev1: {}, imap.CapUIDPlus: {}, imap.CapChildren: {}, imap.CapMove: {}, imap.CapNamespace: {}}
	if p.layout.specialUse {
		caps[imap.CapSpecialUse] = struct{}{}
	}
	server := imapserver.New(&imapserver.Options{
		NewSession: p.newIMAPSession,
		Caps:       caps,
		Logger:     printer{p.log},
		// TLS is below, in clientConn, which the library cannot see.
		InsecureAuth: true,
	})
	p.running.Go(func() {
		if err := server.Serve(feed); err != nil {
			p.log.Error("IMAP server ended", "error", err)
		}
	})
	p.running.Go(func() {
		<-p.ctx.Done()
		feed.Close()
	})
	return func(c *clientConn) {
		select {
		case feed.conns <- c:
		case <-feed.done:
			c.drop()
		}
	}
}

// handedOver is a net.Listener fed by hand.
type handedOver struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (h *handedOver) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.done:
		return nil, net.ErrClosed
	}
}

func (h *handedOver) Close() error {
	h.once.Do(func() { close(h.done) })
	return nil
}

func (h *handedOver) Addr() net.Addr { return &net.TCPAddr{} }

// printer takes the library's log lines, which may quote a client: debug only.
type printer struct{ log *slog.Logger }

func (l printer) Printf(format string, args ...any) {
	if l.log.Enabled(context.Background(), slog.LevelDebug) {
		l.log.Debug("imap library", "text", fmt.Sprintf(format, args...))
	}
}

func (p *Provider) newIMAPSession(c *imapserver.Conn) (imapserver.Session, *imapserver.GreetingData, error) {
	conn, _ := c.NetConn().(*clientConn)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || conn == nil {
		return nil, nil, &imap.Error{Type: imap.StatusResponseTypeBye, Text: "closing"}
	}
	p.sessions++
	ctx, cancel := context.WithCancel(p.ctx)
	return &imapSession{p: p, conn: conn, ctx: ctx, cancel: cancel}, nil, nil
}

// waitSessions waits until the library has closed all its sessions; their
// connections are cut already.
func (p *Provider) waitSessions() {
	for {
		p.mu.Lock()
		n, changed := p.sessions, p.changed
		p.mu.Unlock()
		if n == 0 {
			return
		}
		<-changed
	}
}
