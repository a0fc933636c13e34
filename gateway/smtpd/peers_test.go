//go:build peers

package smtpd

import (
	"bytes"
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
