package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"pecgate/configs"
	"pecgate/gateway/auth"
	"pecgate/policy"
)

func TestPolicyOf(t *testing.T) {
	config := configFolder(t)
	kept := strings.Replace(policyText, "admin: lucia", "admin: lucia\n    keep: 3650d", 1)
	if err := os.WriteFile(filepath.Join(filepath.Dir(config), "policy.yaml"), []byte(kept), 0o600); err != nil {
		t.Fatal(err)
	}
	loaded, err := configs.Load(config)
	if err != nil {
		t.Fatal(err)
	}
	p := policyOf(loaded)
	file := filepath.Join(filepath.Dir(config), "policy.yaml")
	rome, err := time.LoadLocation("Europe/Rome")
	if err != nil {
		t.Fatal(err)
	}
	want := []policy.Mailbox{{
		Address: "protocollo@pec.example.org", Active: true, PINMethods: []string{"subject"}, Receipt: "complete",
		ReceiptsTo: "sender", Split: "never", Admin: "lucia", SharedSeen: true, Recipients: 20, Product: 100e6,
		Keep: 3650 * 24 * time.Hour, Line: file + ":8",
		Members: []policy.Member{
			{User: "mario", Send: true, Receive: true, Unsaid: ^policy.Anomalies, Expires: time.Date(2099, 7, 1, 0, 0, 0, 0, rome), Line: file + ":16"},
			{User: "lucia", Send: true, Unsaid: ^(policy.Receive | policy.Anomalies), Line: file + ":17"},
		},
	}}
	if !reflect.DeepEqual(p.Mailboxes, want) {
		t.Errorf("mailboxes\n%+v\nwant\n%+v", p.Mailboxes, want)
	}
	if u, ok := p.User("mario"); !ok || u.Email != "mario.rossi@example.org" || u.Line != file+":2" || auth.CheckHash(u.Password) != nil {
		t.Errorf("user %+v", u)
	}
	last := time.Date(2099, 6, 30, 23, 59, 59, 0, rome)
	if r := p.Rights("mario", "protocollo@pec.example.org", last); !r.Send || !r.Receive || r.Anomalies {
		t.Errorf("rights on the last day %+v", r)
	}
	if r := p.Rights("mario", "protocollo@pec.example.org", last.Add(time.Second)); r.Any() {
		t.Errorf("rights after it %+v", r)
	}
}

// The loader takes no hash that the login service would not use: such a user could never log in.
func TestHashBoundsAgree(t *testing.T) {
	const tail = "$c2FsdHNhbHRzYWx0$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
	for _, cost := range []string{
		"m=19456,t=2,p=1", "m=65536,t=4,p=4", "m=65536,t=5,p=4", "m=65537,t=1,p=1", "m=8,t=1,p=1", "m=8,t=1,p=2", "m=7,t=1,p=1",
		"m=100,t=10,p=1", "m=100,t=11,p=1", "m=1024,t=3,p=4", "m=1024,t=3,p=5", "m=0,t=1,p=1", "m=1024,t=0,p=1", "m=01024,t=2,p=1",
		"t=2,m=1024,p=1", "m=1024,t=2", "m=+1024,t=2,p=1", "m=4294967304,t=1,p=1",
	} {
		hash := "$argon2id$v=19$" + cost + tail
		if loader, login := configs.CheckHash(hash), auth.CheckHash(hash); (loader == nil) != (login == nil) {
			t.Errorf("%s: loader %v, login %v", cost, loader, login)
		}
	}
	const old = "abcdefghijklmnopqrstuu0sISH0leK.XA2Hsy79BXs2v6yMcspdC"
	// Of bcrypt the loader takes only cost 12; the login service knows cheaper ones, which its tests use.
	for _, hash := range []string{
		"$2y$10$" + old, "$2a$04$" + old, "$2b$12$" + old, "$2b$13$" + old, "$2b$03$" + old, "$2x$10$" + old, "$2$10$" + old,
		"$2y$10$" + old[1:], "$2y$10$=" + old[1:], "$2y$1a$" + old, "$2", "$2y$", "$2y$10$" + old + "a",
	} {
		if loader, login := configs.CheckHash(hash), auth.CheckHash(hash); loader == nil && login != nil {
			t.Errorf("%s: loader %v, login %v", hash, loader, login)
		}
	}
}

// TestSettingText: a change of the policy is shown as policy.yaml writes the value.
func TestSettingText(t *testing.T) {
	for _, tt := range []struct {
		value any
		want  string
	}{
		{configs.CopyRule{Mode: "after", After: 360 * time.Hour}, "15d"}, {configs.CopyRule{Mode: "keep"}, "keep"},
		{configs.Retention{After: 36 * time.Hour}, "36h"}, {configs.Retention{Forever: true}, "forever"},
		{15 * time.Minute, "15m"}, {90 * time.Second, "1m30s"},
		{configs.Patience(30 * time.Minute), "30m"}, {configs.Patience(72 * time.Hour), "3d"}, {configs.Patience(0), "off"},
		{configs.Hour{Set: true, At: 7*time.Hour + 30*time.Minute}, "07:30"}, {configs.Hour{}, "off"},
		{"", "none"}, {[]string{"a", "b"}, "[a, b]"}, {5, "5"},
	} {
		if got := settingText(reflect.ValueOf(tt.value)); got != tt.want {
			t.Errorf("%v is shown as %q, wanted %q", tt.value, got, tt.want)
		}
	}
}
