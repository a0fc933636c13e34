package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"syscall"
)

var (
	// ErrNotRunning says that no appliance serves the control socket.
	ErrNotRunning = errors.New("the appliance is not running")
	// ErrNotFound is what people read where no submission has a name.
	ErrNotFound = errors.New("no submission has this id, Message-ID or PEC identifier")
)

// Client asks a running appliance.
type Client struct{ http *http.Client }

// NewClient returns a client of the appliance with this data folder.
func NewClient(dataDir string) *Client {
	path := filepath.Join(dataDir, SocketName)
	return &Client{http: &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		},
	}}}
}

// JSON asks for what is at path and decodes it into v. The error is
// ErrNotRunning where nobody listens.
func (c *Client) JSON(ctx context.Context, path string, q url.Values, v any) error {
	return c.decode(ctx, http.MethodGet, path, q, v)
}

// Change asks the appliance to change something and decodes how it stands then.
// Its errors are those of JSON.
func (c *Client) Change(ctx context.Context, path string, q url.Values, v any) error {
	return c.decode(ctx, http.MethodPost, path, q, v)
}

func (c *Client) decode(ctx context.Context, method, path string, q url.Values, v any) error {
	body, err := c.ask(ctx, method, path, q)
	if err != nil {
		return err
	}
	defer body.Close() // read to its end or given up
	return json.NewDecoder(body).Decode(v)
}

// Copy writes what is at path to w as it is.
func (c *Client) Copy(ctx context.Context, path string, q url.Values, w io.Writer) error {
	body, err := c.ask(ctx, http.MethodGet, path, q)
	if err != nil {
		return err
	}
	defer body.Close() // read to its end or given up
	_, err = io.Copy(w, body)
	return err
}

func (c *Client) ask(ctx context.Context, method, path string, q url.Values) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://control"+path+"?"+q.Encode(), nil)
	if err != nil {
		return nil, err
	}
	return c.do(req)
}

func (c *Client) do(req *http.Request) (io.ReadCloser, error) {
	res, err := c.http.Do(req)
	if errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, ErrNotRunning
	}
	if err != nil {
		return nil, fmt.Errorf("ask the appliance: %w", err)
	}
	if res.StatusCode == http.StatusOK {
		return res.Body, nil
	}
	defer res.Body.Close() // the answer is an error already
	var said struct{ Error string }
	if err := json.NewDecoder(io.LimitReader(res.Body, 1<<16)).Decode(&said); err != nil || said.Error == "" {
		said.Error = res.Status
	}
	return nil, errors.New(said.Error)
}
