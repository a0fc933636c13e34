//go:build peers

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pecgate/relay/providersim"
)

// TestH10_ExportedOriginalsVerify: of 1,040 exported envelopes and receipts openssl,
// which knows nothing of pecgate, verifies every one; it finds a byte that was flipped.
func TestH10_ExportedOriginalsVerify(t *testing.T) {
	const letters = 20
	to := []string{boxB}
	for i := range 49 {
		to = append(to, fmt.Sprintf("u%02d@pec.altri.example", i))
	}
	h := newHouseAt(t, providersim.Options{External: to[1:]}, mailboxText(boxA, false, "", "mario"), mailboxText(boxB, false, "", "lucia")).start()
	for i := range letters {
		text := mail(boxA, strings.Join(to, ">,\r\n <"), "Circolare", fmt.Sprintf("h10-%d@alfa.example", i))
		accepted(t, h.send("mario", "mariomario", boxA, to, text))
	}
	const want = letters * (1 + 50 + 1) // acceptance, deliveries, envelope
	kinds := []string{"--kind", "transport,acceptance,delivery"}
	h.until("all were fetched", func() bool {
		made, _ := h.export("", append(kinds, "--dry-run")...)
		return made.Messages == want
	})
	dir := t.TempDir()
	file := filepath.Join(dir, "e.zip")
	if made, _ := h.export(file, append(kinds, "--format", "eml")...); made.Messages != want {
		t.Fatalf("%+v", made)
	}
	h.stop()
	ca, tree := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "tree")
	if err := os.WriteFile(ca, h.provider.CAPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	peer(t, nil, "unzip", "-q", file, "-d", tree)
	verified := func() int {
		c := exec.Command("sh", "-c", `find . -name '*.eml' -print0 | xargs -0 -P 2 -I{} openssl cms -verify -inform SMIME -purpose any -CAfile "$1" -out /dev/null -in {} 2>&1`, "sh", ca)
		c.Dir = tree
		out, err := c.CombinedOutput()
		n := bytes.Count(out, []byte("Verification successful"))
		if (n == want) != (err == nil) {
			t.Errorf("%d verified, and yet: %v\n%.2000s", n, err, out)
		}
		return n
	}
	if n := verified(); n != want {
		t.Errorf("openssl verifies %d of %d", n, want)
	}
	one, err := filepath.Glob(filepath.Join(tree, "*", "*", "*", "delivery", "*.eml"))
	if err != nil || len(one) != letters*50 {
		t.Fatalf("%d delivery receipts, %v", len(one), err)
	}
	b, err := os.ReadFile(one[0])
	if at := bytes.Index(b, []byte("multipart/mixed")); err == nil && at > 0 {
		b[at] ^= 1
		err = os.WriteFile(one[0], b, 0o600)
	} else {
		t.Fatalf("no signed content in %s: %v", one[0], err)
	}
	c := exec.Command("openssl", "cms", "-verify", "-inform", "SMIME", "-purpose", "any", "-CAfile", ca, "-out", os.DevNull, "-in", one[0])
	if out, err := c.CombinedOutput(); err == nil {
		t.Errorf("a flipped byte was not found: %s", out)
	}
}
