package upstream

import (
	"slices"
	"strings"
)

// Refusal is what the words of a refused login are about, where no code says it.
type Refusal int

// What a refused login is about.
const (
	Unclear    Refusal = iota // nobody can tell
	Credential                // user name or password: the same login is not to be sent again
	Passing                   // something that passes: other connections, a lock on the mailbox, the provider's health
)

// JudgeRefusal reads the words of a refused login. A lock-out after wrong passwords
// is no passing lock: the same login would prolong it.
func JudgeRefusal(words string) Refusal {
	words = strings.ToLower(words)
	has := func(list ...string) bool {
		return slices.ContainsFunc(list, func(w string) bool { return strings.Contains(words, w) })
	}
	guesses := has("attempt", "tentativ", "failed login", "failed logins", "failures", "login falliti", "accessi falliti")
	switch {
	case guesses:
		return Credential
	case has("too many", "connections", "connessioni", "troppe", "troppi", "simultane", "in use", "in uso", "try again later", "try later", "temporar", "riprova", "unavailable", "non disponibile"):
		return Passing
	case has("locked", "bloccat") && !has("account", "user", "password", "utente", "accesso"):
		return Passing
	case has("authentication fail", "authentication unsuccessful", "authentication error", "authentication rejected", "login fail", "login incorrect", "login rejected", "logon fail",
		"invalid", "incorrect", "wrong", "bad ", "password", "passwd", "credential", "credenzial", "unknown user", "no such user",
		"autenticazione fallita", "autenticazione non", "accesso fallito", "accesso negato", "errat", "non valid", "sconosciut", "inesistent"):
		return Credential
	}
	return Unclear
}
