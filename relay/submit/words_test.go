package submit

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"pecgate/relay/upstream"
)

// What people read about an attempt says nothing twice.
func TestWordsSayTheStageOnce(t *testing.T) {
	for _, tt := range []struct {
		r    Result
		want string
	}{
		{Result{Stage: StageConnect, Err: errors.New("connect to smtp.pec.example port 465: connection refused")}, "connect to smtp.pec.example port 465: connection refused"},
		{Result{Stage: StageTLS, Err: &upstream.TLSError{Err: errors.New("x509: expired")}}, "TLS: x509: expired"},
		{Result{Stage: StageDot, Err: errors.New("final dot: EOF")}, "final dot: EOF"},
		{Result{Stage: StageMail, Err: fmt.Errorf("MAIL: %w", errors.New("EOF"))}, "MAIL: EOF"},
		{Result{Stage: StageAuth, Err: errors.New("login: no")}, "auth: login: no"},
		{Result{Stage: StageMail, Err: errors.New("mailbox too large")}, "mail: mailbox too large"},
		{Result{Stage: StageRcpt, Code: 550, Enhanced: "5.1.1", Text: "no such user", Err: errors.New("RCPT: refused")}, "rcpt: 550 5.1.1 no such user"},
		{Result{Stage: StageDot, Code: 451, Text: "later"}, "dot: 451 later"},
		{Result{Stage: StageDot}, "dot"},
	} {
		if got := tt.r.Words(); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
	// And as it comes about.
	srv := Server{Host: "127.0.0.1", Port: 1, Security: "tls"}
	if got := Send(t.Context(), srv, from, to, hello, Hooks{}).Words(); strings.HasPrefix(got, "connect: connect") || !strings.HasPrefix(got, "connect to 127.0.0.1 port 1") {
		t.Errorf("%q", got)
	}
}
