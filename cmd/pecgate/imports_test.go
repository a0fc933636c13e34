package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

// roomsAllowed says which rooms of pecgate each room may import. A room that is
// not named here may not exist.
func roomsAllowed() map[string][]string {
	store := []string{"mailbox", "mailbox/..."}
	return map[string][]string{
		"cmd/pecgate": {"configs", "configs/...", "gateway", "gateway/...", "relay", "relay/...", "mailbox", "mailbox/...", "policy"},
		// judges from outside; the store itself opens damaged folders, in a process of its own
		"cmd/pecstress":               {"relay/providersim", "gateway/auth", "mailbox/planted", "mailbox", "mailbox/kv", "mailbox/kv/badger"},
		"configs":                     {"policy", "configs/seal"}, // one strict reader of addresses for files and messages
		"configs/seal":                {},
		"policy":                      {},
		"mailbox":                     {"mailbox/..."},
		"mailbox/planted":             {},
		"mailbox/segment":             {"mailbox/planted"},
		"mailbox/kv":                  {},
		"mailbox/kv/kvtest":           {"mailbox/kv"},
		"mailbox/kv/badger":           {"mailbox/kv", "mailbox/planted"},
		"mailbox/mime":                {},
		"mailbox/archive":             {},
		"mailbox/archive/export":      {},
		"mailbox/archive/bundle":      {"mailbox/audit", "mailbox/mime", "mailbox/pec"},
		"mailbox/backup":              {"mailbox/kv", "mailbox/segment"},
		"mailbox/audit":               {"mailbox/kv", "mailbox/planted"},
		"mailbox/pec":                 {"mailbox/mime", "mailbox/pec/cms", "mailbox/planted"},
		"mailbox/pec/cms":             {},
		"mailbox/pec/cms/cmstest":     {},
		"mailbox/events":              {},
		"mailbox/netconn":             {},
		"relay":                       append([]string{"policy", "relay/submit", "relay/fetch", "relay/forward", "relay/dsn", "relay/revocation"}, store...),
		"relay/dsn":                   {"mailbox/mime"},
		"relay/revocation":            {},
		"relay/forward":               append([]string{"relay/submit"}, store...),
		"relay/upstream":              {"mailbox/netconn"},
		"relay/upstream/upstreamtest": {"relay/upstream"},
		"relay/upstream/dovecottest":  {},
		"relay/submit/smarthosttest":  {},
		"relay/submit/postfixtest":    {},
		"relay/submit":                {"relay/upstream", "mailbox/netconn"},
		"relay/fetch":                 {"relay/upstream", "relay/pop3", "mailbox/netconn", "mailbox/events"},
		"relay/pop3":                  {},
		"relay/providersim":           {},
		"gateway":                     append([]string{"policy", "gateway/...", "relay", "relay/revocation"}, store...),
		"gateway/gate":                {"mailbox/events", "mailbox/netconn"},
		"gateway/gate/gatetest":       {"gateway/gate", "mailbox/events", "mailbox/netconn"},
		"gateway/auth":                {"policy", "mailbox/events"},
		"gateway/autoconfig":          {"policy", "mailbox/events"},
		"gateway/smtpd":               {"policy", "gateway/gate", "gateway/auth", "mailbox/events", "mailbox/mime", "mailbox/netconn", "mailbox/planted"},
		"gateway/imapd":               append([]string{"policy", "gateway/gate", "gateway/auth"}, store...),
		"gateway/admin/metrics":       {"relay"},
		"gateway/admin/api":           append([]string{"policy", "gateway/gate", "gateway/auth", "gateway/smtpd", "relay"}, store...),
		"gateway/admin":               append([]string{"relay"}, store...),
	}
}

// homes says where each third-party module may be imported.
func homes() map[string][]string {
	return map[string][]string{
		"filippo.io/age":                   {"mailbox/backup"},
		"github.com/dgraph-io/badger":      {"mailbox/kv/badger"},
		"github.com/emersion/go-smtp":      {"gateway/smtpd", "relay/submit", "relay/providersim"},
		"github.com/emersion/go-sasl":      {"gateway/smtpd", "gateway/imapd", "relay/submit", "relay/fetch", "relay/providersim"},
		"github.com/emersion/go-imap":      {"gateway/imapd", "relay/fetch", "relay/providersim", "cmd/pecstress"},
		"github.com/emersion/go-message":   {"mailbox/mime", "relay/providersim"},
		"github.com/smallstep/pkcs7":       {"relay/providersim"},
		"github.com/spf13/viper":           {"configs"},
		"github.com/go-viper/mapstructure": {"configs"},
		"go.yaml.in/yaml":                  {"configs"},
		"github.com/fsnotify/fsnotify":     {"configs"},
		"github.com/spf13/cobra":           {"cmd/pecgate", "cmd/pecstress"},
		"github.com/spf13/pflag":           {"cmd/pecgate"},
		"github.com/pires/go-proxyproto":   {"gateway/gate"},
		"golang.org/x/term":                {"cmd/pecgate", "cmd/pecstress"},
		"github.com/danielgtaylor/huma":    {"gateway/admin/api"},
		"github.com/prometheus":            {"gateway/admin/metrics"},
		"github.com/go-chi/chi":            {"gateway/admin/api"},
		"github.com/boombuler/barcode":     {"cmd/pecgate"},
		"github.com/pquerna/otp":           {"gateway/auth"},
		"golang.org/x/crypto":              {"gateway/auth", "configs/seal", "relay/upstream", "relay/upstream/upstreamtest", "relay/revocation"}, // the last three: OCSP answers
		"golang.org/x/sys":                 {"mailbox", "mailbox/backup", "gateway/admin", "mailbox/segment", "cmd/pecstress"},
		"golang.org/x/oauth2":              {"cmd/pecgate"},
		"golang.org/x/mod":                 {"mailbox/audit"},
		"golang.org/x/text":                {"mailbox/mime", "mailbox/pec", "relay/providersim"},
		"golang.org/x/time":                {"relay", "gateway/gate"},
	}
}

// standardOnly are the rooms that import nothing but the standard library.
func standardOnly() []string {
	return []string{"policy", "mailbox/segment", "mailbox/archive", "mailbox/archive/export", "mailbox/pec/cms", "relay/pop3"}
}

// TestImports compares the direct imports of every package with the picture
// that the design draws.
func TestImports(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}}{{range .Imports}} {{.}}{{end}}`, "pecgate/...").Output()
	if err != nil {
		t.Fatalf("list the packages: %v", err)
	}
	rooms, homes := roomsAllowed(), homes()
	seen := 0
	for sc := bufio.NewScanner(bytes.NewReader(out)); sc.Scan(); {
		words := strings.Fields(sc.Text())
		room := strings.TrimPrefix(words[0], "pecgate/")
		allowed, known := rooms[room]
		if !known {
			t.Errorf("package %s has no place in the house: see roomsAllowed", room)
			continue
		}
		seen++
		for _, imp := range words[1:] {
			if err := judge(room, imp, allowed, homes); err != nil {
				t.Error(err)
			}
		}
	}
	if seen < 15 {
		t.Errorf("only %d packages were looked at", seen)
	}
}

func judge(room, imp string, allowed []string, homes map[string][]string) error {
	if inner, ours := strings.CutPrefix(imp, "pecgate/"); ours {
		for _, a := range allowed {
			if inner == a || (strings.HasSuffix(a, "/...") && strings.HasPrefix(inner, strings.TrimSuffix(a, "..."))) {
				return nil
			}
		}
		return fmt.Errorf("%s must not import %s", room, imp)
	}
	if !strings.Contains(strings.SplitN(imp, "/", 2)[0], ".") {
		return nil // standard library
	}
	for _, s := range standardOnly() {
		if room == s {
			return fmt.Errorf("%s uses only the standard library, but imports %s", room, imp)
		}
	}
	for module, rooms := range homes {
		if imp != module && !strings.HasPrefix(imp, module+"/") {
			continue
		}
		for _, r := range rooms {
			if r == room {
				return nil
			}
		}
		return fmt.Errorf("%s imports %s, whose home is %s", room, imp, strings.Join(rooms, ", "))
	}
	return fmt.Errorf("%s imports %s, which has no home yet: see homes", room, imp)
}
