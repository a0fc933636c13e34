package configs

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"pecgate/policy"
)

// maxPEM is the largest certificate, key or CA file, in octets.
const maxPEM = 4 << 20

// checkAppliance judges the values, makes file names absolute and looks at the files.
func (f *findings) checkAppliance(d *decoder, a *Appliance) {
	need := func(path, value string) bool {
		if value == "" && !d.written(path) {
			d.refuse(path, "%s is missing", path)
		}
		return value != ""
	}
	if need("hostname", a.Hostname) && !isHost(a.Hostname, false) {
		d.refuse("hostname", "hostname: needs a host name, like pecgate.example.org, not %s", quote(a.Hostname))
	}
	if a.Address == "" {
		a.Address = "pecgate@" + a.Hostname
	} else if address, err := policy.ParseAddress(a.Address); err != nil {
		d.refuse("address", "address: %s is %v", quote(a.Address), err)
	} else {
		a.Address = address
	}
	if loc, err := time.LoadLocation(a.Timezone); err != nil || a.Timezone == "Local" {
		d.refuse("timezone", "timezone: needs the name of a time zone, like Europe/Rome, not %s", quote(a.Timezone))
	} else {
		a.loc = loc
	}
	if a.SMTP.MaxMessageSize < 64<<10 || a.SMTP.MaxMessageSize > 1<<30 {
		d.refuse("smtp.max_message_size", "max_message_size: needs 64KiB to 1GiB, not %s", a.SMTP.MaxMessageSize)
	}
	if a.MinFree < 1<<20 {
		d.refuse("min_free", "min_free: needs at least 1MiB, not %s", a.MinFree)
	}
	if mayBeHash(a.PolicyFile) {
		d.refuse("policy_file", "policy_file: needs the name of a file, not %s", hidden)
	}
	if mayBeHash(a.SealKey) {
		d.refuse("seal_key", "seal_key: needs the name of a file, not %s", hidden)
	}
	a.DataDir, a.PolicyFile, a.SealKey = a.Path(a.DataDir), a.Path(a.PolicyFile), a.Path(a.SealKey)
	var err error
	if f.seal, err = f.keepers.sealKey(a); err != nil && !d.bad["seal_key"] && !f.alone {
		d.refuse("seal_key", "seal_key: file %s: %v", shownName(f.seal.File), err)
	}
	if err := CheckDataDir(a.DataDir); err != nil {
		d.refuse("data_dir", "data_dir: %v", err)
	}
	if err := f.keepers.auditKey(a.DataDir); err != nil && !f.alone {
		d.refuse("data_dir", "data_dir: file %s: %v", auditKey, err)
	}
	f.listeners(d, a)
	balancers(d, a)
	if need("tls.certificate", a.TLS.Certificate) && need("tls.key", a.TLS.Key) {
		a.TLS.Certificate, a.TLS.Key = a.Path(a.TLS.Certificate), a.Path(a.TLS.Key)
		if !f.alone {
			f.keyPair(d, a)
		}
	} else {
		need("tls.key", a.TLS.Key)
	}
	for i, name := range a.ProviderTrust {
		a.ProviderTrust[i] = a.Path(name)
		f.follow(a.ProviderTrust[i])
		if err := f.keepers.readCAs(a.ProviderTrust[i]); err != nil && !f.alone {
			d.refuse(fmt.Sprintf("provider_trust[%d]", i), "provider_trust: file %s: %v", shownName(name), err)
		}
	}
	s := &a.Outgoing.Smarthost
	if s.Host != "" && !isHost(s.Host, true) {
		d.refuse("outgoing.smarthost.host", "host: needs a host name, not %s", quote(s.Host))
	}
	if s.Port < 1 || s.Port > 65535 {
		d.refuse("outgoing.smarthost.port", "port: needs 1 to 65535, not %d", s.Port)
	}
	if s.CA != "" {
		name := s.CA
		s.CA = a.Path(name)
		if err := f.keepers.readCAs(s.CA); err != nil && !f.alone {
			d.refuse("outgoing.smarthost.ca", "ca: file %s: %v", shownName(name), err)
		}
	}
	f.smarthost(d, a)
	f.outgoingIMAP(d, a)
}

// CheckDataDir says whether a folder can hold the control socket: the system takes at most 107 bytes as the name of one
// (unix(7)). dir is absolute.
func CheckDataDir(dir string) error {
	const socket, most = "control.sock", 107
	if name := filepath.Join(dir, socket); len(name) > most {
		return fmt.Errorf("the name is too long: with /%s behind it, it has %d bytes, and a socket may have %d", socket, len(name), most)
	}
	return nil
}

// listeners checks every address, and that no two listeners ask for the same.
func (f *findings) listeners(d *decoder, a *Appliance) {
	first := map[netip.AddrPort]string{}
	lists := []struct {
		path      string
		addresses []string
	}{
		{"smtp.submissions", a.SMTP.Submissions}, {"smtp.submission", a.SMTP.Submission}, {"smtp.relay", a.SMTP.Relay},
		{"imap.imaps", a.IMAP.IMAPS}, {"api.listen", nonEmpty(a.API.Listen)}, {"autoconfig.listen", nonEmpty(a.Autoconfig.Listen)},
	}
	for _, l := range lists {
		for i, text := range l.addresses {
			path := l.path
			if p := fmt.Sprintf("%s[%d]", l.path, i); d.written(p) {
				path = p
			}
			ap, err := listenAddress(text)
			if err != nil {
				d.refuse(path, "%s: %v, not %s", label(l.path), err, quote(text))
				continue
			}
			if before := first[ap]; before != "" && ap.Port() != 0 {
				d.refuse(path, "%s: %s is already the address of %s", label(l.path), quote(text), before)
			}
			first[ap] = l.path
		}
	}
	if a.Autoconfig.Listen != "" && (len(a.IMAP.IMAPS) == 0 || len(a.SMTP.Submissions)+len(a.SMTP.Submission) == 0) {
		d.refuse("autoconfig.listen", "listen: there is nothing to tell mail programs without an IMAP listener and a submission listener")
	}
	if len(a.SMTP.Submissions)+len(a.SMTP.Submission) == 0 {
		f.warn(d.where("smtp"), "no submission listener: nobody can send")
	}
	if len(a.IMAP.IMAPS) == 0 {
		f.warn(d.where("imap"), "no IMAP listener: nobody can read")
	}
}

// balancers reads the networks of load balancers. One that nearly everybody is in would let anybody claim any address.
func balancers(d *decoder, a *Appliance) {
	for i, text := range a.ProxyProtocol.From {
		path := "proxy_protocol.from"
		if p := fmt.Sprintf("%s[%d]", path, i); d.written(p) {
			path = p
		}
		p, err := netip.ParsePrefix(text)
		if one, oneErr := netip.ParseAddr(text); oneErr == nil && one.Zone() == "" {
			p, err = netip.PrefixFrom(one.Unmap(), one.Unmap().BitLen()), nil
		}
		switch {
		case err != nil:
			d.refuse(path, "from: needs the network or address of a load balancer, like 192.0.2.10/32, not %s", quote(text))
		case p.Bits() < 8:
			d.refuse(path, "from: %s holds nearly every address: name the load balancers only", quote(text))
		case p != p.Masked():
			d.refuse(path, "from: %s has bits behind the network: write %s", quote(text), p.Masked())
		default:
			a.ProxyProtocol.networks = append(a.ProxyProtocol.networks, p)
		}
	}
}

func nonEmpty(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

// listenAddress reads IP:port, :port or localhost:port. Port 0 lets the system choose.
func listenAddress(s string) (netip.AddrPort, error) {
	bad := errors.New("needs IP:port, like 0.0.0.0:465 or [::]:465")
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return netip.AddrPort{}, bad
	}
	n, err := wholeNumber(port)
	if err != nil || n > 65535 {
		return netip.AddrPort{}, bad
	}
	switch host {
	case "":
		host = "0.0.0.0"
	case "localhost":
		host = "127.0.0.1"
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return netip.AddrPort{}, bad
	}
	return netip.AddrPortFrom(ip, uint16(n)), nil
}

// keyPair reads the certificate of the listeners: it must exist, fit its key, and the key must be private.
func (f *findings) keyPair(d *decoder, a *Appliance) {
	certificate, err := f.keepers.readUnwritable(a.TLS.Certificate, maxPEM)
	if err != nil {
		d.refuse("tls.certificate", "certificate: file %s: %v", shownName(a.TLS.Certificate), err)
	}
	key, keyErr := f.keepers.readPrivate(a.TLS.Key, maxPEM)
	if keyErr != nil {
		d.refuse("tls.key", "key: file %s: %v", shownName(a.TLS.Key), keyErr)
	}
	if err != nil || keyErr != nil {
		return
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		d.refuse("tls.certificate", "certificate: file %s and its key: %s", shownName(a.TLS.Certificate), strings.TrimPrefix(err.Error(), "tls: "))
		return
	}
	leaf := pair.Leaf
	if leaf == nil {
		return
	}
	if days := int(leaf.NotAfter.Sub(f.now).Hours() / 24); f.now.After(leaf.NotAfter) {
		f.warn(d.where("tls.certificate"), "the certificate expired on %s: mail programs will refuse it", leaf.NotAfter.UTC().Format(time.DateOnly))
	} else if days < 14 && leaf.NotAfter.Sub(leaf.NotBefore) > 30*24*time.Hour {
		f.warn(d.where("tls.certificate"), "the certificate expires on %s", leaf.NotAfter.UTC().Format(time.DateOnly))
	}
	if isHost(a.Hostname, false) && leaf.VerifyHostname(a.Hostname) != nil {
		f.warn(d.where("tls.certificate"), "the certificate is not for %s: mail programs that use this name will refuse it", a.Hostname)
	}
}

// follow has a file with CAs looked at again when it changes.
func (f *findings) follow(name string) {
	if _, known := f.cas[name]; known {
		return
	}
	if f.cas == nil {
		f.cas = map[string]stamp{}
	}
	f.cas[name] = stampOf(name)
}

// readCAs checks that a file holds certificates and nothing that is not PEM.
func (k keepers) readCAs(name string) error {
	_, err := k.certificates(name)
	return err
}

func (k keepers) certificates(name string) (found []*x509.Certificate, err error) {
	b, err := k.readUnwritable(name, maxPEM)
	if err != nil {
		return nil, err
	}
	for len(b) > 0 {
		var block *pem.Block
		if block, b = pem.Decode(b); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("it holds a %s where only certificates belong", quote(block.Type))
		}
		one, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, errors.New("certificate " + strconv.Itoa(len(found)+1) + " in it cannot be read")
		}
		found = append(found, one)
	}
	if len(found) == 0 {
		return nil, errors.New("it holds no PEM certificate")
	}
	return found, nil
}

// isHost accepts a host name of LDH labels, and with ip also an IP address.
func isHost(s string, ip bool) bool {
	if _, err := netip.ParseAddr(s); err == nil {
		return ip
	}
	if len(s) > 253 {
		return false
	}
	for _, l := range strings.Split(s, ".") {
		if l == "" || len(l) > 63 || l[0] == '-' || l[len(l)-1] == '-' ||
			strings.Trim(strings.ToLower(l), "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return false
		}
	}
	return true
}

// smarthost checks how the smarthost is spoken to.
func (f *findings) smarthost(d *decoder, a *Appliance) {
	const at = "outgoing.smarthost."
	s := &a.Outgoing.Smarthost
	ip := net.ParseIP(s.Host)
	if s.Security == "none" && (ip == nil || !ip.IsLoopback()) {
		d.refuse(at+"security", "security: none needs a loopback address as host, like 127.0.0.1; elsewhere write starttls or tls")
	}
	if s.Username != "" && s.Security == "none" {
		d.refuse(at+"username", "username: no login is sent without TLS: write security: starttls or tls")
	}
	if (s.Username == "") != (s.PasswordFile == "") {
		d.refuse(at+"username", "username and password_file belong together")
	}
	if s.PasswordFile == "" {
		return
	}
	name := s.PasswordFile
	s.PasswordFile = a.Path(name)
	if _, err := f.keepers.readPrivate(s.PasswordFile, maxSecret); err != nil {
		d.refuse(at+"password_file", "password_file: file %s: %v", shownName(name), err)
	}
}
