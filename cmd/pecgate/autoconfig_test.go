package main

import (
	"context"
	"crypto/tls"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"pecgate/configs"
	"pecgate/gateway/autoconfig"
	"pecgate/policy"
	"pecgate/relay/fetch"
	"pecgate/relay/submit"
)

// loadedPolicy is the policy of a configuration, as the appliance uses it.
func loadedPolicy(t *testing.T, config string) *policy.Policy {
	t.Helper()
	l, err := configs.Load(config)
	if err != nil {
		t.Fatal(err)
	}
	return policyOf(l)
}

// TestAutoconfig asks a running appliance for the settings of Thunderbird, reads
// and sends mail with what it was told, and finds the same in the other formats.
func TestAutoconfig(t *testing.T) {
	h := newHouse(t, mailboxText(boxA, false, "", "mario"), mailboxText(boxB, false, "", "lucia"))
	listen := free(t)
	_, smtps, _ := splitPort(h.smtps)
	h.write("pecgate.yaml", fmt.Sprintf(`hostname: localhost
language: en
data_dir: %s/data
min_free: 10MB
tls: {certificate: tls/fullchain.pem, key: tls/key.pem}
smtp: {submissions: [%q], submission: []}
imap: {imaps: [%q]}
autoconfig: {listen: %q}
provider_trust: [ca.pem]
`, h.dir, h.smtps, h.imaps, listen))
	h.start()
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: h.roots()}}}
	defer client.CloseIdleConnections()
	ask := func(res *http.Response, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(res.Body)
		if err := errors.Join(err, res.Body.Close()); err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("%s, %v", res.Status, err)
		}
		return string(b)
	}
	var told struct {
		Provider struct {
			Domain   string `xml:"domain"`
			Incoming struct {
				Host string `xml:"hostname"`
				Port int    `xml:"port"`
				User string `xml:"username"`
			} `xml:"incomingServer"`
			Outgoing []struct {
				Host string `xml:"hostname"`
				Port int    `xml:"port"`
				User string `xml:"username"`
			} `xml:"outgoingServer"`
		} `xml:"emailProvider"`
	}
	text := ask(client.Get("https://" + listen + "/.well-known/autoconfig/mail/config-v1.1.xml?emailaddress=" + boxA))
	if err := xml.Unmarshal([]byte(text), &told); err != nil || len(told.Provider.Outgoing) != 1 {
		t.Fatalf("%v\n%s", err, text)
	}
	in, out := told.Provider.Incoming, told.Provider.Outgoing[0]
	user := strings.NewReplacer("[login]", "mario", "%EMAILADDRESS%", boxA).Replace(in.User)
	if user != "mario/"+boxA || in.User != out.User || told.Provider.Domain != "pec.alfa.example" {
		t.Errorf("told %+v", told)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s, err := fetch.Dial(ctx, fetch.Server{Host: in.Host, Port: in.Port, Security: "tls", Roots: h.roots(), Username: user, Password: "mariomario", Timeout: 30 * time.Second})
	if err != nil {
		t.Fatalf("read with %+v: %v", in, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	r := sendTo(t, fmt.Sprintf("%s:%d", out.Host, out.Port), h.roots(), user, "mariomario", boxA, []string{boxB}, mail(boxA, boxB, "prova", "autoconfig@alfa.example"))
	if r.Class != submit.HandedOver {
		t.Errorf("sent with %+v: %+v", out, r)
	}
	const question = `<Autodiscover><Request><EMailAddress>` + boxA + `</EMailAddress></Request></Autodiscover>`
	if text := ask(client.Post("https://"+listen+"/Autodiscover/Autodiscover.xml", "text/xml", strings.NewReader(question))); !strings.Contains(text, fmt.Sprintf("<Port>%d</Port>", smtps)) {
		t.Errorf("Outlook is told\n%s", text)
	}
	// The address on the settings sheet gives what the command prints.
	_, sheet, _ := program(t, "", "account", "--config", h.config(), "mario")
	at := strings.Index(sheet, "https://localhost:")
	if at < 0 || !strings.Contains(sheet, autoconfig.ProfilePath) {
		t.Fatalf("the sheet names no profile:\n%s", sheet)
	}
	profile := strings.Fields(sheet[at:])[0]
	state, printed, errs := program(t, "", "account", "--config", h.config(), "--mobileconfig", boxA, "mario")
	if got := ask(client.Get(profile)); state != exitGood || got != printed {
		t.Errorf("%s is\n%s\nand the command prints (%d %s)\n%s", profile, got, state, errs, printed)
	}
	log := h.log.String()
	if !strings.Contains(log, `"msg":"settings asked","format":"thunderbird","domain":"pec.alfa.example","status":200`) {
		t.Error("the log does not tell of the request")
	}
}
