package configs

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

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

	// Last day on which the provider takes it, YYYY-MM-DD: the administrator is told 14, 7 and 1 days before. Default none.
	Expires Date `yaml:"expires"`

	keys *seal.Ring // what opens Sealed
}

// DaysLeft is how many days come after today until the last one of the secret, in a time zone: 0 on the last day, negative
// after it. It means nothing for a secret without one.
func (s Secret) DaysLeft(now time.Time, loc *time.Location) int {
	today := now.In(loc)
	day := func(y int, m time.Month, d int) time.Time { return time.Date(y, m, d, 0, 0, 0, 0, time.UTC) }
	return int(day(s.Expires.Year, s.Expires.Month, s.Expires.Day).Sub(day(today.Date())) / (24 * time.Hour))
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
