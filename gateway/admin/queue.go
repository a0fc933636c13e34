package admin

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"pecgate/relay"
)

// queueRoutes are the requests about the outgoing queue.
func (c *Control) queueRoutes(mux *http.ServeMux) {
	mux.Handle("GET /v1/queue", c.audited("queue list", c.queueList))
	mux.Handle("GET /v1/queue/show", c.audited("queue show", c.queueShow))
	mux.Handle("POST /v1/queue/retry", c.audited("queue retry", func(r *http.Request) answer {
		retry := c.opt.Relay.Retry
		if r.URL.Query().Get("unconfirmed") == "true" {
			retry = c.opt.Relay.RetryUnconfirmed
		}
		return c.changed(retry)(r)
	}))
	mux.Handle("POST /v1/queue/hold", c.audited("queue hold", c.changed(c.opt.Relay.Hold)))
	mux.Handle("POST /v1/queue/approve", c.audited("queue approve", c.changed(c.opt.Relay.ApproveByHand)))
	mux.Handle("POST /v1/queue/reject", c.audited("queue reject", c.changed(c.opt.Relay.RejectByHand)))
	mux.Handle("POST /v1/queue/cancel", c.audited("queue cancel", func(r *http.Request) answer {
		knows := r.URL.Query().Get("may_have_left") == "true"
		return c.changed(func(ctx context.Context, id string, by relay.Hand) (string, error) {
			return c.opt.Relay.Cancel(ctx, id, knows, by)
		})(r)
	}))
	mux.Handle("GET /v1/queue/forwards", c.audited("forward list", func(r *http.Request) (a answer) {
		a.value, a.err = relay.Forwards(r.Context(), c.opt.Store, forwardsShown)
		return a
	}))
	mux.Handle("POST /v1/queue/forwards/retry", c.audited("forward retry", c.forwardChanged(c.opt.Relay.ForwardRetry)))
	mux.Handle("POST /v1/queue/forwards/drop", c.audited("forward drop", c.forwardChanged(c.opt.Relay.ForwardDrop)))
}

// forwardsShown is how many of what waits for ordinary mailboxes are listed.
const forwardsShown = 10_000

// forwardChanged makes a question of a change to what waits for an ordinary mailbox.
func (c *Control) forwardChanged(do func(context.Context, string, relay.Hand) (*relay.Forward, error)) func(*http.Request) answer {
	return func(r *http.Request) answer {
		id := r.URL.Query().Get("id")
		peer, _ := r.Context().Value(peerKey{}).(string)
		it, err := do(context.WithoutCancel(r.Context()), id, relay.Hand{Actor: "control socket", From: peer})
		if err != nil {
			return answer{subject: id, err: err}
		}
		return answer{box: it.Box, subject: id, value: it, noted: true}
	}
}

func (c *Control) queueList(r *http.Request) (a answer) {
	q := r.URL.Query()
	f := relay.QueueFilter{Mailbox: q.Get("mailbox"), After: q.Get("after")}
	for _, s := range q["state"] {
		f.States = append(f.States, relay.State(s))
	}
	f.Most, _ = strconv.Atoi(q.Get("most")) // what is no number means the default
	a.box = strings.ToLower(f.Mailbox)
	page, err := relay.Queue(r.Context(), c.opt.Store, f)
	for i := range page.Items {
		it := &page.Items[i]
		it.Next, it.Why = c.awake(it.Mailbox, it.State, it.Next, it.Why)
	}
	a.value, a.err = page, err
	return a
}

// awake is when and why something waits, where its mailbox is one that works now.
func (c *Control) awake(box string, state relay.State, next *time.Time, why string) (*time.Time, string) {
	if state != relay.Queued {
		return next, why
	}
	if asleep := c.opt.Relay.Asleep(box); asleep != "" {
		return nil, asleep
	}
	return next, why
}

func (c *Control) queueShow(r *http.Request) answer {
	name := r.URL.Query().Get("id")
	shown, err := relay.ShowQueued(r.Context(), c.opt.Store, name)
	if err != nil {
		return answer{subject: name, err: err}
	}
	shown.Next, shown.Why = c.awake(shown.Mailbox, shown.State, shown.Next, shown.Why)
	return answer{box: shown.Mailbox, subject: shown.ID, value: shown}
}

// changed makes a question of a change to one submission. Its audit line is
// stored with the change; the answer is how the submission stands then.
func (c *Control) changed(do func(context.Context, string, relay.Hand) (string, error)) func(*http.Request) answer {
	return func(r *http.Request) answer {
		name := r.URL.Query().Get("id")
		peer, _ := r.Context().Value(peerKey{}).(string)
		// A peer that hangs up has asked all the same.
		ctx := context.WithoutCancel(r.Context())
		id, err := do(ctx, name, relay.Hand{Actor: "control socket", From: peer})
		if err != nil {
			return answer{subject: name, err: err}
		}
		shown, err := relay.ShowQueued(ctx, c.opt.Store, id)
		return answer{box: shown.Mailbox, subject: id, value: shown, err: err, noted: true}
	}
}
