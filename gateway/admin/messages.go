package admin

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"

	"pecgate/relay"
)

// messages answers a page of the message log. The query is the parameter q.
func (c *Control) messages(r *http.Request) (a answer) {
	var q relay.MessageQuery
	if err := json.Unmarshal([]byte(r.URL.Query().Get("q")), &q); err != nil {
		return answer{err: err}
	}
	a.value, a.err = c.opt.Relay.Messages(r.Context(), q)
	return a
}

// Messages asks for a page of the message log. The error is ErrNotRunning where nobody
// listens.
func (c *Client) Messages(ctx context.Context, q relay.MessageQuery) (*relay.MessagePage, error) {
	b, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	page := new(relay.MessagePage)
	return page, c.JSON(ctx, "/v1/messages", url.Values{"q": {string(b)}}, page)
}
