package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra" // home of the command line

	"pecgate/mailbox/pec"
)

// maxTrustFile bounds a file of --trust, in bytes.
const maxTrustFile = 4 << 20

func newVerifyCommand(*app) *cobra.Command {
	var asJSON bool
	var trust, keys []string
	var at, into string
	c := &cobra.Command{
		Use:   "verify FILE...",
		Short: "check PEC messages and receipts offline",
		Long: `Checks PEC messages, receipts and archives of them, offline and without any
configuration: the provider's signature and its certificate chain, daticert.xml
against the headers, and the message inside. It asks nobody, and writes nothing
but what --originals wants.
A file that is no message at all, such as a .pdf, is named as such.

FILE is an evidence bundle (of "pecgate evidence"), a message (.eml), an mbox, a Maildir, a folder of these, or a .zip of
these. In a folder only files that hold messages are looked at; a .zip inside a
.zip is not. Messages of an mbox are numbered from 1: box.mbox#3. What is
unpacked lies in the folder that TMPDIR names until it was read: one message may
have 150 MiB, one mbox 4 GiB.

Of a bundle everything is checked: that the .zip holds its files and not one byte
else, their hashes, the signature of the appliance, the audit log's proofs, every
message again, and that the report says what they say. One line says each, then one
each message. --key says whose signature it must be: the fingerprint that the
appliance's administrator told, or a FILE with the public key (public-key.pem, or
audit.key.pub of its data_dir). Without it the key is the bundle's own, and a CA that
only the bundle knows makes nothing valid.

The providers' certification authorities are known; --trust FILE adds others,
such as that of a simulated provider. Signatures are judged as of the time they
were made. --at TIME says what "now" is, for certificates that have expired
since: RFC 3339 (2026-07-03T09:15:42+02:00), or a date, which means its end (UTC).

There is one line for each message: what it is, the verdict and why, who signed
it and when, and which message and recipient it speaks of. Verdicts: valid,
valid-historic (right when it was signed, but with SHA-1 or a certificate that
has expired since), invalid, unverifiable, not-signed. What is not valid proves
nothing, whatever it says of itself.

--json prints one object a line instead. What cannot be read (or is not there)
has a line too: verdict unverifiable, kind unknown, a reason that begins with
"file:".

--originals DIR also writes the message as its sender submitted it, recovered
from each complete delivery receipt and each envelope whose signature is good:
the client's Message-ID is put back, what the provider put in is taken out. The
exact bytes are known to the sender alone; a further line says which file it is
and what was assumed, with --json the key recovered: file, sha256, size, msgid,
dropped, added, assumed. Brief and synthetic receipts do not carry the whole
message: there is no original, and the line (no_original) says so. Files are
named <sha256>.recovered.eml, for nobody else to read. None is overwritten. DIR
is made if it is not there, and must not lie in a folder that is read.

Exit status: 0 if all are valid or valid-historic; 1 if one is not, could not be
read or is not there, or if an original could not be written; 2 wrong usage.`,
		Example: `  pecgate verify receipt.eml
  pecgate verify --json Maildir export.zip | jq -r 'select(.kind == "delivery") | .recipient'
  pecgate verify receipts.mbox --originals recovered
  pecgate verify evidence.zip --key 2f6c...`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("verify needs a FILE: a message, an mbox, a Maildir, a folder or a .zip")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			o := pec.Options{}
			if at != "" {
				now, err := parseAt(at)
				if err != nil {
					return &exitError{exitUsage, err.Error()}
				}
				o.Now = func() time.Time { return now }
			}
			var err error
			if o.Trust, err = readTrust(trust); err != nil {
				return &exitError{exitUsage, err.Error()}
			}
			fingerprints, err := readKeys(keys)
			if err != nil {
				return &exitError{exitUsage, err.Error()}
			}
			v := &verifier{reader: pec.NewReader(o), keys: fingerprints, files: args, bar: newBar(c.ErrOrStderr())}
			if c.Flags().Changed("originals") {
				if v.originals, err = openOriginals(into, args); err != nil {
					return &exitError{exitUsage, err.Error()}
				}
				defer v.originals.root.Close() // of a folder: nothing is lost
			}
			p := &verifyPrinter{out: c.OutOrStdout(), json: asJSON, originals: v.originals != nil, bar: v.bar}
			if err := v.run(c.Context(), p.print); err != nil {
				return err
			}
			if err := p.end(v.leftAside); err != nil {
				return err
			}
			if !p.good {
				return &exitError{state: exitFailed} // every line says why
			}
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON object per message")
	c.Flags().StringArrayVar(&trust, "trust", nil, "PEM `FILE` with further certification authorities; may be repeated")
	c.Flags().StringArrayVar(&keys, "key", nil, "`FILE|FINGERPRINT` of the key that must have signed a bundle; may be repeated")
	c.Flags().StringVar(&into, "originals", "", "folder `DIR` for the originals recovered from complete receipts and envelopes")
	c.Flags().StringVar(&at, "at", "", "`TIME` to take for now")
	return c
}

func parseAt(s string) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	if t, err := time.Parse(time.DateOnly, s); err == nil {
		return t.AddDate(0, 0, 1).Add(-time.Second), nil
	}
	return time.Time{}, errors.New("--at needs a time such as 2026-07-03T09:15:42+02:00 or a date such as 2026-07-03")
}

// readTrust makes the trust of the CAs that the program knows and those of files.
func readTrust(files []string) (*pec.Trust, error) {
	var pems [][]byte
	for _, name := range files {
		b, err := readAtMost(name, maxTrustFile)
		if err != nil {
			return nil, fmt.Errorf("--trust: %w", err)
		}
		if _, err := pec.NewTrust(b); err != nil {
			return nil, fmt.Errorf("--trust %s: %s", name, strings.TrimPrefix(err.Error(), "trust file 1: "))
		}
		pems = append(pems, b)
	}
	trust, err := pec.NewTrust(pems...)
	if err != nil {
		return nil, fmt.Errorf("--trust: %w", err)
	}
	return trust, nil
}

func readAtMost(name string, most int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close() // nothing was written
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > most {
		return nil, fmt.Errorf("%s is larger than %d MiB", name, most>>20)
	}
	return b, nil
}
