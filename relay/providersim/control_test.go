package providersim

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// panel drives the control page as curl does.
type panel struct {
	t *testing.T
	p *Provider
	c http.Client
}

func controlled(t *testing.T, change func(*Options)) *panel {
	t.Helper()
	c := &panel{t: t}
	c.p = start(t, func(o *Options) {
		o.ControlAddr = "127.0.0.1:0"
		if change != nil {
			change(o)
		}
	})
	c.c.Transport = &http.Transport{DisableKeepAlives: true}
	c.c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return c
}

// do sends a request; header is "Name: value" lines.
func (c *panel) do(method, path, kind, body string, header ...string) (int, string) {
	c.t.Helper()
	r, err := http.NewRequestWithContext(c.t.Context(), method, "http://"+c.p.ControlAddr()+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	for _, h := range header {
		name, value, _ := strings.Cut(h, ": ")
		if r.Header.Set(name, value); name == "Host" {
			r.Host = value
		}
	}
	res, err := c.c.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	if res.Header.Get("X-Content-Type-Options") != "nosniff" || !strings.Contains(res.Header.Get("Content-Security-Policy"), "default-src 'none'") {
		c.t.Errorf("%s %s: headers %v", method, path, res.Header)
	}
	return res.StatusCode, string(b)
}

const form = "application/x-www-form-urlencoded"

func (c *panel) post(want int, path, body string) string {
	c.t.Helper()
	code, text := c.do("POST", path, form, body)
	if code != want {
		c.t.Errorf("POST %s %s: %d %s", path, body, code, text)
	}
	return text
}

func (c *panel) now() controlState {
	c.t.Helper()
	code, text := c.do("GET", "/state", "", "")
	var s controlState
	if err := json.Unmarshal([]byte(text), &s); code != 200 || err != nil {
		c.t.Fatalf("%d %v %s", code, err, text)
	}
	return s
}

func (c *panel) fault(name string) string {
	c.t.Helper()
	for _, f := range c.now().Faults {
		if f.Name == name {
			return f.Value
		}
	}
	c.t.Fatalf("no fault %s", name)
	return ""
}

func TestControlActions(t *testing.T) {
	c := controlled(t, nil)
	p := c.p
	// Switches: one, several, and none if one is faulty.
	if got := c.post(200, "/fault", "cut-after-dot=2"); got != "cut-after-dot is 2\n" {
		t.Errorf("%q", got)
	}
	c.post(200, "/fault", "hold-dot=30s&per-minute=6")
	c.post(400, "/fault", "per-minute=7&cut-after-dot=perhaps")
	c.post(400, "/fault", "nothing=on")
	c.post(400, "/fault", "doctype=on&doctype=off")
	c.post(400, "/fault", "")
	if p.Faults().HoldDot.Get().String() != "30s" || c.fault("per-minute") != "6" || c.fault("cut-after-dot") != "2" {
		t.Error("the switches did not follow")
	}
	c.post(200, "/fault", "hold-dot=0s&per-minute=0&cut-after-dot=off")

	c.post(200, "/behaviour", "address=x@pec.beta.example&behaviour=silent")
	c.post(400, "/behaviour", "address=x@pec.beta.example&behaviour=odd")
	if s := c.now(); len(s.Behaviours) != 1 || s.Behaviours[0] != (controlBehaviour{"x@pec.beta.example", "silent"}) {
		t.Errorf("%+v", s.Behaviours)
	}
	c.post(200, "/behaviour", "address=x@pec.beta.example&behaviour=")

	// What arrives.
	c.post(200, "/ordinary", url.Values{"mailbox": {alice}, "subject": {"perché"}}.Encode())
	c.post(200, "/certified", url.Values{"mailbox": {alice}, "from": {"a@pec.beta.example"}}.Encode())
	c.post(200, "/notice", url.Values{"mailbox": {alice}, "about": {"quota"}}.Encode())
	c.post(400, "/ordinary", "mailbox=nobody@x.example")
	c.post(400, "/certified", url.Values{"mailbox": {alice}, "from": {"nobody"}}.Encode())
	raw := "From: x@gamma.example\r\nSubject: intero\r\n\r\ntesto\r\n"
	if code, text := c.do("POST", "/ordinary?mailbox="+alice, "message/rfc822", raw); code != 200 {
		t.Errorf("%d %s", code, text)
	}
	var kinds []string
	for _, e := range inbox(p.Emitted(), alice) {
		kinds = append(kinds, string(e.Kind))
	}
	if got := strings.Join(kinds, " "); got != "anomaly transport ordinary anomaly" {
		t.Errorf("arrived: %s", got)
	}
	last := p.Emitted()[len(p.Emitted())-1]
	if !bytes.Contains(last.Raw, []byte(raw)) {
		t.Error("the message given whole is not inside")
	}

	// As in webmail.
	c.post(200, "/folder", url.Values{"mailbox": {alice}, "folder": {"INBOX.Ricevute"}}.Encode())
	c.post(200, "/move", url.Values{"mailbox": {alice}, "uid": {"1"}, "folder": {"INBOX.Ricevute"}}.Encode())
	c.post(400, "/move", url.Values{"mailbox": {alice}, "uid": {"1"}, "folder": {"INBOX.Ricevute"}}.Encode())
	c.post(400, "/move", url.Values{"mailbox": {alice}, "uid": {"x"}, "folder": {"INBOX.Ricevute"}}.Encode())
	before := c.now().Mailboxes[0].Folders
	c.post(200, "/renumber", "mailbox="+alice)
	after := c.now().Mailboxes[0].Folders
	if before[0].Messages != 3 || before[2].Messages != 1 || after[0].UIDValidity <= before[0].UIDValidity || after[2] != before[2] {
		t.Errorf("folders %+v, then %+v", before, after)
	}
	c.post(200, "/password", url.Values{"mailbox": {alice}, "password": {"nuova"}}.Encode())
	c.post(400, "/password", "mailbox="+alice)
	old, _ := p.login("pop3", alice, "segreta-a")
	if fresh, _ := p.login("pop3", alice, "nuova"); old != nil || fresh == nil {
		t.Error("the password did not change")
	}
	if code, text := c.do("GET", "/state", "", ""); code != 200 || strings.Contains(text, "nuova") || strings.Contains(text, "segreta") {
		t.Errorf("a password is in the state: %s", text)
	}
}

func TestControlShows(t *testing.T) {
	c := controlled(t, nil)
	submit(t, c.p, ordinary(bob+", "+ghost), bob, ghost)
	s := c.now()
	if len(s.Submissions) != 1 || s.Submissions[0].MsgID != "<pg.1@pec.alfa.example>" || !s.Submissions[0].Answered || len(s.Emitted) != len(c.p.Emitted()) || !s.Settled || len(s.Logins) != 1 {
		t.Errorf("%+v", s)
	}
	for i, e := range c.p.Emitted() {
		if s.Emitted[len(s.Emitted)-1-i].SHA256 != e.SHA256 {
			t.Error("the newest is not first")
		}
		if code, body := c.do("GET", "/emitted/"+e.SHA256+".eml", "", ""); code != 200 || body != string(e.Raw) {
			t.Errorf("emitted message %d: %d", i, code)
		}
	}
	sent := c.p.Ledger()[0]
	if code, body := c.do("GET", "/submitted/"+sent.SHA256+".eml", "", ""); code != 200 || body != string(sent.Raw) {
		t.Errorf("submission: %d", code)
	}
	for path, want := range map[string]int{
		"/emitted/" + strings.Repeat("0", 64) + ".eml": 404, "/emitted/../state": 301, "/submitted/x": 404, "/nothing": 404, "/fault": 405,
		"/state?last=0": 200, "/state?last=x": 400, "/state?last=99999999": 400, "/state?settle=1h": 400, "/state?settle=1ms": 200,
	} {
		if code, _ := c.do("GET", path, "", ""); code != want && !(want == 301 && code/100 == 3) {
			t.Errorf("GET %s: %d, want %d", path, code, want)
		}
	}
	// What strangers wrote is shown as text.
	evil := `<script>alert(1)</script>`
	submit(t, c.p, ordinary(bob, "X: y")+evil+"\r\n", bob)
	if err := c.p.Inject(alice, []byte("X-Riferimento-Message-ID: <"+evil+">\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	code, page := c.do("GET", "/", "", "")
	if code != 200 || strings.Contains(page, "<script") || !strings.Contains(page, "&lt;script&gt;alert(1)") {
		t.Errorf("page: %d\n%s", code, page)
	}
	for _, f := range c.p.Faults().Names() {
		if !strings.Contains(page, `name="`+f+`"`) {
			t.Errorf("the page has no form for %s", f)
		}
	}
	for path := range c.p.control.actions() {
		if !strings.Contains(page, `action="`+path+`"`) {
			t.Errorf("the page has no form for %s", path)
		}
	}
	// A browser comes back to the page.
	if code, _ := c.do("POST", "/fault", form, "doctype=on", "Accept: text/html,*/*", "Origin: http://"+c.p.ControlAddr(), "Sec-Fetch-Site: same-origin"); code != 303 {
		t.Errorf("a browser's form: %d", code)
	}
}

// Only this machine's own requests are taken, and only so much of them.
func TestControlGuard(t *testing.T) {
	c := controlled(t, func(o *Options) { o.MaxSize = 300 << 10 })
	_, port, err := net.SplitHostPort(c.p.ControlAddr())
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range []string{
		"Host: evil.example", "Host: evil.example:" + port, "Host: 127.0.0.1.evil.example", "Host: 192.0.2.1:" + port, "Host: localhost.evil.example", "Host: [2001:db8::1]",
		"Origin: http://evil.example", "Origin: null", "Origin: http://127.0.0.1:1", "Origin: https://" + c.p.ControlAddr(),
		"Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site",
	} {
		if code, text := c.do("POST", "/fault", form, "doctype=on", h); code != 403 || c.p.Faults().Doctype.Active() {
			t.Errorf("%s: %d %s", h, code, text)
		}
		if code, _ := c.do("GET", "/state", "", "", h); code != 403 && !strings.HasPrefix(h, "Sec-") {
			t.Errorf("%s: GET gives %d", h, code)
		}
	}
	for _, h := range []string{"Host: localhost:" + port, "Host: LOCALHOST", "Host: 127.1.2.3:" + port, "Host: [::1]:" + port, "Origin: http://" + c.p.ControlAddr(), "Sec-Fetch-Site: none"} {
		if code, text := c.do("POST", "/fault", form, "doctype=off", h); code != 200 {
			t.Errorf("%s: %d %s", h, code, text)
		}
	}
	if code, _ := c.do("POST", "/fault", "text/plain", "doctype=on"); code != 400 {
		t.Errorf("a form of another type: %d", code)
	}
	if code, text := c.do("POST", "/fault", form, "x="+strings.Repeat("y", maxControlForm)); code != 413 {
		t.Errorf("a large form: %d %s", code, text)
	}
	if code, text := c.do("POST", "/ordinary?mailbox="+alice, "message/rfc822", strings.Repeat("y", 300<<10+1)); code != 413 {
		t.Errorf("a large message: %d %s", code, text)
	}
	if code, text := c.do("POST", "/ordinary?mailbox="+alice, "message/rfc822", strings.Repeat("y", 299<<10)); code != 200 {
		t.Errorf("a message as large as may be: %d %s", code, text)
	}
}

func TestControlAddress(t *testing.T) {
	for addr, good := range map[string]bool{
		"127.0.0.1:0": true, "127.9.8.7:0": true, "localhost:8025": true, "[::1]:0": true,
		":8025": false, "0.0.0.0:8025": false, "[::]:0": false, "192.0.2.1:8025": false, "gateway.example:8025": false, "8025": false, "": false,
	} {
		if err := CheckControlAddr(addr); (err == nil) != good {
			t.Errorf("%s: %v", addr, err)
		}
	}
	if p, err := Start(Options{Domain: "pec.gestore.example", ControlAddr: "0.0.0.0:0"}); err == nil {
		p.Close()
		t.Error("the page listens for everybody")
	}
	if p := start(t, nil); p.ControlAddr() != "" {
		t.Errorf("a page that nobody asked for at %s", p.ControlAddr())
	}
}

// Connections are bounded, and those that are open when the provider closes end
// with it: goleak is the judge.
func TestControlConnections(t *testing.T) {
	c := controlled(t, nil)
	var open []net.Conn
	for range maxControlConns {
		conn, err := net.Dial("tcp", c.p.ControlAddr())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		// An answer shows that the connection is counted.
		fmt.Fprintf(conn, "GET /state?last=x HTTP/1.1\r\nHost: localhost\r\n\r\n")
		if _, err := conn.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		open = append(open, conn)
	}
	over, err := net.Dial("tcp", c.p.ControlAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer over.Close()
	fmt.Fprintf(over, "GET /state HTTP/1.1\r\nHost: localhost\r\n\r\n")
	if n, err := over.Read(make([]byte, 1)); err == nil {
		t.Errorf("one too many got %d bytes", n)
	}
	fmt.Fprintf(open[0], "POST /ordinary?mailbox=%s HTTP/1.1\r\nHost: localhost\r\nContent-Type: message/rfc822\r\nContent-Length: 1000\r\n\r\nhalf", alice)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- c.p.Close() }()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-deadline(t).Done():
		t.Error("Close does not end")
	case <-ctx.Done():
	}
}
