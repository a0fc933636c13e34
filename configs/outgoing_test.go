package configs

import (
	"path/filepath"
	"strings"
	"testing"
)

// Ordinary mail can go to no PEC mailbox: an email that is one is refused.
func TestEmailIsNoPECMailbox(t *testing.T) {
	config := house(t)
	text := strings.Replace(people("", "      - {user: mario}\n      - {user: lucia}\n"), "lucia@example.org", "protocollo@pec.example.org", 1)
	write(t, filepath.Join(filepath.Dir(config), "policy.yaml"), text, 0o600)
	if _, err := Load(config); err == nil || !strings.Contains(err.Error(), "is the PEC mailbox at line") {
		t.Errorf("check says %v", err)
	}
}
