package gateway

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"pecgate/mailbox"
)

// TestG8_KnownDevicesOfTheAuditLog: good logins are found, each once, and nothing
// else.
func TestG8_KnownDevicesOfTheAuditLog(t *testing.T) {
	store, err := mailbox.Open(mailbox.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	err = store.Update(t.Context(), func(tx *mailbox.Tx) error {
		for _, l := range []mailbox.AuditLine{
			{Actor: "mario", Event: "login", Result: "good", From: "192.0.2.9"},
			{Actor: "anna", Event: "login", Result: "good", From: "192.0.2.9"},
			{Actor: "store", Event: "user removed", Subject: "mario"},
			{Actor: "root", Event: "user adopt", Subject: "old", More: map[string]string{"login": "Anna"}},
			{Actor: "mario", Event: "login", Result: "good", From: "192.0.2.1"},
			{Actor: "lucia", Event: "login", Result: "refused", From: "192.0.2.1"},
			{Actor: "mario", Event: "login", Result: "good", From: "192.0.2.1", Reason: "app password phone"},
			{Actor: "", Event: "login", Result: "good", From: "192.0.2.1"},
			{Actor: "mario", Event: "pin", Result: "right", From: "192.0.2.3"},
			{Actor: "lucia", Event: "login", Result: "good", From: "192.0.2.2"},
		} {
			if err := tx.Audit(l); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	if err := knownDevices(t.Context(), store, func(_ context.Context, login, remote string, at time.Time) error {
		if time.Since(at) > time.Hour {
			t.Errorf("at %v", at)
		}
		got = append(got, fmt.Sprint(login, " ", remote))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	slices.Sort(got)
	if want := []string{"lucia 192.0.2.2", "mario 192.0.2.1"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}
