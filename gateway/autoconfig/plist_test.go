package autoconfig

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// readPlist reads a property list as a device does: strictly, by the order of
// its elements.
func readPlist(text string) (map[string]any, error) {
	d := xml.NewDecoder(strings.NewReader(text))
	for {
		t, err := d.Token()
		if err != nil {
			return nil, err
		}
		start, ok := t.(xml.StartElement)
		if !ok {
			continue
		}
		if start.Name.Local != "plist" || len(start.Attr) != 1 || start.Attr[0].Value != "1.0" {
			return nil, fmt.Errorf("root %v", start)
		}
		break
	}
	first, err := element(d)
	if err != nil {
		return nil, err
	}
	v, err := value(d, first)
	if err != nil {
		return nil, err
	}
	for {
		t, err := d.Token()
		if errors.Is(err, io.EOF) {
			root, ok := v.(map[string]any)
			if !ok {
				return nil, fmt.Errorf("the root is a %T", v)
			}
			return root, nil
		}
		if err != nil {
			return nil, err
		}
		if s, more := t.(xml.StartElement); more {
			return nil, fmt.Errorf("%s after the root", s.Name.Local)
		}
	}
}

// element is the next start of an element, or nil at the end of the one around.
func element(d *xml.Decoder) (*xml.StartElement, error) {
	for {
		t, err := d.Token()
		if err != nil {
			return nil, err
		}
		switch t := t.(type) {
		case xml.StartElement:
			return &t, nil
		case xml.EndElement:
			return nil, nil
		case xml.CharData:
			if strings.TrimSpace(string(t)) != "" {
				return nil, fmt.Errorf("text %q between elements", t)
			}
		}
	}
}

func value(d *xml.Decoder, start *xml.StartElement) (any, error) {
	if start == nil {
		return nil, errors.New("a value is missing")
	}
	switch start.Name.Local {
	case "dict":
		out := map[string]any{}
		for {
			k, err := element(d)
			if err != nil || k == nil {
				return out, err
			}
			var key string
			if k.Name.Local != "key" {
				return nil, fmt.Errorf("%s where a key belongs", k.Name.Local)
			}
			if err := d.DecodeElement(&key, k); err != nil {
				return nil, err
			}
			v, err := element(d)
			if err != nil {
				return nil, err
			}
			if _, twice := out[key]; twice {
				return nil, fmt.Errorf("key %s twice", key)
			}
			if out[key], err = value(d, v); err != nil {
				return nil, fmt.Errorf("%s: %w", key, err)
			}
		}
	case "array":
		var out []any
		for {
			s, err := element(d)
			if err != nil || s == nil {
				return out, err
			}
			v, err := value(d, s)
			if err != nil {
				return nil, err
			}
			out = append(out, v)
		}
	}
	var text string
	if err := d.DecodeElement(&text, start); err != nil {
		return nil, err
	}
	switch start.Name.Local {
	case "string":
		return text, nil
	case "integer":
		return strconv.Atoi(text)
	case "true", "false":
		return start.Name.Local == "true", nil
	}
	return nil, fmt.Errorf("there is no value %s", start.Name.Local)
}

// mailOf is the mail account of a profile.
func mailOf(t *testing.T, text string) map[string]any {
	t.Helper()
	root, err := readPlist(text)
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	content, _ := root["PayloadContent"].([]any)
	if len(content) != 1 {
		t.Fatalf("content %v", root["PayloadContent"])
	}
	mail, _ := content[0].(map[string]any)
	return mail
}

func profile(t *testing.T, s Settings, a Account) string {
	t.Helper()
	b, err := Profile(s, a)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A profile has what a device needs, and its identities are those of the host
// and the account alone.
func TestProfile(t *testing.T) {
	s := settings("it")
	account := Account{Address: "protocollo@pec.example.org", Login: "mario"}
	text := profile(t, s, account)
	root, err := readPlist(text)
	if err != nil {
		t.Fatal(err)
	}
	mail := mailOf(t, text)
	uuid := regexp.MustCompile(`^[0-9A-F]{8}-[0-9A-F]{4}-8[0-9A-F]{3}-[89AB][0-9A-F]{3}-[0-9A-F]{12}$`)
	for _, d := range []map[string]any{root, mail} {
		id, _ := d["PayloadUUID"].(string)
		if !uuid.MatchString(id) || d["PayloadVersion"] != 1 {
			t.Errorf("UUID %q, version %v", id, d["PayloadVersion"])
		}
		if name, _ := d["PayloadIdentifier"].(string); !strings.HasPrefix(name, "org.example.pecgate.pec.") {
			t.Errorf("identifier %q", name)
		}
	}
	for key, want := range map[string]any{
		"EmailAccountType": "EmailTypeIMAP", "EmailAddress": "protocollo@pec.example.org",
		"IncomingMailServerHostName": "pecgate.example.org", "IncomingMailServerPortNumber": 993, "IncomingMailServerUseSSL": true,
		"OutgoingMailServerHostName": "pecgate.example.org", "OutgoingMailServerPortNumber": 465, "OutgoingMailServerUseSSL": true,
		"IncomingMailServerUsername": "mario/protocollo@pec.example.org", "OutgoingMailServerUsername": "mario/protocollo@pec.example.org",
		"IncomingPassword": nil, "OutgoingPassword": nil, // asked for by the device
	} {
		if mail[key] != want {
			t.Errorf("%s is %v, want %v", key, mail[key], want)
		}
	}
	english := s
	english.Language = "en"
	same := func(a, b string) bool {
		return mailOf(t, a)["PayloadUUID"] == mailOf(t, b)["PayloadUUID"]
	}
	if profile(t, s, account) != text || !same(text, profile(t, english, Account{Address: "Protocollo@PEC.example.org", Login: "Mario"})) {
		t.Error("the same account has another identity")
	}
	other := s
	other.Hostname = "other.example.org"
	for _, p := range []string{profile(t, other, account), profile(t, s, Account{Address: account.Address}), profile(t, s, Account{Address: account.Address, Login: "lucia"})} {
		if same(text, p) {
			t.Error("another account has the same identity")
		}
	}
	// What is not known is asked for by the device.
	if mail := mailOf(t, profile(t, s, Account{})); mail["EmailAddress"] != nil || mail["IncomingMailServerUsername"] != nil {
		t.Errorf("account of nobody: %v", mail)
	}
	if mail := mailOf(t, profile(t, s, Account{Login: "mario"})); mail["OutgoingMailServerUsername"] != "mario" {
		t.Errorf("account of a login: %v", mail)
	}
}
