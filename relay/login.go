package relay

import (
	"crypto/sha256"
	"time"
)

// Logins at the provider. One that was refused is not repeated: providers lock a
// mailbox after some wrong passwords. So a refused login holds back every service
// of the mailbox that would send the same, over restarts, until the credential is
// another one or a person says so:
//
//	login/<mailbox>/<service>   refusal
//
// The record has a salted, slow hash of user name and password, from which
// neither can be had. As long as the process has not seen a credential taken, only
// one login with it is under way, and that it is under way is durable before it
// is sent: a gateway that is stopped again and again while the provider ponders
// does not guess on, least of all with a credential that was never taken
// (login_taken.go).
//
// A refusal counts when it says that it is the credential (AUTHENTICATIONFAILED,
// [AUTH], 535, or words for it), and without a reason when the credential was never
// taken; never when it says that its own system is at fault ([SYS/PERM]). The listener's never does: the second connection is refused for reasons of
// its own, and the fetcher's next login tells.

// Login is what one service of the provider is told where it differs from the
// mailbox's.
type Login struct {
	Username string                 // empty: the mailbox's
	Password func() (string, error) `json:"-"` // nil: the mailbox's, with its Expires and File
	File     string                 // that holds Password; "": it stands in the policy itself
	Expires  time.Time              // the first instant at which the password is none any more; zero: never
}

// Services of a provider, as people read them.
const (
	serviceSMTP = "SMTP"
	serviceIMAP = "IMAP"
	servicePOP3 = "POP3"
)

// fetchService is the service a mailbox is fetched by.
func (a Account) fetchService() string {
	if a.POP3.Host != "" {
		return servicePOP3
	}
	return serviceIMAP
}

// loginOf is the whole login of a service.
func (a Account) loginOf(service string) Login {
	l := a.FetchLogin
	if service == serviceSMTP {
		l = a.SMTPLogin
	}
	if l.Username == "" {
		l.Username = a.Username
	}
	if l.Password == nil {
		l.Password, l.Expires = a.Password, a.Expires
	}
	return l
}

// logins is what a worker remembers of its logins; the fields below turn are
// under the worker's lock.
type logins struct {
	turn   chan struct{} // held while a credential of which nothing is known is tried
	now    Account       // with the logins as they are now
	proven map[credential]bool
	// refused are those whose refusal could not be recorded.
	refused map[credential]string
	judged  map[[sha256.Size]byte]bool // refusals compared with credentials
	unclear map[loginAt]doubt
}

// loginAt is a credential at a service.
type loginAt struct {
	service string
	c       credential
}

// doubt is about a login that was refused and is no wrong password: it was taken
// before and nothing says why, or the provider's system is at fault.
type doubt struct {
	until time.Time
	wait  time.Duration
	words string
}

const (
	// doubtFirst and doubtMost are the waits before such a login is sent again,
	// doubled in between: the provider may be in trouble, or the password a new one.
	doubtFirst = time.Minute
	doubtMost  = time.Hour
)

func newLogins(a Account) logins {
	return logins{
		turn: make(chan struct{}, 1), now: a,
		proven: map[credential]bool{}, refused: map[credential]string{}, judged: map[[sha256.Size]byte]bool{},
		unclear: map[loginAt]doubt{},
	}
}

// setLogins takes the logins of a reload.
func (w *worker) setLogins(a Account) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.logins.now = a
}
