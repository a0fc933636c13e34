package admin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"

	"pecgate/relay"
)

// maxEvidenceAsk bounds a question for evidence, in bytes.
const maxEvidenceAsk = 4 << 20

// evidenceAsk is the question.
type evidenceAsk struct {
	IDs []string `json:"ids"`
}

// evidence streams an evidence bundle. Its audit line is stored by the relay before a
// byte of it leaves, and stands in it. As with a backup the command writes the file.
func (c *Control) evidence(w http.ResponseWriter, r *http.Request) {
	if !c.enter() {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	defer c.inside.Done()
	var ask evidenceAsk
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxEvidenceAsk)).Decode(&ask); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	peer, _ := r.Context().Value(peerKey{}).(string)
	found, err := c.opt.Relay.Evidence(r.Context(), ask.IDs, relay.Hand{Actor: "control socket", From: peer})
	if err != nil {
		a := answer{subject: strings.Join(ask.IDs[:min(len(ask.IDs), 3)], " "), err: err}
		if err := errors.Join(c.audit(r.Context(), "evidence", peer, a), c.write(w, a)); err != nil && !errors.Is(err, errReader) {
			c.opt.Events.Fault("control", "", err)
		}
		return
	}
	w.Header().Set("Content-Type", "application/zip")
	out := rolling{w: w, control: http.NewResponseController(w), wait: c.opt.Stall}
	// What breaks off shows: the end of a zip is its directory, and who asked checks it.
	switch _, err := found.Write(r.Context(), out, nil); {
	case err == nil:
	case errors.Is(err, errReader) || r.Context().Err() != nil:
		c.opt.Events.ControlCut("evidence", peer, err)
	default:
		c.opt.Events.Fault("control", "", err)
	}
}

// Evidence writes the bundle about these submissions and messages to w, unchecked. The
// error is ErrNotRunning where nobody listens.
func (c *Client) Evidence(ctx context.Context, ids []string, w io.Writer) error {
	body, err := c.post(ctx, "/v1/evidence", evidenceAsk{ids})
	if err != nil {
		return err
	}
	defer body.Close() // read to its end or given up
	_, err = io.Copy(w, body)
	return err
}
