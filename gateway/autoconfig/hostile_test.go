package autoconfig

import (
	"bufio"
	"encoding/xml"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// What is no plain request of Autodiscover gets a refusal that repeats nothing
// of it, and the service goes on.
func TestHostileBodies(t *testing.T) {
	s := start(t, settings("it"), nil)
	const head = `<?xml version="1.0"?>`
	deep := strings.Repeat("<a>", 20000) + strings.Repeat("</a>", 20000)
	wide := strings.Repeat("<a/>", 15000)
	for _, c := range []struct {
		name, body string
		status     int
	}{
		{"nothing", "", 400},
		{"no XML", "EMailAddress=a@pec.example.org", 400},
		{"cut", question("a@pec.example.org")[:200], 400},
		{"entity of a file", head + `<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><Autodiscover><Request><EMailAddress>&e;@pec.example.org</EMailAddress></Request></Autodiscover>`, 400},
		{"entity of a URL", head + `<!DOCTYPE x SYSTEM "http://evil.example/x.dtd"><Autodiscover><Request><EMailAddress>a@pec.example.org</EMailAddress></Request></Autodiscover>`, 400},
		{"laughs", head + `<!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><Autodiscover><Request><EMailAddress>&b;</EMailAddress></Request></Autodiscover>`, 400},
		{"entity without type", head + `<Autodiscover><Request><EMailAddress>&e;</EMailAddress></Request></Autodiscover>`, 400},
		{"deep", head + "<Autodiscover>" + deep[:30000], 400},
		{"deep and whole", head + "<Autodiscover>" + strings.Repeat("<a>", 9) + strings.Repeat("</a>", 9) + "</Autodiscover>", 400},
		{"wide", head + "<Autodiscover>" + wide[:50000] + "</Autodiscover>", 400},
		{"crossed", head + "<Autodiscover><Request></Autodiscover></Request>", 400},
		{"two roots", question("a@pec.example.org") + "<Autodiscover></Autodiscover>", 400},
		{"another root", "<Autodiscovery/>", 400},
		{"charset", `<?xml version="1.0" encoding="utf-7"?><Autodiscover/>`, 400},
		{"NUL", "<Autodiscover>\x00</Autodiscover>", 400},
		{"64 KiB and one", question(strings.Repeat("a", maxBody)), 413},
		{"10 MB", strings.Repeat("<Autodiscover>", 10<<20/14), 413},
	} {
		// Written by hand: a client that cannot send all of it must still hear why.
		status, body := s.raw(t, fmt.Sprintf("POST /autodiscover/autodiscover.xml HTTP/1.1\r\nHost: h.example\r\nContent-Length: %d\r\n\r\n", len(c.body)), c.body)
		if status != c.status || strings.Contains(body, "pec.example.org") || strings.Contains(body, "root:") {
			t.Errorf("%s: status %d, want %d\n%.300s", c.name, status, c.status, body)
		}
	}
	if res, body := s.ask("POST", pathAutodiscover, question("a@pec.example.org")); res.StatusCode != 200 {
		t.Errorf("after all that: %s\n%s", res.Status, body)
	}
}

// raw sends a header and a body over a connection of its own and reads the answer.
func (s *service) raw(t *testing.T, header, body string) (status int, text string) {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close() // its end is not what is tested
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, _ = io.WriteString(c, header+body) // cut where the server wants no more
	}()
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(res.Body) // cut where the server read less than was sent
	_ = c.Close()
	<-sent
	return res.StatusCode, string(b)
}

// Requests that are XML but ask for something else are refused as the protocol
// says (MS-OXDSCLI section 2.2.4.1.1.2).
func TestAutodiscoverRefusals(t *testing.T) {
	s := start(t, settings("it"), nil)
	phone := strings.ReplaceAll(question("a@pec.example.org"), "outlook/responseschema/2006a", "mobilesync/responseschema/2006")
	for body, code := range map[string]int{
		phone:                        codeSchema,
		question(""):                 codeInvalid,
		question("nobody"):           codeInvalid,
		question(`a"b@example.org`):  codeInvalid,
		question("a&lt;b@x.example"): codeInvalid,
		"<Autodiscover/>":            codeInvalid,
	} {
		res, text := s.ask("POST", pathAutodiscover, body)
		var got autodiscover
		if err := xml.Unmarshal([]byte(text), &got); err != nil || res.StatusCode != 200 || got.Response.Error == nil || got.Response.Error.Code != code {
			t.Errorf("%s, %v, want %d for\n%s\n%s", res.Status, err, code, body, text)
		}
	}
	// Clients that name no schema, or write a byte order mark, are served.
	for _, body := range []string{
		"\xef\xbb\xbf" + question("a@pec.example.org"),
		"<Autodiscover><Request><EMailAddress> a@pec.example.org </EMailAddress></Request></Autodiscover>",
		`<p:Autodiscover xmlns:p="x"><p:Request><p:EMailAddress>a@pec.example.org</p:EMailAddress></p:Request></p:Autodiscover>`,
	} {
		if res, text := s.ask("POST", pathAutodiscover, body); res.StatusCode != 200 || !strings.Contains(text, "/a@pec.example.org</LoginName>") {
			t.Errorf("%s\n%s\nto\n%s", res.Status, text, body)
		}
	}
}

// Only what each path needs is let in.
func TestMethods(t *testing.T) {
	s := start(t, settings("it"), nil)
	for _, c := range []struct{ method, path, allow string }{
		{"GET", pathAutodiscover, "POST"}, {"HEAD", pathAutodiscover, "POST"},
		{"POST", pathThunderbird, "GET, HEAD"}, {"POST", ProfilePath, "GET, HEAD"},
		{"PUT", pathAutodiscover, "GET, HEAD, POST"}, {"DELETE", pathThunderbird, "GET, HEAD, POST"},
		{"OPTIONS", pathThunderbird, "GET, HEAD, POST"}, {"TRACE", "/", "GET, HEAD, POST"}, {"PROPFIND", "/", "GET, HEAD, POST"},
	} {
		res, _ := s.ask(c.method, c.path, "")
		if res.StatusCode != 405 || res.Header.Get("Allow") != c.allow || !res.Close {
			t.Errorf("%s %s: %s, Allow %q, closed %t", c.method, c.path, res.Status, res.Header.Get("Allow"), res.Close)
		}
	}
	for _, request := range []string{"OPTIONS * HTTP/1.1", "CONNECT evil.example:25 HTTP/1.1"} {
		if status, _ := s.raw(t, request+"\r\nHost: h.example\r\n\r\n", ""); status != 405 {
			t.Errorf("%s: %d", request, status)
		}
	}
}

// Nothing of a request comes back but a plain address, a login, or a host name.
func TestNothingIsReflected(t *testing.T) {
	s := start(t, settings("it"), nil)
	for _, evil := range []string{`"><script>x</script>@pec.example.org`, "a@pec.example.org\r\nX-Evil: 1", "a@<b>.example", "a@b.example&c", "\x00@b.example", strings.Repeat("a", 200) + "@b.example"} {
		res, body := s.ask("GET", pathThunderbird+"?emailaddress="+url.QueryEscape(evil), "")
		if res.StatusCode != 200 || strings.Contains(body, "script") || strings.Contains(body, "b.example") || res.Header.Get("X-Evil") != "" {
			t.Errorf("%q: %s\n%s", evil, res.Status, body)
		}
		for _, q := range []string{"emailaddress=", "login="} {
			if res, body := s.ask("GET", ProfilePath+"?"+q+url.QueryEscape(evil), ""); res.StatusCode != 400 || strings.Contains(body, "example") {
				t.Errorf("%s%q: %s\n%s", q, evil, res.Status, body)
			}
		}
	}
	// & and ' may stand in an address; they come back as XML writes them.
	_, body := s.ask("GET", ProfilePath+"?emailaddress="+url.QueryEscape("a&b'c@pec.example.org"), "")
	if mail := mailOf(t, body); mail["EmailAddress"] != "a&b'c@pec.example.org" {
		t.Errorf("address %v", mail["EmailAddress"])
	}
	status, body := s.raw(t, "GET "+pathThunderbird+" HTTP/1.1\r\nHost: <b>.example\r\n\r\n", "")
	if strings.Contains(body, "<b>") {
		t.Errorf("status %d, %s", status, body)
	}
}

// Two addresses of one domain get the same answer, whoever they are: the service
// has nobody to look up.
func TestNothingTellsWhoExists(t *testing.T) {
	s := start(t, settings("it"), nil)
	asks := []func(address string) string{
		func(a string) string { _, b := s.ask("GET", pathThunderbird+"?emailaddress="+a, ""); return b },
		func(a string) string { _, b := s.ask("POST", pathAutodiscover, question(a)); return b },
	}
	for i, ask := range asks {
		one := strings.ReplaceAll(ask("protocollo@pec.example.org"), "protocollo@", "X@")
		two := strings.ReplaceAll(ask("nobody@pec.example.org"), "nobody@", "X@")
		if one != two || !strings.Contains(one, "pecgate.example.org") {
			t.Errorf("%d: two answers\n%s\n%s", i, one, two)
		}
	}
}

// A header that is too long, or that does not come, ends the connection.
func TestHeaderBounds(t *testing.T) {
	s := start(t, settings("it"), func(s *Server) { s.http.ReadHeaderTimeout = 50 * time.Millisecond })
	if status, _ := s.raw(t, "GET / HTTP/1.1\r\nHost: h.example\r\nX: "+strings.Repeat("x", 16<<10)+"\r\n\r\n", ""); status != 431 {
		t.Errorf("long header: %d", status)
	}
	c, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close() // its end is what is waited for
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHo"); err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(time.Minute))
	if _, err := io.Copy(io.Discard, c); err != nil {
		t.Errorf("a slow header is waited for: %v", err)
	}
}

// A body that does not come ends the connection, too.
func TestSlowBody(t *testing.T) {
	s := start(t, settings("it"), func(s *Server) { s.http.ReadTimeout = 50 * time.Millisecond })
	if status, _ := s.raw(t, "POST "+pathAutodiscover+" HTTP/1.1\r\nHost: h.example\r\nContent-Length: 1000\r\n\r\n", "<Auto"); status != 400 {
		t.Errorf("slow body: %d", status)
	}
}

// So many connections are open at a time and no more; one that ends makes room.
func TestConnectionBound(t *testing.T) {
	s := start(t, settings("it"), nil)
	address := strings.TrimPrefix(s.url, "http://")
	dial := func() (net.Conn, bool) {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(30 * time.Second))
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: h.example\r\n\r\n"); err != nil {
			return c, false
		}
		_, err = http.ReadResponse(bufio.NewReader(c), nil)
		return c, err == nil
	}
	var held []net.Conn
	for range maxConns {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close() // at the end of the test at the latest
		held = append(held, c)
	}
	c, served := dial()
	_ = c.Close()
	if served {
		t.Fatal("one more connection than allowed was served")
	}
	_ = held[0].Close()
	for end := time.Now().Add(30 * time.Second); !served; {
		if time.Now().After(end) {
			t.Fatal("the place of a connection that ended is not given away")
		}
		c, served = dial()
		_ = c.Close()
	}
}

func FuzzDiscovery(f *testing.F) {
	f.Add([]byte(question("a@pec.example.org")))
	f.Add([]byte(`<!DOCTYPE x [<!ENTITY e "x">]><Autodiscover>&e;</Autodiscover>`))
	f.Add([]byte("<Autodiscover><Request><EMailAddress><![CDATA[a@b.example]]></EMailAddress></Request></Autodiscover>"))
	f.Fuzz(func(t *testing.T, b []byte) {
		q, err := readDiscovery(b)
		if err != nil {
			return
		}
		if len(q.address)+len(q.schema) > 4*len(b) {
			t.Errorf("%d bytes became %d", len(b), len(q.address)+len(q.schema))
		}
		if domainOf(q.address) == "" {
			return
		}
		out, err := outlook(settings("it"), q.address)
		var back autodiscover
		if err != nil || xml.Unmarshal(out, &back) != nil || !strings.HasSuffix(back.Response.Account.Protocols[0].LoginName, "/"+q.address) {
			t.Errorf("%q: %v\n%s", q.address, err, out)
		}
	})
}
