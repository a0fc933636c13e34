package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra" // home of the command line

	"pecgate/gateway/admin"
	"pecgate/mailbox"
	"pecgate/mailbox/archive/bundle"
	"pecgate/relay"
)

// evidenceMade is the answer of `evidence --json`.
type evidenceMade struct {
	File        string    `json:"file"`
	SHA256      string    `json:"sha256"`
	Bytes       int64     `json:"bytes"`
	Messages    int       `json:"messages"`
	MadeAt      time.Time `json:"made_at"`
	Fingerprint string    `json:"fingerprint"` // of the appliance's key
}

func newEvidenceCommand(app *app) *cobra.Command {
	var out string
	c := &cobra.Command{
		Use:   "evidence ID... --out FILE.zip",
		Short: "the evidence of a message, to be checked without pecgate",
		Long: `Writes an evidence bundle: one .zip with the original messages byte for byte, every
receipt, the certificates of who signed them, the verification report (report.html and
report.json), what happened and when, and the lines of the audit log about them with
proofs that they stand there. A README inside tells in Italian and English how to check
everything with unzip, openssl, sha256sum and xmllint alone; "pecgate verify FILE"
checks it too.

ID is a submission's id, a Message-ID, a PEC identifier, or the SHA-256 of a message
that came in; several make one bundle. Of a receipt it is its submission. Of a message
that was split it is all that it leaves as.

The bundle is signed by the appliance's key. Tell its fingerprint, or the SHA-256 of
the file, to whoever gets it in another way. FILE must not be there: it is written under
another name, checked, and renamed. The audit log says that the evidence was made.`,
		Example: `  pecgate evidence 06h0aicploim1sn5o1tnrq3n4k --out diffida.zip
  pecgate evidence '<123@pec.example.org>' --out incoming.zip --json`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("evidence needs an ID: of a submission, its Message-ID or its PEC identifier")
			}
			if out == "" {
				return errors.New("evidence needs --out FILE.zip")
			}
			return nil
		},
	}
	c.Flags().StringVar(&out, "out", "", "`FILE` to write; it must not be there")
	return app.operate(c, "one JSON object", func(c *cobra.Command, o *operator, args []string) error {
		b := newBar(c.ErrOrStderr())
		made, err := makeEvidence(c.Context(), o, args, out, b)
		b.clear()
		if err != nil {
			return err
		}
		return o.print(made, func() error {
			_, err := fmt.Fprintf(o.out, "%s: %s, %d bytes, checked\nSHA-256      %s\nsigned by    %s (SHA-256 of the appliance's key)\ncheck it     pecgate verify %s --key %s\n",
				out, count(made.Messages, "message", "messages"), made.Bytes, made.SHA256, made.Fingerprint, out, made.Fingerprint)
			return err
		})
	})
}

// makeEvidence writes the file whole or not at all.
func makeEvidence(ctx context.Context, o *operator, ids []string, out string, b *bar) (made *evidenceMade, err error) {
	if err := notThere(out); err != nil {
		return nil, err
	}
	tmp := filepath.Join(filepath.Dir(out), "."+filepath.Base(out)+"."+strings.ToLower(rand.Text()[:8])+".tmp")
	f, err := os.OpenFile(tmp, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("--out: %w", err)
	}
	defer func() {
		err = errors.Join(err, f.Close())
		if rerr := os.Remove(tmp); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
			err = errors.Join(err, rerr)
		}
	}()
	h := sha256.New()
	w := io.MultiWriter(f, h)
	err = o.either(func(client *admin.Client) error {
		return client.Evidence(ctx, ids, &drawn{w: w, b: b})
	}, o.relayed(func(r *relay.Service, _ *mailbox.Store) error {
		found, err := r.Evidence(ctx, ids, o.hand())
		if err != nil {
			return err
		}
		_, err = found.Write(ctx, w, func(done, total int64) { b.draw(done * 900 / max(total, 1)) })
		return err
	}))
	if err != nil {
		return nil, err
	}
	if err := f.Sync(); err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	checked, err := bundle.Check(ctx, f, st.Size(), bundle.CheckOptions{Progress: func(done, total int64) { b.draw(900 + done*100/max(total, 1)) }})
	if err != nil {
		return nil, err
	}
	for _, s := range checked.Steps {
		if !s.OK {
			return nil, fmt.Errorf("what was written does not stand its check (%s: %s); nothing was kept; the appliance's log may say why", s.Check, oneLine(s.Text))
		}
	}
	// What is read back is what was sent.
	back := sha256.New()
	if _, err := io.Copy(back, io.NewSectionReader(f, 0, st.Size())); err != nil {
		return nil, err
	}
	sum := hex.EncodeToString(h.Sum(nil))
	if sum != hex.EncodeToString(back.Sum(nil)) {
		return nil, errors.New("the file that was read back is not what was written: look at the disk; nothing was kept")
	}
	if err := keep(tmp, out); err != nil {
		return nil, err
	}
	return &evidenceMade{File: out, SHA256: sum, Bytes: st.Size(), Messages: len(checked.Messages), MadeAt: checked.MadeAt, Fingerprint: checked.Fingerprint}, nil
}

// notThere refuses a file that is there.
func notThere(out string) error {
	if _, err := os.Lstat(out); !errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			return fmt.Errorf("--out %s is there already: nothing is written over; give another name", out)
		}
		return fmt.Errorf("--out: %w", err)
	}
	return nil
}

// keep gives a file its name, never over another, durably.
func keep(tmp, out string) error {
	err := os.Link(tmp, out)
	if err != nil && !errors.Is(err, fs.ErrExist) { // a disk without hard links
		if err = notThere(out); err == nil {
			err = os.Rename(tmp, out)
		}
	}
	if errors.Is(err, fs.ErrExist) {
		return notThere(out)
	}
	if err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(out))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// drawn shows that bytes come, of which nobody knows how many will.
type drawn struct {
	w io.Writer
	b *bar
	n int64
}

func (d *drawn) Write(p []byte) (int, error) {
	n, err := d.w.Write(p)
	d.n += int64(n)
	d.b.draw(900 - 900*(16<<20)/(16<<20+d.n)) // half of it at 16 MiB
	return n, err
}
