package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"pecgate/mailbox"
	"pecgate/mailbox/events"
	"pecgate/relay"
)

// auditTime bounds the wait for an audit line: a store that hangs must not
// hide how the appliance stands.
const auditTime = 5 * time.Second

var (
	errUnknown = errors.New("the appliance does not know this request: its version may differ from that of the command")
	errReader  = errors.New("the reader went or stalled")
)

// answer is what a request gets and what its audit line says of it.
type answer struct {
	box, subject string
	err          error
	value        any           // written as JSON
	message      messageReader // or these bytes
	audited      bool          // only with its audit line stored
	noted        bool          // its audit line is stored already
}

type messageReader interface {
	io.ReaderAt
	io.Closer
	Size() int64
}

// audited makes a handler of a question: it asks, stores the audit line, and
// only then answers.
func (c *Control) audited(event string, ask func(*http.Request) answer) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !c.enter() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		defer c.inside.Done()
		a := ask(r)
		if a.message != nil {
			defer a.message.Close() // read-only handle: nothing to lose
		}
		peer, _ := r.Context().Value(peerKey{}).(string)
		if err := c.audit(r.Context(), event, peer, a); err != nil && a.audited && a.err == nil {
			a.err = err
		}
		switch err := c.write(w, a); {
		case errors.Is(err, errReader):
			c.opt.Events.ControlCut(event, peer, err)
		case err != nil:
			c.opt.Events.Fault("control", a.box, err)
		}
	})
}

// audit stores who asked what. Where the store cannot take it (the floor of
// its disk included, below which nothing is written) the log does.
func (c *Control) audit(ctx context.Context, event, peer string, a answer) error {
	if a.noted {
		return nil
	}
	l := mailbox.AuditLine{Actor: "control socket", Event: event, Box: a.box, Subject: events.Clip(a.subject), Result: "given", From: peer}
	switch {
	case errors.Is(a.err, relay.ErrNotFound), errors.Is(a.err, errUnknown):
		l.Result = "not found"
	case errors.As(a.err, new(*relay.Refusal)), errors.As(a.err, new(*Refusal)):
		l.Result, l.Reason = "refused", a.err.Error()
	case a.err != nil:
		l.Result = "failed"
	}
	if err := c.room(); err != nil {
		c.opt.Events.ControlUnaudited(event, l.Box, l.Subject, l.Result, peer, err)
		return nil
	}
	// A peer that hangs up has asked all the same.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), auditTime)
	defer cancel()
	err := c.opt.Store.Update(ctx, func(tx *mailbox.Tx) error { return tx.Audit(l) })
	if err != nil {
		c.opt.Events.ControlUnaudited(event, l.Box, l.Subject, l.Result, peer, err)
	}
	return err
}

func (c *Control) status(r *http.Request) (a answer) {
	a.value, a.err = c.opt.Relay.Status(r.Context())
	return a
}

func (c *Control) show(r *http.Request) answer {
	name := r.URL.Query().Get("id")
	shown, _, err := relay.Show(r.Context(), c.opt.Store, name)
	if err != nil {
		return answer{subject: name, err: err}
	}
	return answer{box: shown.Mailbox, subject: shown.ID, value: shown}
}

// eml gives the bytes of a submission as they are relayed, to nobody without an audit line.
func (c *Control) eml(r *http.Request) answer {
	name := r.URL.Query().Get("id")
	shown, _, err := relay.Show(r.Context(), c.opt.Store, name)
	if err != nil {
		return answer{subject: name, err: err}
	}
	a := answer{box: shown.Mailbox, subject: shown.ID, audited: true}
	body, err := relay.Bytes(r.Context(), c.opt.Store, shown.ID)
	if err != nil {
		a.err = err
		return a
	}
	a.message = body
	return a
}

// verifyAudit re-checks the audit log while the appliance runs.
func (c *Control) verifyAudit(r *http.Request) (a answer) {
	a.value, a.err = c.opt.Store.VerifyAudit(r.Context(), nil)
	return a
}

func (c *Control) unknown(r *http.Request) answer {
	return answer{subject: r.Method + " " + r.URL.Path, err: errUnknown}
}

// write sends an answer. The error is errReader where its reader went or
// stalled.
func (c *Control) write(w http.ResponseWriter, a answer) error {
	out := rolling{w: w, control: http.NewResponseController(w), wait: c.opt.Stall}
	if a.err == nil && a.message != nil {
		w.Header().Set("Content-Type", "message/rfc822")
		w.Header().Set("Content-Length", strconv.FormatInt(a.message.Size(), 10))
		_, err := io.Copy(out, io.NewSectionReader(a.message, 0, a.message.Size()))
		return err
	}
	status, value := http.StatusOK, a.value
	switch {
	case errors.Is(a.err, relay.ErrNotFound):
		status, value = http.StatusNotFound, said(ErrNotFound.Error())
	case errors.Is(a.err, errUnknown):
		status, value = http.StatusNotFound, said(errUnknown.Error())
	case errors.As(a.err, new(*relay.Refusal)), errors.As(a.err, new(*Refusal)):
		status, value = http.StatusConflict, said(a.err.Error())
	case errors.Is(a.err, mailbox.ErrNoSpace):
		status, value = http.StatusInsufficientStorage, said("the disk of data_dir is too full to change anything: make room there")
	case a.err != nil:
		c.opt.Events.Fault("control", a.box, a.err)
		status, value = http.StatusInternalServerError, said("the appliance could not answer; its log says why")
	}
	var b bytes.Buffer
	if err := json.NewEncoder(&b).Encode(value); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(b.Len()))
	w.WriteHeader(status)
	_, err := io.Copy(out, &b)
	return err
}

func said(text string) map[string]string { return map[string]string{"error": text} }

// rolling gives each write its own deadline: a long answer may take as long as
// it is read.
type rolling struct {
	w       io.Writer
	control *http.ResponseController
	wait    time.Duration
}

func (r rolling) Write(b []byte) (int, error) {
	if err := r.control.SetWriteDeadline(time.Now().Add(r.wait)); err != nil {
		return 0, err
	}
	n, err := r.w.Write(b)
	if err != nil {
		err = fmt.Errorf("%w: %w", errReader, err)
	}
	return n, err
}
