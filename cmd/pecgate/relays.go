package main

import (
	"crypto/x509"
	"fmt"
	"os"

	"pecgate/configs"
	"pecgate/gateway/smtpd"
)

// peersOf are the groupware servers of the policy, as the listener knows them.
func peersOf(l *configs.Loaded) (out []smtpd.Peer, err error) {
	for _, r := range l.Policy.Relays {
		p := smtpd.Peer{Name: r.Name, Networks: r.Prefixes(), ClientNames: r.ClientNames, Login: r.Login, Password: r.Password,
			SecretField: r.SecretHeader.Name, SecretHash: r.SecretHeader.Value}
		if r.ClientCA != "" {
			b, err := os.ReadFile(l.Appliance.Path(r.ClientCA))
			if err != nil {
				return nil, fmt.Errorf("relay %s: client_ca: %w", r.Name, err)
			}
			if p.ClientCA = x509.NewCertPool(); !p.ClientCA.AppendCertsFromPEM(b) {
				return nil, fmt.Errorf("relay %s: client_ca: %s holds no certificate", r.Name, r.ClientCA)
			}
		}
		out = append(out, p)
	}
	return out, nil
}
