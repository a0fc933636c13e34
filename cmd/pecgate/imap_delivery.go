package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/oauth2" // what a token endpoint answers, and how long a token is good
	"golang.org/x/oauth2/clientcredentials"

	"pecgate/configs"
	"pecgate/relay"
)

// imapDeliveryOf is the way to ordinary mailboxes by IMAP; nil: there is none.
func imapDeliveryOf(l *configs.Loaded) (*relay.IMAPDelivery, error) {
	h := l.Appliance.Outgoing.IMAP
	if h.Host == "" {
		return nil, nil
	}
	out := &relay.IMAPDelivery{
		Endpoint: relay.Endpoint{Host: h.Host, Port: h.Port, Security: h.Security, Timeout: time.Minute},
		Domains:  h.Domains, Username: h.Username, Folder: h.Folder, Move: h.Rule == "move",
	}
	if h.OAuth2.TokenURL != "" {
		out.Token = (&tokens{of: h.OAuth2}).token
	} else {
		out.Password = h.Password
	}
	if h.CA == "" {
		return out, nil
	}
	b, err := os.ReadFile(h.CA)
	if err != nil {
		return nil, fmt.Errorf("outgoing.imap.ca: %w", err)
	}
	out.Roots = x509.NewCertPool()
	if !out.Roots.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("outgoing.imap.ca: %s holds no certificate", h.CA)
	}
	return out, nil
}

const (
	tokenTimeout = 30 * time.Second
	tokenSpare   = 2 * time.Minute // before its end a token is used no more
)

// tokens keeps the access token of an application until shortly before it ends.
type tokens struct {
	of configs.OAuth2

	mu   sync.Mutex
	held *oauth2.Token
}

// token gives the one in hand, or a new one. No error holds a secret.
func (t *tokens) token(ctx context.Context) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.held != nil && time.Until(t.held.Expiry) > tokenSpare {
		return t.held.AccessToken, nil
	}
	secret, err := t.of.ClientSecret()
	if err != nil {
		return "", fmt.Errorf("client secret of outgoing.imap.oauth2: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, tokenTimeout)
	defer cancel()
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return errors.New("the token endpoint leads elsewhere") }}
	c := clientcredentials.Config{ClientID: t.of.ClientID, ClientSecret: secret, TokenURL: t.of.TokenURL, Scopes: strings.Fields(t.of.Scope), AuthStyle: oauth2.AuthStyleInParams}
	got, err := c.Token(context.WithValue(ctx, oauth2.HTTPClient, client))
	if no := new(oauth2.RetrieveError); errors.As(err, &no) { // of its answer only the code: the rest may repeat what was sent
		return "", fmt.Errorf("the token endpoint refuses (%s): look at client_id, client_secret_file and scope of outgoing.imap.oauth2", no.ErrorCode)
	}
	if err != nil {
		return "", fmt.Errorf("token endpoint: %s", strings.ReplaceAll(err.Error(), secret, "***"))
	}
	t.held = got
	return got.AccessToken, nil
}
