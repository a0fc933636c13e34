package admin

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"pecgate/relay"
)

const (
	maxExportAsk  = 1 << 20
	maxExportLine = 64 << 10 // a line between messages
)

// exportAsk is the question.
type exportAsk struct {
	Query relay.ExportQuery `json:"query"`
	Dry   bool              `json:"dry,omitempty"`
}

// exportLine stands before the bytes of a message; the first one has the counts, the
// last one End or what went wrong.
type exportLine struct {
	Totals  *relay.Export   `json:"totals,omitempty"`
	Message *relay.Exported `json:"message,omitempty"`
	End     bool            `json:"end,omitempty"`
	Error   string          `json:"error,omitempty"`
}

// export streams messages. As with a backup the command writes the files.
func (c *Control) export(w http.ResponseWriter, r *http.Request) {
	if !c.enter() {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	defer c.inside.Done()
	var ask exportAsk
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxExportAsk)).Decode(&ask); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	peer, _ := r.Context().Value(peerKey{}).(string)
	found, err := c.opt.Relay.Export(r.Context(), ask.Query, ask.Dry, relay.Hand{Actor: "control socket", From: peer})
	if err != nil {
		a := answer{err: err}
		if err := errors.Join(c.audit(r.Context(), "export", peer, a), c.write(w, a)); err != nil && !errors.Is(err, errReader) {
			c.opt.Events.Fault("control", "", err)
		}
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	out := bufio.NewWriterSize(rolling{w: w, control: http.NewResponseController(w), wait: c.opt.Stall}, 64<<10)
	say := json.NewEncoder(out)
	err = say.Encode(exportLine{Totals: found})
	if err == nil && !ask.Dry {
		err = found.Each(r.Context(), func(m relay.Exported, body io.Reader) error {
			if err := say.Encode(exportLine{Message: &m}); err != nil {
				return err
			}
			_, err := io.Copy(out, body)
			return err
		})
	}
	last := exportLine{End: err == nil}
	if err != nil {
		last.Error = "the appliance could not read on: see its log"
		if refused := new(relay.Refusal); errors.As(err, &refused) {
			last.Error = refused.Error()
		}
	}
	// After half of a message nobody takes this line for one: the hash is another.
	err = errors.Join(err, say.Encode(last), out.Flush())
	switch {
	case err == nil || errors.As(err, new(*relay.Refusal)):
	case errors.Is(err, errReader) || r.Context().Err() != nil:
		c.opt.Events.ControlCut("export", peer, err)
	default:
		c.opt.Events.Fault("control", "", err)
	}
}

// Exporting is an export that the appliance sends.
type Exporting struct {
	relay.Export // the counts
	body         io.ReadCloser
	in           *bufio.Reader
}

// Export asks for messages; the caller closes it. The error is ErrNotRunning where
// nobody listens.
func (c *Client) Export(ctx context.Context, q relay.ExportQuery, dry bool) (*Exporting, error) {
	body, err := c.post(ctx, "/v1/export", exportAsk{q, dry})
	if err != nil {
		return nil, err
	}
	e := &Exporting{body: body, in: bufio.NewReaderSize(body, maxExportLine)}
	l, err := e.line()
	if err == nil && l.Totals == nil {
		err = errors.New("the appliance's answer begins otherwise than it should")
	}
	if err != nil {
		return nil, errors.Join(err, body.Close())
	}
	e.Export = *l.Totals
	return e, nil
}

// Close gives back the connection.
func (e *Exporting) Close() error { return e.body.Close() }

func (e *Exporting) line() (l exportLine, err error) {
	b, err := e.in.ReadSlice('\n')
	if errors.Is(err, io.EOF) {
		return l, errors.New("the appliance broke off: it is stopping, or its log says why")
	}
	if err == nil {
		err = json.NewDecoder(bytes.NewReader(b)).Decode(&l)
	}
	if err != nil {
		return l, fmt.Errorf("the appliance's answer cannot be read: %w", err)
	}
	if l.Error != "" {
		err = errors.New(l.Error)
	}
	return l, err
}

// Each hands over the messages as relay.Export does.
func (e *Exporting) Each(ctx context.Context, fn func(relay.Exported, io.Reader) error) error {
	for {
		l, err := e.line()
		if err != nil || l.End {
			return err
		}
		if l.Message == nil || l.Message.Size < 0 {
			return errors.New("the appliance's answer cannot be read: a line of no message")
		}
		body := io.LimitReader(e.in, l.Message.Size)
		if err := errors.Join(fn(*l.Message, body), ctx.Err()); err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, body); err != nil {
			return err
		}
	}
}
