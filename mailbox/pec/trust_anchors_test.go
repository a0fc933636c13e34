package pec

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"testing"
)

// fingerprints are the SHA-256 of the certificates that anchors may hold, with
// the key id and the end of each. A file is not needed for every one: issues of a
// CA whose key is pinned come with the messages.
func fingerprints() map[string]string {
	return map[string]string{
		"55926084ec963a64b96e2abe01ce0ba86a64fbfebcc7aab5afc155b37fd76066": "Actalis Authentication Root CA, to 2030-09-22",
		"790ec428504a61f273e4fcf7ffd4d56991edc02d4402fbbd8914e149fa278c1d": "AgID CA1 of 2025-02-20, to 2030-09-22",
		"32322ae2e31a7430be1d6c04bd8cabfbd240c74d2c9dbe82780db1f3f73660a6": "AgID CA1 of 2021-09-21, to 2030-09-22",
		"4931388dc85b1fb943ed8ee6acfa015753cb048166470626c7ff939ed022a8ae": "AgID CA1 of 2021-06-22, to 2030-09-22",
		"404a2b23b25200446ca7213e1af56635cb93ddf7bef0d87664ba411b7f4c8e56": "AgID CA1 of 2020-10-13, to 2030-09-22",
		"f7b09eea79096a4498f6a2b8d6f1183228a3769ea988050d1b32a380eabc4f9e": "AgID CA1 of 2020-02-19, to 2030-02-18",
		"d793d934dd1b9ff9f6a76d438c760ed44b72bcde660b49a77dbcf81ec7ceb3a9": "AgID CA1 of 2020-01-30, to 2030-01-29",
		"e7fa0f67c9b6d886c868408996dbdfc3680e8b9ec47628eefb4824c23a287693": "AgID CA1 of 2019-06-13, to 2029-06-12",
		"4648900b04272628ab7b2d82ddf74cd5b78d77f8652d5bbf2824bb64dd178659": "AgID CA1 of 2018-04-04, to 2028-04-03",
		"16af57a9f676b0ab126095aa5ebadef22ab31119d644ac95cd4b93dbf3f26aeb": "Baltimore CyberTrust Root, to 2025-05-12: historic",
		"d75420b7e9051773aa0f39ac091cbf0691a1088e32a4d06b671f00e7e9676f72": "DigitPA CA1 of 2011-01-14, to 2018-01-14: historic",
	}
}

// TestAnchors: what is built in is what the table says, and nothing else.
func TestAnchors(t *testing.T) {
	all, err := builtIn()
	if err != nil {
		t.Fatal(err)
	}
	table := fingerprints()
	have := map[string]bool{}
	for _, c := range all {
		sum := sha256.Sum256(c.Raw)
		key := hex.EncodeToString(sum[:])
		if table[key] == "" {
			t.Errorf("%s (%s) is not in the table", c.Subject, key)
		}
		if have[key] {
			t.Errorf("%s is there twice", c.Subject)
		}
		have[key] = true
		if selfSigned(c) {
			continue
		}
		if !among(pinnedCAs(), c) {
			t.Errorf("%s has another name or key than those pinned", c.Subject)
		}
		issued := false
		for _, root := range all {
			issued = issued || selfSigned(root) && signed(root, c)
		}
		if !issued {
			t.Errorf("%s is issued by no root that is built in", c.Subject)
		}
	}
	if !have["55926084ec963a64b96e2abe01ce0ba86a64fbfebcc7aab5afc155b37fd76066"] {
		t.Error("the root of AgID CA1 is missing")
	}
	for _, a := range pinnedCAs() {
		if a.key == [sha256.Size]byte{} || len(a.keyID) != 20 || a.name == "" {
			t.Errorf("%q is pinned without a key", a.name)
		}
	}
}

// TestBuiltInTrust: the built-in roots sign no provider themselves, and the pins
// are what may.
func TestBuiltInTrust(t *testing.T) {
	trust := must(NewTrust())
	if len(trust.roots) < 1 {
		t.Fatal("no root")
	}
	for _, root := range trust.roots {
		if among(trust.issuers, root) {
			t.Errorf("%s may sign providers", root.Subject)
		}
	}
	if !slices.ContainsFunc(trust.issuers, func(a authority) bool {
		return bytes.Equal(a.keyID, must(hex.DecodeString("a5fd85050ec3f1d6654a206ce2db4d60932b8aa0")))
	}) {
		t.Error("AgID CA1 may not")
	}
	// The same with CAs of the administrator's own beside them.
	mine := must(NewTrust(pemOf(rootCert(), pecCA())))
	if len(mine.roots) != len(trust.roots)+1 || len(mine.issuers) != len(trust.issuers)+1 {
		t.Errorf("%d roots, %d issuers", len(mine.roots), len(mine.issuers))
	}
}
