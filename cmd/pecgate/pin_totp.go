package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/boombuler/barcode/qr" // makes the QR code; the library of the codes brings it along
	"github.com/spf13/cobra"          // the command line

	"pecgate/configs"
	"pecgate/configs/seal"
	"pecgate/gateway/auth"
)

// codeTries is how many codes may be typed until one is right.
const codeTries = 3

// enrol makes a secret of one-time codes for a user, shows it, and prints its line for policy.yaml once a code proves that
// the app has it. What shows the secret goes to standard error, so that standard output holds the line alone.
func (a *app) enrol(cmd *cobra.Command, user string) error {
	l, err := configs.Load(a.config)
	if err != nil {
		return err
	}
	logins, err := loginsOf(l, user)
	if user == "" || err != nil {
		return &exitError{exitUsage, fmt.Sprintf("--totp %s: policy.yaml has no such user", user)}
	}
	at, err := a.sealKey(cmd)
	if err != nil {
		return err
	}
	login, secret := logins[0], auth.NewCodeSecret()
	defer clear(secret)
	image, err := terminalQR(auth.CodeURL(l.Appliance.Hostname, login, secret))
	if err != nil {
		return fmt.Errorf("make the QR code: %w", err)
	}
	show := cmd.ErrOrStderr()
	fmt.Fprintf(show, "%s\nLet %s scan this with an authenticator app, or type into it the key\n\n  %s\n\nfor codes of 6 digits every 30 seconds (SHA-1). "+
		"Whoever sees it can make the codes: clear the screen afterwards.\n\n", image, login, inFours(auth.CodeText(secret)))
	in := bufio.NewReader(io.LimitReader(cmd.InOrStdin(), maxSecretLine))
	right := false
	for range codeTries {
		fmt.Fprint(show, "The code that the app shows now: ")
		line, err := in.ReadString('\n')
		if right = auth.MatchCode(secret, line, time.Now()); right {
			break
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read the code: %w", err)
		}
		fmt.Fprintln(show, "That is not its code. Is the clock of the phone right, and that of this machine?")
		if err != nil {
			break
		}
	}
	if !right {
		return errors.New("no right code was given: nothing is printed, and the app may forget this account")
	}
	text, err := at.Ring.Seal(seal.Code(login), secret)
	if err != nil {
		return fmt.Errorf("seal the secret: %w", err)
	}
	fmt.Fprintf(show, "\nThe line for %s in policy.yaml, in place of pin:\n\n", login)
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "totp: {sealed: %q}\n", text)
	return err
}

// inFours parts a text into groups of four, as people type it.
func inFours(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if i > 0 && i%4 == 0 {
			b.WriteByte(' ')
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// terminalQR draws a QR code for a terminal, two rows of modules in a line, black on white whatever the terminal's colours
// are, with the quiet zone that readers need (ISO/IEC 18004: four modules). A screen damages nothing, so the least error
// correction is enough, and the picture fits on 24 lines.
func terminalQR(text string) (string, error) {
	code, err := qr.Encode(text, qr.L, qr.Auto)
	if err != nil {
		return "", err
	}
	const quiet = 4
	size := code.Bounds().Dx()
	dark := func(x, y int) bool {
		if x < 0 || y < 0 || x >= size || y >= size {
			return false
		}
		r, _, _, _ := code.At(x, y).RGBA()
		return r == 0
	}
	var b strings.Builder
	for y := -quiet; y < size+quiet; y += 2 {
		b.WriteString("\x1b[30;107m")
		for x := -quiet; x < size+quiet; x++ {
			switch up, down := dark(x, y), dark(x, y+1); {
			case up && down:
				b.WriteRune('█')
			case up:
				b.WriteRune('▀')
			case down:
				b.WriteRune('▄')
			default:
				b.WriteByte(' ')
			}
		}
		b.WriteString("\x1b[0m\n")
	}
	return b.String(), nil
}
