package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"time"
)

// submission is what the gateway says of one; of all that it says only this is used.
type submission struct {
	State  string `json:"state"`
	Reason string `json:"state_reason"`
}

// errUnknown: the gateway knows no submission of this Message-ID.
var errUnknown = errors.New("the gateway knows no such submission")

// ask asks the running gateway over its control socket.
func (w *world) ask(ctx context.Context, path string, q url.Values, v any) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(w.o.Data, "control.sock"))
		},
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://control"+path+"?"+q.Encode(), nil)
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("ask the gateway: %w", err)
	}
	defer res.Body.Close() // read to its end or given up
	if res.StatusCode == http.StatusNotFound {
		return errUnknown
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("ask the gateway for %s: %s", path, res.Status)
	}
	return json.NewDecoder(res.Body).Decode(v)
}

// shown is the state of a submission, by its Message-ID.
func (w *world) shown(ctx context.Context, id string) (submission, error) {
	var s submission
	err := w.ask(ctx, "/v1/show", url.Values{"id": {id}}, &s)
	return s, err
}

// queue is how many submissions stand in each state.
func (w *world) queue(ctx context.Context) (map[string]int, error) {
	var s struct{ Queue map[string]int }
	err := w.ask(ctx, "/v1/status", nil, &s)
	return s.Queue, err
}
