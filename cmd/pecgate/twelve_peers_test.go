//go:build peers

package main

import (
	"bytes"
	"encoding/base64"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"pecgate/relay/providersim"
)

// TestTwelveKindsPeers gives the same messages to `openssl`, which must verify
// each up to the provider's authority, and every daticert.xml to `xmllint` with
// the DTD of RFC 6109.
func TestTwelveKindsPeers(t *testing.T) {
	dtd, err := filepath.Abs("../../testdata/dtd/postacert.dtd")
	if err != nil {
		t.Fatal(err)
	}
	for _, style := range twelveStyles() {
		t.Run(style.String(), func(t *testing.T) {
			p := twelveProvider(t, style)
			twelveSubmissions(t, p)
			dir := t.TempDir()
			ca := filepath.Join(dir, "ca.pem")
			if err := os.WriteFile(ca, p.CAPEM(), 0o600); err != nil {
				t.Fatal(err)
			}
			kinds := map[int]bool{}
			for _, e := range twelveMessages(t, p) {
				kinds[e.Number] = true
				signed := opensslSigned(t, dir, ca, e)
				xml := daticertOf(t, signed)
				if (xml == nil) != (e.Number == 6) {
					t.Errorf("kind %d: daticert.xml there is %v", e.Number, xml != nil)
				}
				if xml == nil {
					continue
				}
				cmd := exec.Command("xmllint", "--noout", "--nonet", "--dtdvalid", dtd, "-")
				cmd.Stdin = bytes.NewReader(xml)
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Errorf("kind %d: xmllint: %v\n%s\n%s", e.Number, err, out, xml)
				}
			}
			if len(kinds) != 12 {
				t.Errorf("%d kinds, want 12", len(kinds))
			}
		})
	}
	// A judge that cannot say no proves nothing.
	cmd := exec.Command("xmllint", "--noout", "--nonet", "--dtdvalid", dtd, "-")
	cmd.Stdin = strings.NewReader(`<postacert tipo="mancata-consegna"><dati/></postacert>`)
	if cmd.Run() == nil {
		t.Error("xmllint takes anything")
	}
}

// opensslSigned verifies one message and returns the bytes that were signed.
func opensslSigned(t *testing.T, dir, ca string, e providersim.Emitted) []byte {
	t.Helper()
	out := filepath.Join(dir, "signed")
	cmd := exec.Command("openssl", "smime", "-verify", "-CAfile", ca, "-out", out)
	cmd.Stdin = bytes.NewReader(e.Raw)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("kind %d: openssl: %v\n%s", e.Number, err, text)
		return nil
	}
	signed, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(e.Raw, signed) {
		t.Errorf("kind %d: openssl saw other bytes than the message holds", e.Number)
	}
	return signed
}

// daticertOf cuts daticert.xml out of the signed part by its outer boundary; nil
// if there is none.
func daticertOf(t *testing.T, signed []byte) []byte {
	t.Helper()
	m := regexp.MustCompile(`(?s)^.*?boundary="([^"]+)"`).FindSubmatch(signed)
	if m == nil {
		return nil
	}
	for _, part := range bytes.Split(signed, append([]byte("\r\n--"), m[1]...)) {
		head, body, _ := bytes.Cut(bytes.TrimPrefix(part, []byte("\r\n")), []byte("\r\n\r\n"))
		if !bytes.Contains(head, []byte(`name="daticert.xml"`)) {
			continue
		}
		xml, err := base64.StdEncoding.DecodeString(string(bytes.ReplaceAll(body, []byte("\r\n"), nil)))
		if err != nil {
			t.Fatal(err)
		}
		return xml
	}
	return nil
}
