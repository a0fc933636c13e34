package submit

import (
	"errors"
	"fmt"
	"strings"
)

// maxAddress is the longest address that fits a path (RFC 5321 4.5.3.1.3).
const maxAddress = 254

// checkAddress accepts local@domain in plain ASCII without quoting. It is the
// last look before the address stands between < and > in a command, where a
// quote, a blank or a line end would be read as something else; what is policy
// was decided long before.
func checkAddress(s string) error {
	if len(s) == 0 || len(s) > maxAddress {
		return fmt.Errorf("address of %d bytes", len(s))
	}
	for _, b := range []byte(s) {
		if b <= ' ' || b >= 0x7f || strings.IndexByte("<>()[]\\,;:\"", b) >= 0 {
			return fmt.Errorf("address %q: character %q", s, b)
		}
	}
	local, domain, ok := strings.Cut(s, "@")
	if !ok || local == "" || domain == "" || strings.Contains(domain, "@") {
		return fmt.Errorf("address %q: not local@domain", s)
	}
	return nil
}

// checkEnvelope checks sender and recipients; null: the sender may be empty.
func checkEnvelope(from string, null bool, to []string) error {
	if from != "" || !null { // RFC 5321 section 4.5.5
		if err := checkAddress(from); err != nil {
			return fmt.Errorf("envelope sender: %w", err)
		}
	}
	if len(to) == 0 {
		return errors.New("envelope without recipients")
	}
	for _, rcpt := range to {
		if err := checkAddress(rcpt); err != nil {
			return fmt.Errorf("envelope recipient: %w", err)
		}
	}
	return nil
}
