package admin

import (
	"context"
	"net/http"
	"strings"

	"pecgate/relay"
)

// Resumed is the answer to `pecgate provider resume`.
type Resumed struct {
	Mailbox string `json:"mailbox"`
	Resumed bool   `json:"resumed"`
}

// providerRoutes are the requests about a mailbox at its provider.
func (c *Control) providerRoutes(mux *http.ServeMux) {
	mux.Handle("POST /v1/provider/resume", c.audited("provider resume", c.resume))
	mux.Handle("POST /v1/provider/try", c.audited("check --online", c.tryOnline))
	mux.Handle("GET /v1/provider/copies", c.audited("provider copies", c.copies))
}

// resume has its audit line stored with the change.
func (c *Control) resume(r *http.Request) answer {
	box := strings.ToLower(r.URL.Query().Get("mailbox"))
	peer, _ := r.Context().Value(peerKey{}).(string)
	// A peer that hangs up has asked all the same.
	if err := c.opt.Relay.Resume(context.WithoutCancel(r.Context()), box, relay.Hand{Actor: "control socket", From: peer}); err != nil {
		return answer{box: box, err: err}
	}
	return answer{box: box, value: Resumed{box, true}, noted: true}
}

func (c *Control) tryOnline(r *http.Request) (a answer) {
	a.box = strings.ToLower(r.URL.Query().Get("mailbox"))
	a.value, a.err = c.opt.Relay.TryOnline(r.Context(), a.box)
	return a
}

func (c *Control) copies(r *http.Request) (a answer) {
	a.box = strings.ToLower(r.URL.Query().Get("mailbox"))
	a.value, a.err = c.opt.Relay.Copies(r.Context(), a.box)
	return a
}
