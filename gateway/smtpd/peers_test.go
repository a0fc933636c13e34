//go:build peers

package smtpd

import (
	"bytes"
	"encoding/base64"
	"net"
	"os/exec"
	"strings"
	"testing"

	"pecgate/gateway/gate"
)

// TestPeers_Swaks sends with swaks on both kinds of port and by both
// mechanisms.
func TestPeers_Swaks(t *testing.T) {
	for _, mode := range []gate.Mode{gate.ImplicitTLS, gate.StartTLSSMTP} {
		for _, mech := range []string{"PLAIN", "LOGIN"} {
			s := newServer(t, nil)
			s.listen(t, mode)
			_, port, err := net.SplitHostPort(s.gate.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			flag := "--tls-on-connect"
			if mode == gate.StartTLSSMTP {
				flag = "--tls"
			}
			out, err := exec.CommandContext(t.Context(), "swaks", flag, "--server", "127.0.0.1", "--port", port, "--auth", mech,
				"--auth-user", "mario", "--auth-password", password, "--from", "protocollo@pec.example.org", "--to", other,
				"--header", "Subject: prova [PIN:"+pin+"]", "--body", ".\r\n..due\r\ntesto\r\n").CombinedOutput()
			if err != nil || !bytes.Contains(out, []byte("Accettato come id1 / accepted as id1")) {
				t.Errorf("mode %d, %s: %v\n%s", mode, mech, err, out)
				continue
			}
			if got := string(s.store.all()[0].data); !strings.Contains(got, "\r\n\r\n.\r\n..due\r\ntesto\r\n") || strings.Contains(got, pin) {
				t.Errorf("stored %q", got)
			}
		}
	}
}

// TestG1_Peers_PythonReadsTheSame: Python's two readers of mail see the sender
// and the recipient of every header that passes as smtpd does.
func TestG1_Peers_PythonReadsTheSame(t *testing.T) {
	var in bytes.Buffer
	var want []string
	for _, r := range headerRows(t) {
		if r.reason != "ok" {
			continue
		}
		l, err := readLetter([]byte(r.header), []string{shown}, "")
		if err != nil {
			t.Fatalf("line %d: %v", r.line, err)
		}
		want = append(want, strings.ToLower(l.from)+" True")
		in.WriteString(base64.StdEncoding.EncodeToString(l.header) + "\n")
	}
	cmd := exec.CommandContext(t.Context(), "python3", "-c", `
import base64, email, email.policy, email.utils, sys
for line in sys.stdin:
    raw = base64.b64decode(line)
    new = email.message_from_bytes(raw, policy=email.policy.default)
    old = email.message_from_bytes(raw)
    froms = {a.addr_spec.lower() for h in new.get_all("From") for a in h.addresses}
    froms |= {a.lower() for _, a in email.utils.getaddresses([str(h) for h in old.get_all("From")])}
    seen = {a.addr_spec.lower() for n in ("To", "Cc") for h in new.get_all(n, []) for a in h.addresses}
    print(" ".join(sorted(froms)), "`+shown+`" in seen)
`)
	cmd.Stdin = &in
	out, err := cmd.CombinedOutput()
	got := strings.Split(strings.TrimSpace(string(out)), "\n")
	if err != nil || len(got) != len(want) || len(want) < 40 {
		t.Fatalf("%d headers, %d read: %v\n%s", len(want), len(got), err, out)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("header %d: Python sees %q, smtpd %q", i, got[i], want[i])
		}
	}
}

// TestE2_Peers_OpenSSL offers old versions and weak suites with openssl, which
// has not the same limits as Go's client.
func TestE2_Peers_OpenSSL(t *testing.T) {
	for _, mode := range []gate.Mode{gate.ImplicitTLS, gate.StartTLSSMTP} {
		s := newServer(t, nil)
		s.listen(t, mode)
		for _, tt := range []struct {
			args []string
			ok   bool
		}{
			{[]string{"-tls1", "-cipher", "ALL:@SECLEVEL=0"}, false},
			{[]string{"-tls1_1", "-cipher", "ALL:@SECLEVEL=0"}, false},
			{[]string{"-tls1_2", "-cipher", "kRSA:@SECLEVEL=0"}, false},
			{[]string{"-tls1_2", "-cipher", "3DES:@SECLEVEL=0"}, false},
			{[]string{"-tls1_2"}, true},
			{[]string{"-tls1_3"}, true},
		} {
			args := append([]string{"s_client", "-connect", s.gate.Addr().String(), "-brief"}, tt.args...)
			if mode == gate.StartTLSSMTP {
				args = append(args, "-starttls", "smtp")
			}
			cmd := exec.CommandContext(t.Context(), "openssl", args...)
			cmd.Stdin = strings.NewReader("QUIT\r\n")
			out, err := cmd.CombinedOutput()
			if ok := bytes.Contains(out, []byte("CONNECTION ESTABLISHED")); ok != tt.ok {
				t.Errorf("mode %d, %v: %v\n%s", mode, tt.args, err, out)
			}
		}
	}
}
