package configs

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"pecgate/configs/seal"
)

// Secret says where a password is. It holds no secret itself; the password is read when it is used.
type Secret struct {
	// File that holds the password, one line; mode 0600 or 0640, of root or of the user that pecgate runs as.
	File string `yaml:"file"`
	// Environment variable that holds the password.
	Env string `yaml:"env"`
	// Password encrypted with the key of the appliance: what `pecgate seal` prints.
	Sealed string `yaml:"sealed" secret:"pecgate seal"`

	keys *seal.Ring // what opens Sealed
}

// maxSecret is more than any provider's password.
const maxSecret = 4096

// IsZero reports whether nothing is named.
func (s Secret) IsZero() bool { return s == Secret{} }

// Resolve reads the password. One line end at the end of a file is not part of it. An error names the file or the
// variable, never their content.
func (s Secret) Resolve() (string, error) { return s.resolve(keepersOf("")) }

func (s Secret) resolve(k keepers) (string, error) {
	var text, from string
	switch {
	case s.File != "":
		from = "file " + shownName(s.File)
		b, err := k.readPrivate(s.File, maxSecret)
		if err != nil {
			return "", fmt.Errorf("password from %s: %w", from, err)
		}
		text = strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
	case s.Env != "":
		from = "environment variable " + shownName(s.Env)
		text = os.Getenv(s.Env)
	case s.Sealed != "":
		from = "sealed text"
		b, err := s.keys.Open(seal.Password, s.Sealed)
		if err != nil {
			return "", fmt.Errorf("password from %s: %w", from, err)
		}
		text = string(b)
	default:
		return "", errors.New("no password is configured")
	}
	if text == "" {
		return "", fmt.Errorf("password from %s: it is empty or not set", from)
	}
	if len(text) > maxSecret || strings.ContainsAny(text, "\r\n\x00") {
		return "", fmt.Errorf("password from %s: it must be one line", from)
	}
	return text, nil
}
