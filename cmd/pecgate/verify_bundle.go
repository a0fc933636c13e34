package main

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strings"

	"pecgate/mailbox/archive/bundle"
	"pecgate/mailbox/audit"
	"pecgate/mailbox/pec"
)

// kindEvidence is what `verify --json` calls a bundle.
const kindEvidence pec.Kind = "evidence"

// isBundle tells whether a file is an evidence bundle. Whatever cannot be read is for
// the reader of archives to tell.
func isBundle(file string) bool {
	st, err := os.Stat(file)
	if err != nil || !st.Mode().IsRegular() {
		return false
	}
	f, err := os.Open(file)
	if err != nil {
		return false
	}
	defer f.Close() // nothing was written
	return bundle.Is(f, st.Size())
}

// bundled checks a bundle and hands on its own line, then those of its messages. It is
// false where ctx ended.
func (v *verifier) bundled(ctx context.Context, file string, send func(string) (chan result, error)) bool {
	one := func(name string, r result) bool {
		done, err := send(name)
		if err != nil {
			return false
		}
		done <- r
		return true
	}
	checked, err := checkBundle(ctx, file, bundle.CheckOptions{Keys: v.keys, Reader: v.reader})
	if err != nil {
		return one(file, result{err: err}) && ctx.Err() == nil
	}
	r := &pec.Report{Kind: kindEvidence, Verdict: pec.Valid, Issuer: checked.Appliance, SignedAt: checked.MadeAt, Recipients: []pec.Recipient{}}
	for _, s := range checked.Steps {
		if !s.OK {
			r.Verdict, r.Reason = pec.Invalid, s.Check+": "+oneLine(s.Text)
		}
	}
	if !one(file, result{report: r, bundle: checked}) {
		return false
	}
	if !checked.OK() {
		return true // its messages prove nothing as parts of it
	}
	for _, m := range checked.Messages {
		if !one(file+"#"+m.File, foundIn(m, checked.Pinned)) {
			return false
		}
	}
	return true
}

// foundIn is the result of one message of a bundle.
func foundIn(m bundle.Found, pinned bool) result {
	if m.Report == nil {
		return result{expected: true, report: &pec.Report{
			Kind: pec.Ordinary, Verdict: pec.NotSigned, Reason: "inner: as it was handed to the provider; its receipts prove it", Recipients: []pec.Recipient{},
		}}
	}
	rep := *m.Report
	if m.Own {
		note := "chain: the CA is one that the bundle's appliance trusts; --trust FILE checks it with yours"
		if !pinned {
			note = "chain: only the bundle itself vouches for its CA; give --trust FILE with the CA, or --key with the appliance's key"
		}
		rep.Reason = strings.TrimPrefix(rep.Reason+"; "+note, "; ")
	}
	return result{report: &rep}
}

// checkBundle checks the bundle in a file.
func checkBundle(ctx context.Context, file string, o bundle.CheckOptions) (*bundle.Checked, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close() // nothing was written
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return bundle.Check(ctx, f, st.Size(), o)
}

// bundleLines tells what was checked of a bundle, a line each.
func bundleLines(m verified) string {
	var b strings.Builder
	name := plain(m.file, maxShownName)
	for _, s := range m.bundle.Steps {
		how := "good"
		if !s.OK {
			how = "BAD"
		}
		fmt.Fprintf(&b, "%s: %s: %s: %s.\n", name, s.Check, how, plain(oneLine(s.Text), maxShownWords))
	}
	what := "evidence: " + m.Verdict
	if !m.bundle.OK() {
		what += ", and what else it holds was not looked at: it proves nothing"
	}
	made := ""
	if !m.bundle.MadeAt.IsZero() {
		made = fmt.Sprintf(". Made by %s on %s", plain(m.bundle.Appliance, maxShownValue), m.bundle.MadeAt.UTC().Format("2006-01-02 15:04:05 UTC"))
	}
	fmt.Fprintf(&b, "%s: %s%s.\n", name, what, made)
	return b.String()
}

// readKeys gives the fingerprints of --key: each is one, or a file with public keys.
func readKeys(args []string) ([]string, error) {
	var out []string
	for _, a := range args {
		plain := strings.ToLower(strings.NewReplacer(":", "", " ", "").Replace(a))
		if b, err := hex.DecodeString(plain); err == nil && len(b) == sha256.Size {
			out = append(out, plain)
			continue
		}
		b, err := readAtMost(a, 1<<20)
		if err != nil {
			return nil, fmt.Errorf("--key needs a fingerprint (64 hexadecimal digits) or a file: %w", err)
		}
		list, err := fingerprints(b)
		if err != nil {
			return nil, fmt.Errorf("--key %s: %w", a, err)
		}
		out = append(out, list...)
	}
	return out, nil
}

// fingerprints are those of the public keys of a file: PEM, or lines as audit.key.pub
// has them.
func fingerprints(b []byte) ([]string, error) {
	if block, _ := pem.Decode(b); block != nil {
		if block.Type != "PUBLIC KEY" {
			return nil, fmt.Errorf("it holds a %s, not a public key", strings.ToLower(block.Type))
		}
		sum := sha256.Sum256(block.Bytes)
		return []string{hex.EncodeToString(sum[:])}, nil
	}
	var out []string
	for line := range strings.Lines(string(b)) {
		_, key, err := audit.PublicKey(strings.TrimSpace(line))
		if err != nil {
			return nil, errors.New("it is neither a public key in PEM form nor a file of audit keys")
		}
		der, err := x509.MarshalPKIXPublicKey(key)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(der)
		out = append(out, hex.EncodeToString(sum[:]))
	}
	if len(out) == 0 {
		return nil, errors.New("it holds no key")
	}
	return out, nil
}
