package relay

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"

	"pecgate/relay/submit"
)

// TestB4_HangingMailboxesLeaveAConnection: the provider hangs, at each step, on
// whatever three mailboxes hand over, who are as many as its connections. They never
// have all of them again: what another mailbox sends leaves while they hold all that
// they may. Nothing decides by time: they are let go when it has left.
func TestB4_HangingMailboxesLeaveAConnection(t *testing.T) {
	for _, stage := range []submit.Stage{
		submit.StageConnect, submit.StageTLS, submit.StageGreeting, submit.StageHello, submit.StageAuth,
		submit.StageMail, submit.StageRcpt, submit.StageData, submit.StageBody, submit.StageDot,
	} {
		t.Run(string(stage), func(t *testing.T) {
			const connections = 3
			clock := newTestClock()
			store := clock.store(t)
			s := New(Options{Store: store, Accounts: func() []Account { return nil }, Address: "pecgate@gateway.example"})
			const good = "zeta@pec.alfa.example"
			var d dots
			hangs, goOn := make(chan struct{}), make(chan struct{})
			s.handOver = func(ctx context.Context, srv submit.Server, from string, to []string, b submit.Body, h submit.Hooks) submit.Result {
				if from == good {
					return d.handOver(ctx, srv, from, to, b, h)
				}
				r := submit.Result{Class: submit.Temporary, Stage: stage, Err: fmt.Errorf("no answer: %w", os.ErrDeadlineExceeded)}
				if stage == submit.StageDot {
					if err := h.BeforeDot(ctx); err != nil {
						t.Error(err)
					}
					r.Class = submit.Uncertain
				}
				hangs <- struct{}{}
				<-goOn
				return r
			}
			w := map[string]*worker{}
			var boxes []string
			for n := range connections {
				boxes = append(boxes, fmt.Sprintf("%c@pec.alfa.example", 'a'+n))
			}
			for _, box := range append([]string{good}, boxes...) {
				queued(t, store, box, 2)
				w[box] = aWorker(Account{Box: box, Connections: connections, SMTP: Endpoint{Host: "smtp.pec.example"}})
			}
			var all sync.WaitGroup
			send := func(box string) {
				if _, _, err := s.sendDue(t.Context(), w[box]); err != nil {
					t.Error(err)
				}
			}
			for _, box := range boxes { // for the first time they hang one behind the other
				all.Go(func() { send(box) })
				<-hangs
				goOn <- struct{}{}
				if !unreachable(submit.Result{Stage: stage}) { // the second of it is tried, too
					<-hangs
					goOn <- struct{}{}
				}
				all.Wait()
				if !w[box].hungSending {
					t.Fatal("nobody knows that it hung")
				}
			}
			var leave []func()
			for range connections - 1 {
				l, err := s.gates.enter(t.Context(), "smtp.pec.example", connections, true)
				if err != nil {
					t.Fatal(err)
				}
				leave = append(leave, l)
			}
			waits := make(chan func())
			go func() {
				l, err := s.gates.enter(t.Context(), "smtp.pec.example", connections, true)
				if err != nil {
					t.Error(err)
				}
				waits <- l
			}()
			for n := 0; n < 1; {
				s.gates.mu.Lock()
				n = len(s.gates.hosts["smtp.pec.example"].queue)
				s.gates.mu.Unlock()
				select {
				case <-waits:
					t.Fatal("those that hung have every connection")
				default:
				}
			}
			send(good)
			if len(d.sent) != 2 {
				t.Errorf("of the other mailbox left %v", d.sent)
			}
			leave[0]()
			(<-waits)()
			leave[1]()
			if len(s.gates.hosts) != 0 {
				t.Error("a place is not given back")
			}
		})
	}
}
