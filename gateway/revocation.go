package gateway

import (
	"context"
	"crypto/x509"

	"pecgate/relay/revocation"
)

// asker asks authorities about certificates; nil where that is off.
func asker(on bool) func(context.Context, *x509.Certificate, *x509.Certificate) revocation.Answer {
	if !on {
		return nil
	}
	return revocation.New(revocation.Options{}).Ask
}
