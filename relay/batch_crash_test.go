package relay

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"
)

// TestBatchOverKills kills the relay while it hands a batch over, several times:
// no message of it arrives twice, and each that did not arrive is one of which
// nobody can say so.
func TestBatchOverKills(t *testing.T) {
	const n, kills = 24, 4
	p, imapAt, _ := simulated(t)
	_, port, err := net.SplitHostPort(p.SMTPAddr())
	if err != nil {
		t.Fatal(err)
	}
	o := childOrder{Dir: t.TempDir(), Port: imapAt.Port, CA: filepath.Join(t.TempDir(), "ca.pem")}
	if o.SMTP, err = strconv.Atoi(port); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(o.CA, p.CAPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	i := newIntake(t)
	dir := filepath.Join(t.TempDir(), "data")
	o.Dir = dir
	i.in(dir)
	i.putBatch(SplitAlways, 0, numbered(n)...)
	if err := i.store.Close(); err != nil {
		t.Fatal(err)
	}
	for k := range kills {
		r := startChild(t, o)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		err := p.Wait(ctx, func() bool { return len(p.Ledger()) >= (k+1)*n/(kills+1) })
		cancel()
		// Where in its steps it is then is chance.
		time.Sleep(time.Duration(k) * time.Millisecond)
		r.kill()
		if err != nil || r.cmd.ProcessState.Exited() {
			t.Fatalf("%v\n%s", err, &r.log)
		}
	}
	at := imapAt
	i.acc = Account{Box: testBox, Active: true, Username: "M123", Password: func() (string, error) { return "segreta", nil }, IMAP: at, SMTP: at, Every: 20 * time.Millisecond}
	i.acc.SMTP.Port = o.SMTP
	i.in(dir)
	ctx, stop := context.WithCancel(t.Context())
	var run sync.WaitGroup
	run.Go(func() {
		if err := i.s.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	var s Shown
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if s = i.shown(batchID); s.Batch.Queued == 0 && s.Batch.HandedOver+s.Batch.Uncertain == n {
			break
		}
		if time.Now().After(end) {
			t.Errorf("it does not end: %+v\n%s", s.Batch, i.log)
			break
		}
	}
	stop()
	run.Wait()
	arrived := map[string]int{}
	for _, l := range p.Ledger() {
		arrived[l.Recipients[0]]++
	}
	for _, c := range s.Children {
		if k := arrived[c.Recipients[0]]; k > 1 || k == 0 && c.State != Uncertain {
			t.Errorf("%s arrived %d times: %s", c.ID, k, c.State)
		}
	}
	if s.Batch.Uncertain > kills {
		t.Errorf("%d are uncertain after %d kills", s.Batch.Uncertain, kills)
	}
}
