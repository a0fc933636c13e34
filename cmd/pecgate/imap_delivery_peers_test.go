//go:build peers

package main

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"pecgate/relay/upstream/dovecottest"
)

// issuer gives access tokens and tells Dovecot which of them are good.
type issuer struct {
	*httptest.Server
	mu    sync.Mutex
	given []string
	good  map[string]bool
}

func newIssuer(t *testing.T, user string) *issuer {
	t.Helper()
	i := &issuer{good: map[string]bool{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("client_secret") != clientSecret || r.FormValue("grant_type") != "client_credentials" {
			t.Errorf("asked for by %q", r.FormValue("grant_type"))
		}
		i.mu.Lock()
		defer i.mu.Unlock()
		token := fmt.Sprintf("eyJh.tok-%d._~+/==", len(i.given))
		i.given, i.good[token] = append(i.given, token), true
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": token, "token_type": "Bearer", "expires_in": 3600})
	})
	mux.HandleFunc("POST /introspect", func(w http.ResponseWriter, r *http.Request) {
		i.mu.Lock()
		defer i.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"active": i.good[r.FormValue("token")], "username": user})
	})
	i.Server = httptest.NewServer(mux)
	t.Cleanup(i.Close)
	return i
}

// revoke ends all tokens, and tells how many were given so far.
func (i *issuer) revoke() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	clear(i.good)
	return len(i.given)
}

// TestXOAUTH2_IntoDovecot: an appliance that serves puts what arrived into an ordinary mailbox of a server that others wrote, with
// a token of client credentials; one that was revoked before its end is replaced at once, and neither it nor the secret is logged.
func TestXOAUTH2_IntoDovecot(t *testing.T) {
	const user = "lucia@ordinary.example"
	h := newHouse(t, mailboxText(boxA, false, "", "mario"), mailboxText(boxB, false, "", "lucia"))
	h.policy = strings.Replace(h.policy, "login: lucia\n", "login: lucia\n    deliver: [imap, forward]\n", 1)
	h.writePolicy(h.policy)
	tokens := newIssuer(t, user)
	cert, err := tls.LoadX509KeyPair(filepath.Join(h.dir, "tls/fullchain.pem"), filepath.Join(h.dir, "tls/key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	d := dovecottest.Start(t, dovecottest.Options{Certificate: cert, Login: user, Password: "unused", Introspect: tokens.URL + "/introspect"})
	h.write("client-secret", clientSecret+"\n")
	h.write("pecgate.yaml", string(readFile(t, h.config()))+fmt.Sprintf(
		"outgoing: {imap: {host: localhost, port: %d, ca: tls/fullchain.pem, domains: [ordinary.example], rule: move, oauth2: {token_url: %q, client_id: app, client_secret_file: client-secret, scope: mail}}}\n",
		d.Ports["imaps"], tokens.URL+"/token"))
	p := h.launch()
	arrives := func(subject string) {
		t.Helper()
		raw := "From: Ente <ente@pec.gamma.example>\r\nTo: <" + boxB + ">\r\nSubject: " + subject + "\r\nMessage-ID: <" + subject + "@pec.gamma.example>\r\n\r\nperch\xe8 .\r\n"
		if err := h.provider.SendRawFromOutside("ente@pec.gamma.example", []string{boxB}, []byte(raw)); err != nil {
			t.Fatal(err)
		}
	}
	stand := func(want int) {
		t.Helper()
		h.until(fmt.Sprint(want, " stand there"), func() bool { return len(d.Messages(t)) >= want && h.status().Forwards == 0 })
		all := d.Messages(t)
		if len(all) != want {
			t.Fatalf("%d stand there, want %d", len(all), want)
		}
		var emitted []string
		for _, e := range h.provider.Emitted() {
			emitted = append(emitted, string(e.Raw))
		}
		for _, m := range all {
			if !slices.Contains(emitted, m) {
				t.Errorf("not as the provider made it:\n%.400s", m)
			}
		}
	}
	h.until("the mailbox is read", func() bool { return h.fetched(boxB) }) // what stood there before is history
	arrives("uno")
	stand(1)
	arrives("due")
	stand(2)
	if n := tokens.revoke(); n != 1 {
		t.Errorf("%d tokens for two messages", n)
	}
	arrives("tre")
	stand(3)
	if n := tokens.revoke(); n != 2 {
		t.Errorf("%d tokens after the first was revoked", n)
	}
	p.stop()
	for _, secret := range append(tokens.given, clientSecret, "hunter2") {
		if strings.Contains(h.log.String(), secret) {
			t.Errorf("the log says %q", secret)
		}
	}
	if moved := h.audit("moved"); len(moved) != 3 {
		t.Errorf("%d moved", len(moved))
	}
}
