package autoconfig

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"pecgate/mailbox/events"
)

var update = flag.Bool("update", false, "write the golden files anew; read the difference before it is kept")

const goldens = "../../testdata/golden/autoconfig"

func settings(language string) Settings {
	return Settings{Hostname: "pecgate.example.org", Language: language, IMAPS: 993, Submissions: 465, Submission: 587}
}

// question is the request of Outlook.
func question(address string) string {
	return `<?xml version="1.0" encoding="utf-8"?>
<Autodiscover xmlns="http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006">
  <Request>
    <EMailAddress>` + address + `</EMailAddress>
    <AcceptableResponseSchema>http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a</AcceptableResponseSchema>
  </Request>
</Autodiscover>`
}

// service is a running server and its log.
type service struct {
	t   *testing.T
	url string
	log *lines
	*Server
}

type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *lines) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b.Reset()
}

// start serves over plain HTTP; change may change the server before.
func start(t *testing.T, s Settings, change func(*Server)) *service {
	t.Helper()
	log := new(lines)
	srv, err := New(Options{
		Settings: s, Events: events.New(slog.New(slog.NewTextHandler(log, nil))),
		Now: func() time.Time { return time.Date(2026, 11, 21, 9, 30, 15, 0, time.UTC) },
	})
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(srv)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serve(t, srv, ln)
	return &service{t: t, url: "http://" + ln.Addr().String(), log: log, Server: srv}
}

// serve serves until the end of the test, and waits for it.
func serve(t *testing.T, srv *Server, ln net.Listener) {
	t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(ln) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = srv.Shutdown(ctx) // what a test left open is cut
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Errorf("the service ended with %v", err)
		}
	})
}

// ask sends a request and gives the answer.
func (s *service) ask(method, path, body string) (*http.Response, string) {
	s.t.Helper()
	req, err := http.NewRequest(method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	return s.do(req)
}

func (s *service) do(req *http.Request) (*http.Response, string) {
	s.t.Helper()
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close() // read to its end
	b, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return res, string(b)
}

// Every format in both languages is what stands in its golden file.
func TestGoldenAnswers(t *testing.T) {
	const address = "protocollo@pec.example.org"
	for _, language := range []string{"it", "en"} {
		s := start(t, settings(language), nil)
		for _, c := range []struct{ golden, method, path, body, kind string }{
			{"thunderbird-" + language + ".xml", "GET", "/mail/config-v1.1.xml?emailaddress=" + address, "", "text/xml; charset=utf-8"},
			{"autodiscover-" + language + ".xml", "POST", "/autodiscover/autodiscover.xml", question(address), "text/xml; charset=utf-8"},
			{"mailbox-" + language + ".mobileconfig", "GET", "/pecgate.mobileconfig?login=mario&emailaddress=" + address, "", "application/x-apple-aspen-config"},
			{"anybody-" + language + ".mobileconfig", "GET", "/pecgate.mobileconfig", "", "application/x-apple-aspen-config"},
		} {
			res, body := s.ask(c.method, c.path, c.body)
			if res.StatusCode != 200 || res.Header.Get("Content-Type") != c.kind {
				t.Errorf("%s: %s, %s", c.golden, res.Status, res.Header.Get("Content-Type"))
			}
			name := filepath.Join(goldens, c.golden)
			if *update {
				if err := os.WriteFile(name, []byte(body), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if body != string(want) {
				t.Errorf("%s is\n%s\nwanted\n%s", c.golden, body, want)
			}
		}
	}
}

// Each client finds its answer under every way that it writes the path.
func TestPaths(t *testing.T) {
	s := start(t, settings("it"), nil)
	_, thunderbird := s.ask("GET", "/mail/config-v1.1.xml?emailaddress=a@pec.example.org", "")
	for _, path := range []string{"/.well-known/autoconfig/mail/config-v1.1.xml", "/mail/config-v1.1.xml"} {
		if res, body := s.ask("GET", path+"?emailaddress=a%40pec.example.org", ""); res.StatusCode != 200 || body != thunderbird {
			t.Errorf("%s: %s\n%s", path, res.Status, body)
		}
		if res, body := s.ask("HEAD", path, ""); res.StatusCode != 200 || body != "" || res.ContentLength <= 0 {
			t.Errorf("HEAD %s: %s, %q", path, res.Status, body)
		}
	}
	_, outlook := s.ask("POST", "/autodiscover/autodiscover.xml", question("a@pec.example.org"))
	for _, path := range []string{"/Autodiscover/Autodiscover.xml", "/AutoDiscover/AutoDiscover.xml", "/AUTODISCOVER/AUTODISCOVER.XML", "/autodiscover/Autodiscover.xml"} {
		if res, body := s.ask("POST", path, question("a@pec.example.org")); res.StatusCode != 200 || body != outlook || !strings.Contains(body, "<Type>IMAP</Type>") {
			t.Errorf("%s: %s\n%s", path, res.Status, body)
		}
	}
	for _, path := range []string{"/", "/mail/", "/autodiscover/autodiscover.json", "/mail/config-v1.1.xml/", "/../etc/passwd", "/pecgate.yaml"} {
		if res, _ := s.ask("GET", path, ""); res.StatusCode != 404 {
			t.Errorf("%s: %s", path, res.Status)
		}
	}
}

// The domain is that of the address, else that of the host name, else our own.
func TestAskedDomain(t *testing.T) {
	s := start(t, settings("it"), nil)
	for _, c := range []struct{ query, host, want string }{
		{"?emailaddress=a@PEC.Example.org", "autoconfig.other.example", "pec.example.org"},
		{"", "autoconfig.pec.example.org", "pec.example.org"},
		{"?emailaddress=", "AutoConfig.pec.example.org:443", "pec.example.org"},
		{"?emailaddress=%25EMAILADDRESS%25", "pec.example.org", "pec.example.org"},
		{"?emailaddress=nobody", "autodiscover.pec.example.org", "pec.example.org"},
		{"", "127.0.0.1:8443", "pecgate.example.org"},
		{"", "[::1]:8443", "pecgate.example.org"},
		{"", "autoconfig.example", "autoconfig.example"},
	} {
		req, err := http.NewRequest("GET", s.url+pathThunderbird+c.query, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = c.host
		_, body := s.do(req)
		var got clientConfig
		if err := xml.Unmarshal([]byte(body), &got); err != nil || got.Provider.Domain != c.want {
			t.Errorf("%q at %s: domain %q, want %q (%v)", c.query, c.host, got.Provider.Domain, c.want, err)
		}
	}
}

// What is told fits the listeners that there are.
func TestListenersThatThereAre(t *testing.T) {
	for _, c := range []struct {
		settings  Settings
		smtp      []int // Thunderbird's
		one       int   // Outlook's and Apple's
		encrypted string
	}{
		{settings("it"), []int{465, 587}, 465, "SSL"},
		{Settings{Hostname: "h.example", IMAPS: 1993, Submission: 1587}, []int{1587}, 1587, "TLS"},
		{Settings{Hostname: "h.example", IMAPS: 1993, Submissions: 1465}, []int{1465}, 1465, "SSL"},
	} {
		s := start(t, c.settings, nil)
		var bird clientConfig
		_, body := s.ask("GET", pathThunderbird, "")
		if err := xml.Unmarshal([]byte(body), &bird); err != nil {
			t.Fatal(err)
		}
		var ports []int
		for _, o := range bird.Provider.Outgoing {
			ports = append(ports, o.Port)
			if (o.SocketType == "STARTTLS") != (o.Port == c.settings.Submission) || o.Global == nil || *o.Global {
				t.Errorf("outgoing %+v", o)
			}
		}
		if in := bird.Provider.Incoming; len(in) != 1 || in[0].Port != c.settings.IMAPS || in[0].SocketType != "SSL" || !equal(ports, c.smtp) {
			t.Errorf("incoming %+v, outgoing %v", in, ports)
		}
		var out autodiscover
		_, body = s.ask("POST", pathAutodiscover, question("a@pec.example.org"))
		if err := xml.Unmarshal([]byte(body), &out); err != nil || out.Response.Account == nil || len(out.Response.Account.Protocols) != 2 {
			t.Fatalf("%v\n%s", err, body)
		}
		if p := out.Response.Account.Protocols[1]; p.Type != "SMTP" || p.Port != c.one || p.Encryption != c.encrypted {
			t.Errorf("Outlook's SMTP is %+v", p)
		}
		_, body = s.ask("GET", ProfilePath, "")
		if mail := mailOf(t, body); mail["OutgoingMailServerPortNumber"] != c.one || mail["IncomingMailServerPortNumber"] != c.settings.IMAPS {
			t.Errorf("Apple's account is %v", mail)
		}
	}
	for _, s := range []Settings{{Hostname: "h.example", IMAPS: 993}, {Hostname: "h.example", Submission: 587}, {IMAPS: 993, Submissions: 465}} {
		if _, err := New(Options{Settings: s, Events: events.Discard()}); err == nil {
			t.Errorf("%+v is served", s)
		}
	}
}

func equal(a, b []int) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// A log line tells the domain and nothing else of the person; no line holds what
// else was asked.
func TestLogLine(t *testing.T) {
	s := start(t, settings("it"), nil)
	s.ask("GET", pathThunderbird+"?emailaddress=mario.rossi@pec.example.org", "")
	s.ask("GET", ProfilePath+"?login=mario&emailaddress=rossi@pec.example.org", "")
	s.ask("POST", pathAutodiscover, question("rossi@pec.example.org"))
	s.ask("GET", "/rossi", "")
	got := s.log.String()
	for _, line := range []string{"format=thunderbird domain=pec.example.org status=200", "format=apple domain=pec.example.org status=200",
		"format=autodiscover domain=pec.example.org status=200", `format=none domain="" status=404`} {
		if strings.Count(got, line) != 1 {
			t.Errorf("not one line with %q in\n%s", line, got)
		}
	}
	for _, bad := range []string{"rossi", "mario", "127.0.0.1"} {
		if strings.Contains(got, bad) {
			t.Errorf("the log holds %s:\n%s", bad, got)
		}
	}
}
