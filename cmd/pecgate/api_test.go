package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"pecgate/configs"
	"pecgate/gateway/admin/api"
	"pecgate/gateway/auth"
	"pecgate/relay"
)

// service is the HTTP service of a house, as an application sees it.
type service struct {
	t      testing.TB
	base   string
	token  string
	client *http.Client
	header http.Header
}

// listenForApplications writes api and applications into the configuration of a house,
// that mario and a guest use, and returns their tokens.
func (h *house) listenForApplications(more string) (mario, guest *service) {
	h.t.Helper()
	listen := free(h.t)
	config, err := os.ReadFile(h.config())
	if err != nil {
		h.t.Fatal(err)
	}
	h.write("pecgate.yaml", string(config)+fmt.Sprintf("api: {listen: %q}\n", listen))
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: h.roots()}}}
	h.t.Cleanup(client.CloseIdleConnections)
	tokens, hashes := [2]string{}, [2]string{}
	for i := range tokens {
		tokens[i], hashes[i] = auth.NewToken()
	}
	h.policy += fmt.Sprintf("applications:\n  - {name: fatture, token: %s, user: mario, mailboxes: [%s], rate: 60000%s}\n  - {name: guest, token: %s, user: lucia, mailboxes: [%s], networks: [127.0.0.1/32]}\n",
		hashes[0], boxA, more, hashes[1], boxB)
	h.writePolicy(h.policy)
	of := func(token string) *service {
		return &service{t: h.t, base: "https://" + listen, token: token, client: client, header: http.Header{}}
	}
	return of(tokens[0]), of(tokens[1])
}

// ask returns status and body of an answer, and decodes JSON into v where there is one.
func (s *service) ask(method, path, kind string, body []byte, v any) (int, string, http.Header) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, s.base+path, bytes.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header = s.header.Clone()
	if s.token != "" {
		req.Header.Set("Authorization", "Bearer "+s.token)
	}
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	res, err := s.client.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	b, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	_ = res.Body.Close()
	s.documented(method, path, res, b)
	if v != nil && json.Unmarshal(b, v) != nil {
		s.t.Fatalf("%s %s: %s\n%s", method, path, res.Status, b)
	}
	return res.StatusCode, string(b), res.Header
}

// documented compares an answer with what the OpenAPI document says of it.
func (s *service) documented(method, path string, res *http.Response, body []byte) {
	s.t.Helper()
	doc := api.Document()
	path, _, _ = strings.Cut(path, "?")
	var op *huma.Operation
	for template, item := range doc.Paths {
		if regexp.MustCompile("^" + regexp.MustCompile(`\\{[^}]*\\}`).ReplaceAllString(regexp.QuoteMeta(template), "[^/]+") + "$").MatchString(path) {
			if o := map[string]*huma.Operation{"GET": item.Get, "POST": item.Post}[method]; o != nil && (op == nil || !strings.Contains(template, "{")) {
				op = o
			}
		}
	}
	if op == nil {
		return // there is no such thing, and the answer says so
	}
	said := op.Responses[strconv.Itoa(res.StatusCode)]
	if said == nil {
		s.t.Errorf("%s %s: the document knows nothing of %s", method, path, res.Status)
		return
	}
	media := said.Content[res.Header.Get("Content-Type")]
	if media == nil {
		s.t.Errorf("%s %s: the document knows nothing of %s with %s", method, path, res.Status, res.Header.Get("Content-Type"))
		return
	}
	if !strings.Contains(res.Header.Get("Content-Type"), "json") {
		return
	}
	var v any
	if err := json.Unmarshal(body, &v); err != nil {
		s.t.Errorf("%s %s: %v", method, path, err)
		return
	}
	found := &huma.ValidateResult{}
	huma.Validate(doc.Components.Schemas, media.Schema, huma.NewPathBuffer([]byte{}, 0), huma.ModeReadFromServer, v, found)
	for _, e := range found.Errors {
		s.t.Errorf("%s %s: not as the document says: %v\n%s", method, path, e, body)
	}
}

// with is the service with one more header.
func (s *service) with(name, value string) *service {
	c := *s
	c.header = s.header.Clone()
	c.header.Set(name, value)
	return &c
}

func (s *service) send(l api.Letter) (int, api.Accepted, string) {
	s.t.Helper()
	body, err := json.Marshal(l)
	if err != nil {
		s.t.Fatal(err)
	}
	code, text, _ := s.ask("POST", "/v1/messages", "application/json", body, nil)
	var a api.Accepted
	if code == http.StatusAccepted {
		if err := json.Unmarshal([]byte(text), &a); err != nil {
			s.t.Fatal(err)
		}
	}
	return code, a, text
}

// An application submits a letter with an attachment, asks the same again, and reads the
// outcome, the receipts and what was sent.
func TestAnApplicationSendsAndReadsTheOutcome(t *testing.T) {
	h := newHouse(t, mailboxText(boxA, false, "", "mario"), mailboxText(boxB, false, "", "lucia"))
	app, guest := h.listenForApplications("")
	h.start()
	letter := api.Letter{Mailbox: boxA, To: []string{boxB}, Subject: "Perché no? Àèìòù", Text: "ciao\n.\nfine",
		Attachments: []api.Attachment{{Name: "perché no.pdf", Type: "application/pdf", Content: bytes.Repeat([]byte{0, 1, 2, 255}, 1000)}}}
	keyed := app.with("Idempotency-Key", "fattura-1")
	code, first, text := keyed.send(letter)
	if code != http.StatusAccepted || first.State != "queued" || first.ID == "" {
		t.Fatalf("%d %s", code, text)
	}
	for range 3 {
		if code, again, text := keyed.send(letter); code != http.StatusAccepted || again.ID != first.ID || again.State != "known" {
			t.Fatalf("again: %d %s", code, text)
		}
	}
	other := letter
	other.Subject = "altro"
	if code, _, text := keyed.send(other); code != http.StatusConflict {
		t.Errorf("another letter under the same key: %d %s", code, text)
	}
	if code, _, text := guest.with("Idempotency-Key", "fattura-1").send(api.Letter{Mailbox: boxB, To: []string{boxA}, Subject: "x", Text: "y"}); code != http.StatusAccepted {
		t.Errorf("another application with the same key: %d %s", code, text)
	}
	var shown relay.Shown
	h.until("the delivery", func() bool {
		code, text, _ := app.ask("GET", first.Status, "", nil, &shown)
		if code != http.StatusOK {
			t.Fatalf("%d %s", code, text)
		}
		return shown.State == relay.Accepted && shown.Recipients[0].State == relay.Delivered
	})
	h.until("the guest's letter left", func() bool { return len(h.provider.Ledger()) >= 2 })
	var list struct{ Receipts []api.Receipt }
	if code, text, _ := app.ask("GET", first.Status+"/receipts", "", nil, &list); code != http.StatusOK || len(list.Receipts) != 2 {
		t.Fatalf("%d %s", code, text)
	}
	for _, r := range list.Receipts {
		code, raw, header := app.ask("GET", r.EML, "", nil, nil)
		sum := sha256.Sum256([]byte(raw))
		if code != http.StatusOK || hex.EncodeToString(sum[:]) != r.SHA256 || int64(len(raw)) != r.Size || header.Get("Content-Type") != "message/rfc822" {
			t.Errorf("%+v: %d, %d bytes, %v", r, code, len(raw), header)
		}
	}
	code, raw, _ := app.ask("GET", first.Status+"/original", "", nil, nil)
	var sent string
	for _, m := range h.provider.Ledger() {
		if strings.Contains(string(m.Raw), "From: "+boxA) {
			sent = string(m.Raw)
		}
	}
	if code != http.StatusOK || raw != sent || !strings.Contains(raw, "=?utf-8?q?Perch") {
		t.Errorf("%d, original\n%s\nsent\n%s", code, raw, sent)
	}
	// The guest may not read it, and hears the same as of what there is not.
	_, none, _ := guest.ask("GET", "/v1/messages/01NONE", "", nil, nil)
	for _, path := range []string{"", "/receipts", "/original", "/receipts/" + list.Receipts[0].SHA256} {
		if code, text, _ := guest.ask("GET", first.Status+path, "", nil, nil); code != http.StatusNotFound || text != none {
			t.Errorf("a stranger reads %s: %d %s", path, code, text)
		}
	}
	// A whole message, in its own bytes.
	eml := strings.ReplaceAll(mail(boxA, boxB, "intero", "whole@alfa.example"), "\r\n.", "\r\n..")
	if code, text, _ := app.ask("POST", "/v1/messages/eml?mailbox="+boxA, "message/rfc822", []byte(eml), nil); code != http.StatusAccepted {
		t.Errorf("%d %s", code, text)
	}
	if code, text, _ := app.ask("POST", "/v1/messages/eml?mailbox="+boxA, "message/rfc822", []byte(strings.ReplaceAll(eml, "\r\n", "\n")), nil); code != http.StatusUnprocessableEntity {
		t.Errorf("bare LF: %d %s", code, text)
	}
	h.until("the whole message", func() bool { s, err := h.shown("whole@alfa.example"); return err == nil && s.State == relay.Accepted })
	if n := len(h.provider.Ledger()); n != 3 {
		t.Errorf("%d messages left", n)
	}
	if strings.Contains(h.log.String(), app.token) || strings.Contains(h.log.String(), "fattura-1") {
		t.Error("a secret in the log")
	}
}

// Who has no token hears nothing; who has one, no more than its user and its line let it.
func TestApplicationsAreBounded(t *testing.T) {
	h := newHouse(t, mailboxText(boxA, true, "", "mario"), mailboxText(boxB, false, "", "lucia"))
	app, guest := h.listenForApplications("")
	h.serving()
	letter := api.Letter{Mailbox: boxA, To: []string{boxB}, Subject: "prova", Text: "ciao"}
	stranger := *app
	for _, token := range []string{"", "x", guest.token[1:], strings.ToUpper(app.token)} {
		stranger.token = token
		if code, text, header := stranger.ask("GET", "/v1/messages/x", "", nil, nil); code != http.StatusUnauthorized || header.Get("WWW-Authenticate") == "" {
			t.Errorf("%d %s", code, text)
		}
	}
	// Of others' mailboxes, and those that there are not, one answer.
	from := letter
	from.Mailbox = boxA
	_, _, one := guest.send(from)
	from.Mailbox = "nessuno@alfa.example"
	code, _, two := guest.send(from)
	if code != http.StatusForbidden || one != two {
		t.Errorf("%d\n%s\n%s", code, one, two)
	}
	// The PIN: none, wrong, right; in the way that the mailbox takes.
	if code, _, text := app.with("Accept-Language", "it-IT, en;q=0.5").send(letter); code != http.StatusForbidden || !strings.Contains(text, "serve il PIN") || !strings.Contains(text, "550 5.7.1") {
		t.Errorf("without PIN: %d %s", code, text)
	}
	if code, _, text := app.with("X-Pecgate-PIN", "2468").send(letter); code != http.StatusForbidden || !strings.Contains(text, "PIN") {
		t.Errorf("in a way that the mailbox does not take: %d %s", code, text)
	}
	h.writePolicy(strings.Replace(h.policy, "user: mario, mailboxes", "pin: waived, user: mario, mailboxes", 1))
	h.until("the waiver", func() bool { code, _, _ := app.send(letter); return code == http.StatusAccepted })
	// What is too large, unknown or no request at all.
	for _, c := range []struct {
		method, path, kind, body string
		code                     int
	}{
		{"GET", "/", "", "", 404}, {"GET", "/v1/messages", "", "", 405}, {"DELETE", "/v1/messages/x", "", "", 405},
		{"POST", "/v1/messages", "application/json", "{", 400}, {"POST", "/v1/messages", "application/json", "{}", 422},
		{"POST", "/v1/messages", "application/json", `{"mailbox":"` + boxA + `","to":["a b"],"subject":"x","text":"y"}`, 422},
		{"POST", "/v1/messages", "application/json", `{"mailbox":"` + boxA + `","to":["a@b.example"],"subject":"x\r\nBcc: c@d.example","text":"y"}`, 422},
		{"GET", "/v1/messages/" + strings.Repeat("x", 2000), "", "", 422}, {"GET", "/v1/messages/..%2F..%2Fx", "", "", 404},
	} {
		var p api.Problem
		code, text, header := app.ask(c.method, c.path, c.kind, []byte(c.body), &p)
		if code != c.code || p.Status != c.code || p.Detail == "" || header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s %s: %d %s %s", c.method, c.path, code, header.Get("Content-Type"), text)
		}
	}
	h.writePolicy(strings.Replace(h.policy, "127.0.0.1/32", "192.0.2.1/32", 1))
	h.until("the network", func() bool {
		code, _, _ := guest.ask("GET", "/v1/messages/x", "", nil, nil)
		return code == http.StatusUnauthorized
	})
}

// One request is a letter for each of many, who see no other.
func TestAnApplicationSendsToMany(t *testing.T) {
	h := newHouse(t, mailboxText(boxA, false, "    limits: {recipients: 10, product: 1MB}\n", "mario"), mailboxText(boxB, false, "", "lucia"))
	app, _ := h.listenForApplications("")
	h.start()
	const n = 40
	to, _ := circular(n)
	letter := api.Letter{Mailbox: boxA, To: to, Subject: "Circolare", Text: "a tutti"}
	if code, _, text := app.send(letter); code != http.StatusUnprocessableEntity || !strings.Contains(text, "too-many-recipients") {
		t.Errorf("more than one message may have: %d %s", code, text)
	}
	broken := letter
	broken.To, broken.List = nil, strings.Join(to, "\n")+"\nnobody"
	if code, _, text := app.send(broken); code != http.StatusUnprocessableEntity || !strings.Contains(text, `"line":41`) {
		t.Errorf("a list with a wrong line: %d %s", code, text)
	}
	letter.To, letter.List = nil, "pec;nome\n"+strings.Join(to, ";x\n")
	code, a, text := app.with("Idempotency-Key", "circolare").send(letter)
	if code != http.StatusAccepted {
		t.Fatalf("%d %s", code, text)
	}
	var shown relay.Shown
	h.until("all are accepted", func() bool {
		app.ask("GET", a.Status, "", nil, &shown)
		return shown.Batch != nil && shown.Batch.Accepted == n && shown.Batch.Delivered == 1
	})
	if len(shown.Children) != n || len(shown.Recipients) != n {
		t.Errorf("%d messages", len(shown.Children))
	}
	got := map[string]bool{}
	for _, l := range h.provider.Ledger() {
		if len(l.Recipients) != 1 || got[l.Recipients[0]] || !strings.Contains(string(l.Raw), "To: "+l.Recipients[0]+"\r\n") || strings.Count(string(l.Raw), "@ordinary.example") > 1 {
			t.Errorf("%v: %s", l.Recipients, l.Raw)
		}
		got[l.Recipients[0]] = true
	}
	if len(got) != n {
		t.Errorf("%d recipients", len(got))
	}
	var list struct{ Receipts []api.Receipt }
	if code, text, _ := app.ask("GET", "/v1/messages/"+shown.Children[0].ID+"/receipts", "", nil, &list); code != http.StatusOK || len(list.Receipts) == 0 {
		t.Errorf("%d %s", code, text)
	}
}

// Nobody listens by default; from this machine itself the state of the appliance is
// read without a token, and no address is in it.
func TestS8_MetricsAndAdminPort(t *testing.T) {
	l, err := configs.Load(newHouse(t).config())
	if err == nil && l.Appliance.API.Listen != "" {
		t.Error("the HTTP service listens although nobody said so")
	}
	h := newHouse(t, mailboxText(boxA, false, "", "mario"), mailboxText(boxB, false, "", "lucia"))
	app, _ := h.listenForApplications("")
	h.start()
	none := *app
	none.token = ""
	if code, _, text := app.send(api.Letter{Mailbox: boxA, To: []string{boxB}, Subject: "prova", Text: "ciao"}); code != http.StatusAccepted {
		t.Fatal(text)
	}
	var text string
	h.until("the numbers", func() bool {
		code := 0
		code, text, _ = none.ask("GET", "/metrics", "", nil, nil)
		return code == http.StatusOK && strings.Contains(text, "pecgate_submissions{state=\"accepted\"} 1\n") && strings.Contains(text, "pecgate_scrape_errors 0\n")
	})
	if strings.Contains(text, "@") || strings.Contains(text, "alfa.example") || !strings.Contains(text, "pecgate_fetch_lag_seconds{mailbox=") {
		t.Errorf("%s", text)
	}
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/metrics/x": 401, "/v1/messages/x": 401, "/openapi.json": 401} {
		if code, text, _ := none.ask("GET", path, "", nil, nil); code != want {
			t.Errorf("%s without token: %d %s", path, code, text)
		}
	}
	before := refusedLogins(t, text)
	if _, text, _ = none.ask("GET", "/metrics", "", nil, nil); refusedLogins(t, text) != before+3 {
		t.Errorf("refused before %d, now %d", before, refusedLogins(t, text))
	}
}

func refusedLogins(t *testing.T, text string) (n int) {
	t.Helper()
	m := regexp.MustCompile(`(?m)^pecgate_logins_refused_total (\d+)$`).FindStringSubmatch(text)
	if m == nil {
		t.Fatal(text)
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}
