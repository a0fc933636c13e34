package upstream

import "testing"

// TestJudgeRefusal: what is about other connections or a lock passes, what is about
// the password does not, and the rest is nobody's guess.
func TestJudgeRefusal(t *testing.T) {
	for words, want := range map[string]Refusal{
		"maildrop already locked":                             Passing, // the example of RFC 1939 section 10
		"Too many simultaneous connections for this mailbox":  Passing,
		"Mailbox in use by another session":                   Passing,
		"Maximum number of connections from user+IP exceeded": Passing,
		"Casella bloccata da un'altra sessione":               Passing,
		"Temporary authentication failure":                    Passing,
		"Authentication failed.":                              Credential,
		"LOGIN failed":                                        Credential,
		"invalid user name or password":                       Credential,
		"Credenziali errate":                                  Credential,
		"Too many failed login attempts, mailbox locked":      Credential,
		"Troppi tentativi: casella bloccata":                  Credential,
		"password expired":                                    Credential,
		"account locked":                                      Unclear,
		"[ALERT]":                                             Unclear,
		"":                                                    Unclear,
		"please use the panel":                                Unclear,
	} {
		if got := JudgeRefusal(words); got != want {
			t.Errorf("%q: %d instead of %d", words, got, want)
		}
	}
}
