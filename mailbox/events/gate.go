package events

// Listening says that a listener is open.
func (l *Log) Listening(listener, address string) {
	l.out.Info("listening", "listener", listener, "address", address)
}

// SocketsUnused says that systemd listens where the configuration serves nothing.
func (l *Log) SocketsUnused(addresses string) {
	l.out.Warn("systemd listens where pecgate.yaml names no listener: those who connect wait in vain", "addresses", addresses)
}

// ConnRefused says that a connection was not let in: reason is one of
// "total", "address", "accept".
func (l *Log) ConnRefused(listener, remote, reason string) {
	l.out.Warn("connection refused", "listener", listener, "remote", Clip(remote), "reason", reason)
}

// HandshakeFailed says that a connection ended before TLS stood. The reason is
// a word of the gate, never bytes of the peer.
func (l *Log) HandshakeFailed(listener, remote, reason string) {
	l.out.Info("no TLS", "listener", listener, "remote", Clip(remote), "reason", reason)
}

// ConnMore counts what has no line of its own in a minute: connections that were
// not let in, and those that ended before TLS stood.
func (l *Log) ConnMore(listener string, refused, noTLS int) {
	l.out.Warn("more connections refused than are told one by one", "listener", listener, "refused", refused, "no_tls", noTLS)
}

// ClearAuth says that a client sent AUTH before TLS; what it sent is not kept.
func (l *Log) ClearAuth(listener, remote string) {
	l.out.Warn("AUTH before TLS", "listener", listener, "remote", Clip(remote))
}

// CertificateLoaded says that a server certificate is in use from now on.
func (l *Log) CertificateLoaded(file, expires string) {
	l.out.Info("certificate loaded", "file", file, "expires", expires)
}

// CertificateFailed says that a changed certificate could not be used and the
// old one stays.
func (l *Log) CertificateFailed(file string, err error) {
	l.out.Error("certificate not loaded, the old one stays", "file", file, "error", Clip(err.Error()))
}

// Drained says how a listener ended: how many connections were cut because
// they did not end by themselves.
func (l *Log) Drained(listener string, cut int) {
	l.out.Info("listener drained", "listener", listener, "cut", cut)
}
