package admin

import (
	"context"
	"net/http"

	"pecgate/relay"
)

// Unlocked is the answer to an unlocking of a PIN.
type Unlocked struct {
	User  string `json:"user"`
	Wrong int    `json:"wrong"` // PINs that were given today and are forgotten
}

// NoPIN says that there is nothing to unlock.
func NoPIN(login string) error {
	return &Refusal{login + " has neither a pin nor one-time codes (totp) in policy.yaml: there is nothing to unlock"}
}

// pinRoutes are the requests about PINs.
func (c *Control) pinRoutes(mux *http.ServeMux) {
	mux.Handle("POST /v1/pin/unlock", c.audited("pin unlock", c.unlockPIN))
}

// unlockPIN stores its audit line with the change.
func (c *Control) unlockPIN(r *http.Request) answer {
	login := r.URL.Query().Get("user")
	if login == "" || c.opt.UnlockPIN == nil {
		return c.unknown(r)
	}
	u, err := c.user(login)
	if err == nil && u.NoPIN {
		err = NoPIN(u.Login)
	}
	if err != nil {
		return answer{subject: login, err: err}
	}
	login = u.Login
	peer, _ := r.Context().Value(peerKey{}).(string)
	n, err := c.opt.UnlockPIN(context.WithoutCancel(r.Context()), login, relay.Hand{Actor: "control socket", From: peer})
	return answer{subject: login, value: Unlocked{User: login, Wrong: n}, err: err, noted: err == nil}
}
