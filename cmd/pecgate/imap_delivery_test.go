package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pecgate/configs"
)

// A token is got by client credentials, kept until shortly before its end, and asked for
// anew then; what the endpoint refuses is told without a secret.
func TestTokensByClientCredentials(t *testing.T) {
	asked, life, refuse := 0, 3600, false
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		for key, want := range map[string]string{"grant_type": "client_credentials", "client_id": "app", "client_secret": "hunter2", "scope": "https://outlook.example/.default"} {
			if got := r.PostForm.Get(key); got != want {
				t.Errorf("%s is %q", key, got)
			}
		}
		w.Header().Set("Content-Type", "application/json")
		if refuse {
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, `{"error":"invalid_client","error_description":"the secret hunter2 has ended"}`)
			return
		}
		fmt.Fprintf(w, `{"access_token":"token-%d","token_type":"Bearer","expires_in":%d}`, asked, life)
	}))
	defer srv.Close()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	source := &tokens{of: configs.OAuth2{TokenURL: srv.URL, ClientID: "app", ClientSecretFile: file, Scope: "https://outlook.example/.default"}}
	want := func(token string, requests int) {
		t.Helper()
		got, err := source.token(t.Context())
		if err != nil || got != token || asked != requests {
			t.Fatalf("token %q after %d requests, %v; want %q after %d", got, asked, err, token, requests)
		}
	}
	want("token-1", 1)
	want("token-1", 1)
	source.held.Expiry = source.held.Expiry.Add(-3599e9)
	want("token-2", 2)
	source.held, refuse = nil, true
	_, err := source.token(t.Context())
	if err == nil || !strings.Contains(err.Error(), "invalid_client") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("told is %v", err)
	}
}
