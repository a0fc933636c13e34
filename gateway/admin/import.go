package admin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"pecgate/relay"
)

const maxImportEnd = 64 << 10

// importRoutes takes messages from the command one by one: it reads the archive or
// the other provider, so the appliance opens no file and dials nobody for it.
func (c *Control) importRoutes(mux *http.ServeMux) {
	mux.HandleFunc("POST /v1/import", c.importOne)
	mux.Handle("POST /v1/import/end", c.audited("import", c.importEnd))
}

// importOne takes one message. What is brought in has the audit line of an arrival,
// and the import as a whole has one of its own at its end.
func (c *Control) importOne(w http.ResponseWriter, r *http.Request) {
	if !c.enter() {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	defer c.inside.Done()
	q := r.URL.Query()
	it := relay.ImportItem{Box: q.Get("mailbox"), Size: r.ContentLength, Sent: q.Get("sent") != "", Proven: q.Get("proven") != "", Dry: q.Get("dry") != "",
		Body: readRolling{r: r.Body, control: http.NewResponseController(w), wait: c.opt.Stall}}
	if unix, err := strconv.ParseInt(q.Get("date"), 10, 64); err == nil {
		it.Date = time.Unix(unix, 0)
	}
	if it.Size < 0 {
		w.WriteHeader(http.StatusLengthRequired)
		return
	}
	var a answer
	a.value, a.err = c.opt.Relay.Import(r.Context(), it)
	peer, _ := r.Context().Value(peerKey{}).(string)
	if a.err != nil {
		if err := c.audit(r.Context(), "import", peer, a); err != nil {
			c.opt.Events.Fault("control", it.Box, err)
		}
	}
	switch err := c.write(w, a); {
	case errors.Is(err, errReader) || r.Context().Err() != nil:
		c.opt.Events.ControlCut("import", peer, err)
	case err != nil:
		c.opt.Events.Fault("control", it.Box, err)
	}
}

// readRolling gives each read its own deadline.
type readRolling struct {
	r       io.Reader
	control *http.ResponseController
	wait    time.Duration
}

func (r readRolling) Read(b []byte) (int, error) {
	if err := r.control.SetReadDeadline(time.Now().Add(r.wait)); err != nil {
		return 0, err
	}
	return r.r.Read(b)
}

func (c *Control) importEnd(r *http.Request) (a answer) {
	var n relay.ImportCounts
	a.box = r.URL.Query().Get("mailbox")
	if a.err = json.NewDecoder(io.LimitReader(r.Body, maxImportEnd)).Decode(&n); a.err != nil {
		return a
	}
	peer, _ := r.Context().Value(peerKey{}).(string)
	var originals int
	originals, a.err = c.opt.Relay.ImportEnd(r.Context(), a.box, n, relay.Hand{Actor: "control socket", From: peer})
	a.value, a.noted = originals, a.err == nil
	return a
}

// Import gives the appliance one message. The error is ErrNotRunning where nobody
// listens.
func (c *Client) Import(ctx context.Context, it relay.ImportItem) (out relay.Imported, err error) {
	q := url.Values{"mailbox": {it.Box}}
	for name, on := range map[string]bool{"sent": it.Sent, "proven": it.Proven, "dry": it.Dry} {
		if on {
			q.Set(name, "true")
		}
	}
	if !it.Date.IsZero() {
		q.Set("date", strconv.FormatInt(it.Date.Unix(), 10))
	}
	from := &lentBody{r: it.Body}
	defer from.back()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://control/v1/import?"+q.Encode(), from)
	if err != nil {
		return out, err
	}
	if req.ContentLength = it.Size; it.Size == 0 {
		req.Body = http.NoBody
	}
	body, err := c.do(req)
	if err != nil {
		return out, err
	}
	return out, errors.Join(json.NewDecoder(body).Decode(&out), body.Close())
}

// lentBody is the body of a request that belongs to whoever asks: net/http looks behind
// its announced end in a goroutine of its own, which may outlast the answer.
type lentBody struct {
	mu sync.Mutex
	r  io.Reader // nil: given back
}

func (b *lentBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.r == nil {
		return 0, io.EOF
	}
	return b.r.Read(p)
}

// back waits for a read under way; there is none any more.
func (b *lentBody) back() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.r = nil
}

// ImportEnd ends an import.
func (c *Client) ImportEnd(ctx context.Context, box string, n relay.ImportCounts, _ relay.Hand) (originals int, err error) {
	body, err := c.post(ctx, "/v1/import/end?"+url.Values{"mailbox": {box}}.Encode(), n)
	if err != nil {
		return 0, err
	}
	return originals, errors.Join(json.NewDecoder(body).Decode(&originals), body.Close())
}
