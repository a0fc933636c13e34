package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"pecgate/relay"
)

// progressEvery is how often the reader of a long answer is told how far it is.
const progressEvery = 200 * time.Millisecond

// reconcileLine is one line of the answer to a reconcile: how far it is, again and
// again, and at the end what was found or why not.
type reconcileLine struct {
	Done   int64             `json:"done,omitempty"`
	Total  int64             `json:"total,omitempty"`
	Result *relay.Reconciled `json:"result,omitempty"`
	Error  string            `json:"error,omitempty"`
}

func (c *Control) reconcileRoutes(mux *http.ServeMux) {
	mux.HandleFunc("POST /v1/reconcile", c.reconcile)
}

// reconcile compares a mailbox with its provider. Its audit line is written with
// the result; a refusal has one of its own. It ends when the reader goes.
func (c *Control) reconcile(w http.ResponseWriter, r *http.Request) {
	if !c.enter() {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	defer c.inside.Done()
	q := r.URL.Query()
	peer, _ := r.Context().Value(peerKey{}).(string)
	ctx, stop := context.WithCancel(r.Context())
	defer stop()
	steps := make(chan reconcileLine, 1)
	last := make(chan reconcileLine, 1)
	go func() { // ends with ctx, and is waited for below
		found, err := c.opt.Relay.Reconcile(ctx, q.Get("mailbox"), relay.ReconcileOptions{
			BringIn: q.Get("bring_in") == "true", Also: q["also"], By: relay.Hand{Actor: "control socket", From: peer},
			Progress: func(done, total int64) {
				select {
				case steps <- reconcileLine{Done: done, Total: total}:
				default: // the reader has one to read already
				}
			},
		})
		end := reconcileLine{Result: found}
		if err != nil {
			end = reconcileLine{Error: c.whyNot(ctx, q.Get("mailbox"), peer, err)}
		}
		last <- end
	}()
	w.Header().Set("Content-Type", "application/x-ndjson")
	control := http.NewResponseController(w)
	enc := json.NewEncoder(rolling{w: w, control: control, wait: c.opt.Stall})
	put := func(l reconcileLine) {
		err := enc.Encode(l)
		if err == nil {
			err = control.Flush()
		}
		if err != nil {
			stop()
		}
	}
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for {
		select {
		case end := <-last:
			put(end)
			return
		case <-tick.C:
			select {
			case l := <-steps:
				put(l)
			default:
			}
		}
	}
}

// whyNot is what people read of an error; the audit and the log have the rest.
func (c *Control) whyNot(ctx context.Context, box, peer string, err error) string {
	no := new(relay.Refusal)
	refused := errors.As(err, &no)
	if auditErr := c.audit(ctx, "reconcile", peer, answer{box: box, err: err}); auditErr != nil {
		c.opt.Events.Fault("control", box, auditErr)
	}
	if refused {
		return no.Error()
	}
	return err.Error()
}

// Reconcile has the appliance compare a mailbox with its provider; progress is
// called as it goes on. The error is ErrNotRunning where nobody listens.
func (c *Client) Reconcile(ctx context.Context, box string, bringIn bool, also []string, progress func(done, total int64)) (*relay.Reconciled, error) {
	q := url.Values{"mailbox": {box}, "also": also}
	if bringIn {
		q.Set("bring_in", "true")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://control/v1/reconcile?"+q.Encode(), nil)
	if err != nil {
		return nil, err
	}
	body, err := c.do(req)
	if err != nil {
		return nil, err
	}
	defer body.Close() // read to its end or given up
	dec := json.NewDecoder(bufio.NewReader(body))
	for {
		var l reconcileLine
		if err := dec.Decode(&l); err != nil {
			return nil, fmt.Errorf("the appliance ended before it was done: %w", err)
		}
		switch {
		case l.Result != nil:
			return l.Result, nil
		case l.Error != "":
			return nil, errors.New(l.Error)
		case progress != nil:
			progress(l.Done, l.Total)
		}
	}
}
