package relay

import (
	"strings"
	"testing"
)

// What people read of a refused login says it once, names the place where the password
// stands, and quotes the provider without our own words around it.
func TestSuspensionIsSaidOnceAndNamesTheFile(t *testing.T) {
	i := newIntake(t)
	i.withAdmin()
	i.acc.PasswordFile = "secrets/protocollo"
	i.acc.SMTPLogin = Login{Password: func() (string, error) { return "", nil }}
	for _, tt := range []struct {
		service, why, want string
	}{
		{serviceIMAP, "login refused: login: the provider answered NO [AUTHENTICATIONFAILED] no", "IMAP login refused: set the right password in secrets/protocollo; the provider said: NO [AUTHENTICATIONFAILED] no"},
		{serviceSMTP, "auth: 535 5.7.8 no", "SMTP login refused: set the right password in policy.yaml; the provider said: 535 5.7.8 no"},
		{servicePOP3, "-ERR no", "POP3 login refused: set the right password in secrets/protocollo; the provider said: -ERR no"},
	} {
		r := refusal{Service: tt.service, Why: providerSaid(tt.why)}
		if got := r.text(i.acc); got != tt.want {
			t.Errorf("%q", got)
		}
		a := i.s.suspendedAlarm(i.acc, &r)
		if place := i.acc.passwordPlace(tt.service); !strings.Contains(a.it, " in "+place) || !strings.Contains(a.en, " into "+place) {
			t.Errorf("the alarm does not name %s: %s", place, a.it)
		}
	}
}
