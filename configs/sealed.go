package configs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"pecgate/configs/seal"
	"pecgate/policy"
)

// Sealed is a secret that is encrypted with the key of the appliance.
type Sealed struct {
	// What `pecgate pin --totp` prints.
	Sealed string `yaml:"sealed" secret:"pecgate pin --totp USER"`
}

// sealCredential is the key file among the credentials that systemd gives a service (systemd.exec(5), LoadCredential=).
const sealCredential = "seal.key"

// SealKey is where the keys of sealed texts are.
type SealKey struct {
	File       string // absolute
	Credential bool   // it is one of systemd's, which nobody can write
	PolicyFile string // absolute; "" where pecgate.yaml does not tell
	Ring       *seal.Ring

	stamp stamp // of File, before it was read
}

// SealedPolicy reports whether the policy file seems to hold sealed texts, however faulty it is. A file that is not there
// holds none.
func (k SealKey) SealedPolicy() (bool, error) {
	if k.PolicyFile == "" {
		return false, errors.New("pecgate.yaml does not tell which file the policy is")
	}
	b, _, err := readRegular(k.PolicyFile, maxPolicy)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return seal.MayHold(b), err
}

// sealKey reads the keys: those that systemd hands over, else those of the file that seal_key names. Where there is neither,
// the ring is nil. An error names no file.
func (k keepers) sealKey(a *Appliance) (SealKey, error) {
	at := SealKey{File: a.SealKey, PolicyFile: a.PolicyFile}
	if dir := os.Getenv("CREDENTIALS_DIRECTORY"); dir != "" {
		if name := filepath.Join(dir, sealCredential); stampOf(name).info != nil {
			at.File, at.Credential = name, true
		}
	}
	at.stamp = stampOf(at.File)
	if _, err := os.Stat(at.File); errors.Is(err, fs.ErrNotExist) {
		return at, nil
	}
	b, err := k.readPrivate(at.File, seal.MaxFile)
	if err == nil {
		at.Ring, err = seal.Parse(b)
	}
	return at, err
}

// ReadSealKey reads the keys that the file pecgate.yaml at path leads to. Other faults of the two files do not matter: who
// seals a secret is often about to mend them.
func ReadSealKey(path string) (SealKey, error) {
	f := &findings{}
	abs, err := filepath.Abs(path)
	if err != nil {
		abs = path
	}
	a, _ := f.appliance(path, abs)
	if a == nil {
		return SealKey{}, Faults(most(once(sorted(f.faults))))
	}
	at, err := f.keepers.sealKey(a)
	if err != nil {
		return at, fmt.Errorf("key file %s: %w", shownName(at.File), err)
	}
	return at, nil
}

// OpenCode opens the secret of the one-time codes of a login. An error holds nothing of it.
func (l *Loaded) OpenCode(login, sealed string) ([]byte, error) {
	return l.seal.Ring.Open(seal.Code(login), sealed)
}

// sealed checks that a sealed text opens. Without any key it is a warning, as a variable that is not set is: the shell of an
// administrator may lack what systemd gives the service.
func (c *policyCheck) sealed(path string, p seal.Purpose, text, command string) []byte {
	secret, err := c.seal.Ring.Open(p, text)
	switch {
	case errors.Is(err, seal.ErrNoKey):
		c.warn(c.where(path), "sealed: the key is not here, so it stays closed: there is no file %s", shownName(c.seal.File))
	case errors.Is(err, seal.ErrOtherKey):
		c.refuse(path, "sealed: it was %v than those in file %s: put the old key back as its first line, or make the text anew with `%s`", err, shownName(c.seal.File), command)
	case err != nil:
		c.refuse(path, "sealed: it is %v: make it anew with `%s`", err, command)
	}
	return secret
}

// code checks the secret of a user's one-time codes.
func (c *policyCheck) code(u *User, path string) {
	at := path + "totp"
	if c.apart || c.bad[at] || !c.written(at) {
		return
	}
	command := "pecgate pin --totp " + inShell(u.Login)
	switch {
	case u.TOTP.Sealed == "":
		c.refuse(at, "totp: write the line that `%s` prints", command)
		return
	case u.PIN != "" || c.written(path+"pin"):
		c.refuse(at, "totp: one-time codes are in place of the pin: take one of the two out")
	}
	if secret := c.sealed(at+".sealed", seal.Code(u.Login), u.TOTP.Sealed, command); secret != nil && (len(secret) < 16 || len(secret) > 64) {
		c.refuse(at+".sealed", "sealed: this is no secret of one-time codes: make it anew with `%s`", command)
	}
}

// SealedText is a sealed text of policy.yaml, with what it is for.
type SealedText struct {
	Purpose seal.Purpose
	Text    string
	At      Position
}

// SealedTexts are all that stand in policy.yaml.
func (l *Loaded) SealedTexts() []SealedText {
	var out []SealedText
	for _, u := range l.Policy.Users {
		if u.TOTP.Sealed != "" {
			out = append(out, SealedText{seal.Code(u.Login), u.TOTP.Sealed, u.At})
		}
	}
	for _, m := range l.Policy.Mailboxes {
		for _, s := range []Secret{m.Password, m.SMTP.Password, m.Incoming.Password} {
			if s.Sealed != "" {
				out = append(out, SealedText{seal.Password, s.Sealed, m.At})
			}
		}
	}
	return out
}

// hasPIN reports whether a user has a PIN or one-time codes, be they good or not.
func (c *policyCheck) hasPIN(u int) bool {
	user := &c.policy.Users[u]
	return user.PIN != "" || user.TOTP.Sealed != "" || c.written(fmt.Sprintf("users[%d].pin", u)) || c.written(fmt.Sprintf("users[%d].totp", u))
}

// adviseCodes speaks for one-time codes where a PIN is given by a reply: whoever reads what somebody sent has their PIN.
func (c *policyCheck) adviseCodes(m *Mailbox, path string, fixed []string) {
	if !m.PINRequired || !slices.Contains(m.PINMethods, policy.PINByReply) || len(fixed) == 0 {
		return
	}
	more := ""
	if n := len(fixed) - 1; n > 0 {
		more = fmt.Sprintf(" (and %d more)", n)
	}
	c.warn(c.where(path+"pin_methods"), "pin_methods: a reply stays among what its writer sent, with the PIN in it: better give one-time codes, `pecgate pin --totp %s`%s",
		inShell(fixed[0]), more)
}
