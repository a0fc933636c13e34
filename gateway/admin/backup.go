package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"pecgate/mailbox"
	"pecgate/mailbox/backup"
)

// Bounds of what a command says about its folder: it lists every segment.
const (
	maxHave   = 256 << 20
	maxReport = 1 << 20
)

// backupRoutes serves backups. The appliance sends, the command writes: a slow
// or full disk of backups is none of the appliance's, and its sandbox stays
// closed.
func (c *Control) backupRoutes(mux *http.ServeMux) {
	mux.HandleFunc("POST /v1/backup", c.backup)
	mux.Handle("POST /v1/backup/done", c.audited("backup", c.backupDone))
}

// backup streams what the folder of the command does not have. Its audit line is
// written by the store, with the state that is copied.
func (c *Control) backup(w http.ResponseWriter, r *http.Request) {
	if !c.enter() {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	defer c.inside.Done()
	var have backup.Have
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxHave)).Decode(&have); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	peer, _ := r.Context().Value(peerKey{}).(string)
	w.Header().Set("Content-Type", "application/octet-stream")
	out := rolling{w: w, control: http.NewResponseController(w), wait: c.opt.Stall}
	err := c.opt.Store.Backup(r.Context(), out, have, mailbox.AuditLine{Actor: "control socket", From: peer})
	switch {
	case err == nil || errors.Is(err, backup.ErrOther):
	case errors.Is(err, errReader) || r.Context().Err() != nil:
		c.opt.Events.ControlCut("backup", peer, err)
	default:
		c.opt.Events.Fault("control", "", err)
	}
}

// backupDone writes into the audit log what became of it.
func (c *Control) backupDone(r *http.Request) (a answer) {
	a.noted, a.value = true, struct{}{}
	var report *backup.Report
	if a.err = json.NewDecoder(io.LimitReader(r.Body, maxReport)).Decode(&report); a.err != nil {
		return a
	}
	peer, _ := r.Context().Value(peerKey{}).(string)
	a.err = c.opt.Store.BackedUp(r.Context(), mailbox.AuditLine{Actor: "control socket", From: peer}, report)
	return a
}

// Backup lets the appliance send what a folder does not have, as backup.Folder
// takes it. The error is ErrNotRunning where nobody listens.
func (c *Client) Backup(ctx context.Context, have backup.Have) (io.ReadCloser, error) {
	return c.post(ctx, "/v1/backup", have)
}

// BackedUp tells the appliance what became of a backup; nil: it failed.
func (c *Client) BackedUp(ctx context.Context, r *backup.Report) error {
	body, err := c.post(ctx, "/v1/backup/done", r)
	if err != nil {
		return err
	}
	return body.Close()
}

func (c *Client) post(ctx context.Context, path string, v any) (io.ReadCloser, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("ask the appliance: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://control"+path, bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	return c.do(req)
}
