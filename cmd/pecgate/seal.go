package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra" // the command line

	"pecgate/configs"
	"pecgate/configs/seal"
)

func newSealCommand(a *app) *cobra.Command {
	var rotate bool
	c := &cobra.Command{
		Use:   "seal",
		Short: "encrypt a provider's password for policy.yaml",
		Long: `Reads a password twice from the terminal without showing it, or one line from standard input, and prints it encrypted for
the key password of a mailbox in policy.yaml.

The key is in the file that seal_key of pecgate.yaml names (seal.key beside it); the first use makes it, with the rights
that keep it from others. Keep a copy, and keep it apart from policy.yaml: without the key nothing that is sealed can be
opened. Where systemd hands the key to the service (LoadCredential=seal.key:FILE), the file may belong to root alone.

--rotate adds a new key and seals everything in policy.yaml anew with it, in place and nothing else. Older keys stay in the
file, so that older copies of policy.yaml still open; take their lines out when no such copy is needed.`,
		Example: "  pecgate seal\n  pecgate seal < password.txt\n  pecgate seal --rotate",
		Args:    noArguments("type the secret when asked, or give it on standard input"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if rotate {
				return a.rotateSeal(cmd)
			}
			return a.sealPassword(cmd)
		},
	}
	c.Flags().BoolVar(&rotate, "rotate", false, "make a new key and seal everything in policy.yaml anew with it")
	return c
}

func (a *app) sealPassword(cmd *cobra.Command) error {
	secret, err := readSecret(cmd.InOrStdin(), cmd.ErrOrStderr(), "password")
	if err == nil && strings.ContainsAny(secret, "\r\n\x00") {
		err = errors.New("the password must be one line")
	}
	if err != nil {
		return &exitError{exitUsage, err.Error()}
	}
	at, err := a.sealKey(cmd)
	if err != nil {
		return err
	}
	text, err := at.Ring.Seal(seal.Password, []byte(secret))
	if err != nil {
		return fmt.Errorf("seal the password: %w", err)
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "{sealed: %q}\n", text)
	return err
}

// sealKey gives the keys of the appliance, and makes the first where there is none.
func (a *app) sealKey(cmd *cobra.Command) (configs.SealKey, error) {
	at, err := configs.ReadSealKey(a.config)
	if err != nil || at.Ring != nil {
		return at, usage(err)
	}
	sealed, err := at.SealedPolicy()
	if err != nil {
		return at, &exitError{exitUsage, fmt.Sprintf("there is no key %s, and none is made before the policy can be read: %v", at.File, err)}
	}
	// As it stands, because of a policy with a fault nothing is loaded; and loaded, because YAML has many ways to write a text.
	if r := configs.Check(a.config); sealed || r.Loaded != nil && len(r.Loaded.SealedTexts()) > 0 {
		return at, &exitError{exitUsage, fmt.Sprintf("policy.yaml holds sealed texts, and their key is not here: put it back as %s, or take the texts out and begin anew", at.File)}
	}
	if err := seal.Make(cmd.Context(), at.File, at.PolicyFile); err != nil && !errors.Is(err, fs.ErrExist) {
		return at, fmt.Errorf("make the key file: %w", err)
	}
	if at, err = configs.ReadSealKey(a.config); err == nil && at.Ring == nil {
		err = fmt.Errorf("key file %s: it is not there", at.File)
	}
	if err != nil {
		return at, usage(err)
	}
	_, err = fmt.Fprintf(cmd.ErrOrStderr(), "pecgate: the key %s is new: keep a copy of it, apart from policy.yaml\n", at.File)
	return at, err
}

// usage is an error about the configuration; faults tell of themselves.
func usage(err error) error {
	var faults configs.Faults
	if err == nil || errors.As(err, &faults) {
		return err
	}
	return &exitError{exitUsage, err.Error()}
}

// rotateSeal adds a key, then puts texts of the new one in the place of all others, while no other rotation does. A crash
// between the two leaves a file whose texts all open.
func (a *app) rotateSeal(cmd *cobra.Command) (err error) {
	before, err := configs.ReadSealKey(a.config)
	switch {
	case err != nil:
		return usage(err)
	case before.Credential:
		return &exitError{exitUsage, "the key is a credential of systemd, which nobody can change: run this where the file that it comes from is the key file"}
	case before.Ring == nil:
		return &exitError{exitUsage, fmt.Sprintf("there is no key %s yet: `pecgate seal` makes it", before.File)}
	}
	held, err := seal.Hold(cmd.Context(), before.File)
	if err != nil {
		return fmt.Errorf("key file %s: %w", before.File, err)
	}
	defer func() { err = errors.Join(err, held.Free()) }()
	l, err := configs.Load(a.config)
	if err != nil {
		return err
	}
	if err := held.Add(); err != nil {
		return fmt.Errorf("add a key to %s: %w", before.File, err)
	}
	at, err := configs.ReadSealKey(a.config)
	if err != nil {
		return usage(err)
	}
	text, err := os.ReadFile(at.PolicyFile)
	if err != nil {
		return fmt.Errorf("read the policy: %w", err)
	}
	if err := samePolicy(text, l); err != nil {
		return err
	}
	done := 0
	for _, s := range l.SealedTexts() {
		if !bytes.Contains(text, []byte(s.Text)) {
			continue // it stands twice, and both were sealed anew; or it is written in another way
		}
		secret, err := at.Ring.Open(s.Purpose, s.Text)
		if err != nil {
			return fmt.Errorf("%s: %w", s.At, err)
		}
		anew, err := at.Ring.Seal(s.Purpose, secret)
		clear(secret)
		if err != nil {
			return fmt.Errorf("seal anew: %w", err)
		}
		text, done = bytes.ReplaceAll(text, []byte(s.Text), []byte(anew)), done+1
	}
	if done > 0 {
		if err := seal.Replace(at.PolicyFile, text, func() error { return a.stillRotates(at, l) }); err != nil {
			return fmt.Errorf("write the policy: %w", err)
		}
		if l, err = configs.Load(a.config); err != nil {
			return err
		}
	}
	old := 0
	for _, s := range l.SealedTexts() {
		if !strings.Contains(s.Text, at.Ring.Newest()) {
			old++
		}
	}
	out := cmd.OutOrStdout()
	fmt.Fprintf(out, "%s of policy.yaml sealed anew with the new key %s.\n", count(done, "text", "texts"), at.Ring.Newest())
	if old > 0 {
		fmt.Fprintf(out, "%s still needs an older key: it is written in more than one piece, make it anew by hand.\n", count(old, "text", "texts"))
	}
	_, err = fmt.Fprintf(out, "Older keys stay in %s for older copies of policy.yaml: take their lines out when there are none.\n"+
		"If systemd hands the key to the service, restart the service.\n", at.File)
	return err
}

// stillRotates looks once more, right before the policy is replaced: an editor knows nothing of our lock, neither of the
// policy nor of the keys.
func (a *app) stillRotates(at configs.SealKey, l *configs.Loaded) error {
	now, err := configs.ReadSealKey(a.config)
	if err != nil {
		return err
	}
	if now.File != at.File || now.PolicyFile != at.PolicyFile || !now.Ring.Has(at.Ring.Newest()) {
		return fmt.Errorf("the new key is no more in %s, and policy.yaml was left as it is: run this again", at.File)
	}
	text, err := os.ReadFile(at.PolicyFile)
	if err != nil {
		return err
	}
	return samePolicy(text, l)
}

// samePolicy refuses a text that is not the policy that was loaded.
func samePolicy(text []byte, l *configs.Loaded) error {
	if sum := sha256.Sum256(text); hex.EncodeToString(sum[:]) != l.Sums.Policy {
		return errors.New("policy.yaml was changed meanwhile, and was left as it is: run this again")
	}
	return nil
}
