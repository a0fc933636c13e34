package relay

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"pecgate/mailbox"
	"pecgate/mailbox/events"
	"pecgate/mailbox/pec"
	"pecgate/policy"
	"pecgate/relay/fetch"
	"pecgate/relay/revocation"
	"pecgate/relay/submit"
)

// Options is what the relay needs.
type Options struct {
	Store    *mailbox.Store
	Reader   *pec.Reader
	Accounts func() []Account // asked at start and at each Reload
	Hello    string           // our name towards the provider (EHLO)
	Address  string           // From of notices
	Language string           // of notices: "it" or "en"
	Location *time.Location   // of the times in reports; nil: UTC
	Schedule Schedule
	// StopWait is how long, once Run's context has ended, the provider's answer to a
	// final dot is waited for; then the submission is uncertain. 0: 10 minutes, as
	// without a stop (RFC 5321 section 4.5.3.2.6). The unit's TimeoutStopSec is longer.
	StopWait time.Duration
	Events   *events.Log
	// MayApprove tells whether a login may approve for a mailbox by now, own what
	// they wrote themselves; asked at start and at each Reload. nil: all may.
	MayApprove func(login, box string, own bool) bool
	// Policy says who sees what by now: who gets receipts, see routing.go. nil: every
	// login has all rights.
	Policy func() *policy.Policy
	// Readers are the people who may see something of a mailbox by now. nil: nobody is known.
	Readers func(box string) []Reader
	// Person is how ordinary mail reaches a login by now; nil: nobody is reached.
	Person func(login string) Correspondent
	// Digests are the logins that want a digest each day, and at what time of the day
	// (in Location). nil: nobody.
	Digests func() map[string]time.Duration
	// Smarthost is the way to ordinary mailboxes; nil: there is none.
	Smarthost *Smarthost
	// IMAP is the way to those of some domains, in place of it; nil: there is none.
	IMAP *IMAPDelivery
	// DeliveryReports tells whether a relay of the policy has receipts told as delivery
	// status notifications, to senders who asked for it. nil: none has.
	DeliveryReports func(relay string) bool
	// Revocation asks an authority whether a provider's certificate is good; nil: nobody
	// is asked.
	Revocation func(ctx context.Context, leaf, issuer *x509.Certificate) revocation.Answer
	// Certificate is when the gateway's own certificate ends; nil: it is not watched.
	Certificate func() time.Time
}

// Reader is a person who may see something of a mailbox.
type Reader struct {
	Correspondent
	Login     string
	NotifyNew bool // asked for a notice of each PEC that arrives
	Approves  bool // may approve what others wrote
	// Sees says what they see of a folder, exactly as it is by IMAP.
	Sees func(role mailbox.Role) (mailbox.Scope, bool)
}

// Service runs a sender and a fetcher for each active mailbox.
type Service struct {
	opt    Options
	reload chan struct{}
	// retrusted is the reader in place of that of the options, once other CAs are
	// trusted; rejudge says so to who judges again.
	retrusted atomic.Pointer[pec.Reader]
	rejudge   chan struct{}
	repeats   repeatSweep // how far fingerprints were swept; the watchdogs' alone
	// revocations are messages whose signers are asked about: revocation_keep.go.
	revocations chan signedBy
	// perRound is messagesPerRound; tests take fewer.
	perRound int
	// holder is who holds the leases of this service: the opening of the store, a
	// slash, and a name of its own.
	holder string
	// handOver is submit.Send; tests put another provider there.
	handOver func(context.Context, submit.Server, string, []string, submit.Body, submit.Hooks) submit.Result
	// at is what a test does at a moment of an attempt; nil: nothing.
	at func(m instant, id string)
	// suspects lets one submission at a time be handled of those during which the
	// gateway ended before.
	suspects chan struct{}
	gates    gates
	// fetched is what the watch knows of mailboxes; the watch's alone.
	fetched  map[string]*fetchWatch
	machines machines
	// roundFor is the constant of that name; tests take none.
	roundFor time.Duration

	mu      sync.Mutex
	workers map[string]*worker // by mailbox
	fences  map[string]uint64  // of the leases to fetch that are ours, by mailbox
}

// worker is one mailbox at work.
type worker struct {
	acc     Account
	stop    context.CancelFunc
	done    sync.WaitGroup
	jobs    chan *job     // for the fetcher, between two rounds
	over    chan struct{} // closed when the fetcher has stopped
	hurry   chan struct{} // something was sent: receipts will come
	hints   chan struct{} // the provider says that something happened
	well    chan struct{} // a round of the fetcher ended well
	tries   map[spot]int  // of messages that cannot be fetched; the fetcher's alone
	turn    string        // line of the batch that went last; the sender's alone
	down    int           // attempts in a row that could not reach the provider; the sender's alone
	halt    halt          // why nothing leaves, as it was last noted; the sender's alone
	answers bool          // its provider was reached by the last attempt; the sender's alone
	late    bool          // its senders were told that nothing leaves, or may have been; the sender's alone
	// The last connection hung: see gates.go. The first is the sender's alone, the
	// second the fetcher's.
	hungSending, hungFetching bool

	looked lateWalk // who waits for too long; the sender's alone
	lease  boxLease // to fetch, as it was last written; the fetcher's alone
	// lookedTo is how far it was looked for copies to delete, by prefix; the
	// fetcher's alone.
	lookedTo map[string]string
	counted  map[string]time.Time // when a folder was counted last; the fetcher's alone
	sought   map[string]again     // originals that were looked for in vain, by Message-ID; the fetcher's alone
	// What fails again and again is not told each time; the fetcher's alone.
	fetchTrouble, quotaTrouble events.Trouble
	sendTrouble                events.Trouble // the sender's alone
	brake                      brake          // the sender's alone
	// lookedAt is when other folders were looked into; the fetcher's alone.
	lookedAt time.Time

	ended atomic.Bool

	mu     sync.Mutex
	logins logins
	facts  BoxStatus
	shut   bool // the hours of receiving are over
	// otherHas: another gateway on the store fetches it, by the last round.
	otherHas bool
	good     uint64      // rounds of fetching without an error
	quota    fetch.Quota // of the provider
	blind    string      // why a look at the mailbox failed since the last good one, where that could not be recorded
	seeking  int         // of how many the receipt is looked for
	// goodLook: this round has made a good look for these.
	goodLook bool
}

// stopWait is the default of Options.StopWait.
const stopWait = 10 * time.Minute

// New returns a service that does nothing before Run.
func New(o Options) *Service {
	if o.Events == nil {
		o.Events = events.Discard()
	}
	if o.Location == nil {
		o.Location = time.UTC
	}
	o.Schedule = o.Schedule.orDefault()
	if o.StopWait <= 0 {
		o.StopWait = stopWait
	}
	return &Service{
		machines: machines{now: o.Store.Now, sent: map[[32]byte]*machine{}},
		opt:      o, reload: make(chan struct{}, 1), rejudge: make(chan struct{}, 1), revocations: make(chan signedBy, revocationWaiting), perRound: messagesPerRound, repeats: repeatSweep{from: "t/"}, roundFor: roundFor, workers: map[string]*worker{},
		holder: o.Store.Opened() + "/" + rand.Text(), handOver: submit.Send, suspects: make(chan struct{}, 1), fences: map[string]uint64{}, fetched: map[string]*fetchWatch{},
	}
}

// Run recovers what a crash left behind, then sends and fetches until ctx
// ends, and returns when every worker has stopped.
func (s *Service) Run(ctx context.Context) error {
	if err := s.Restored(ctx); err != nil {
		return err
	}
	if err := s.recover(ctx); err != nil {
		return err
	}
	if err := s.expectNothingOfOld(ctx); err != nil && ctx.Err() == nil {
		s.faults("", err) // they hold room back for two days at most
	}
	if err := s.claimAll(ctx); err != nil && ctx.Err() == nil {
		s.faults("", err) // they go on waiting
	}
	defer s.stopAll()
	var reporter sync.WaitGroup
	defer reporter.Wait()
	reporter.Go(func() { s.report(ctx) })
	reporter.Go(func() { s.keepHolds(ctx) })
	reporter.Go(func() { s.watchExpiry(ctx) })
	reporter.Go(func() { s.watchAll(ctx) })
	reporter.Go(func() { s.judge(ctx) })
	reporter.Go(func() { s.keepForwards(ctx) })
	reporter.Go(func() { s.keepRevocations(ctx) })
	reporter.Go(func() {
		if err := s.coverAll(ctx); err != nil && ctx.Err() == nil {
			s.faults("", err) // until the next start each list reads everything
		}
	})
	reporter.Go(func() { s.keepNotifications(ctx) })
	for {
		if err := s.holdRemoved(ctx); err != nil && ctx.Err() == nil {
			s.faults("", err) // each is looked at again before it is sent
		}
		s.fit(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-s.reload:
		}
	}
}

// Reload asks for the accounts again: new ones start, those that are gone or
// inactive stop, changed ones start anew.
func (s *Service) Reload() {
	select {
	case s.reload <- struct{}{}:
	default:
	}
}

// fit makes the workers match the accounts. It does not wait for a worker that
// has to end: it is called again when one has ended, so that a mailbox in the
// middle of a hand-over delays no other.
func (s *Service) fit(ctx context.Context) {
	want := map[string]Account{}
	for _, a := range s.opt.Accounts() {
		a.Box = strings.ToLower(a.Box)
		if a.Active {
			want[a.Box] = a
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	read := map[string]time.Time{} // when those were read last that begin anew
	for box, w := range s.workers {
		if w.ended.Load() {
			delete(s.workers, box)
			read[box] = w.status().LastFetch
			continue
		}
		if a, ok := want[box]; ok && a.same(w.acc) {
			w.setLogins(a)
			continue
		}
		w.stop()
	}
	for box, a := range want {
		if s.workers[box] == nil {
			s.workers[box] = s.start(ctx, a, read[box])
		}
	}
}

func newWorker(a Account, stop context.CancelFunc) *worker {
	return &worker{jobs: make(chan *job), over: make(chan struct{}), acc: a, logins: newLogins(a), stop: stop, hurry: make(chan struct{}, 1), hints: make(chan struct{}, 1), well: make(chan struct{}, 1), tries: map[spot]int{}, lookedTo: map[string]string{}, sought: map[string]again{}, counted: map[string]time.Time{}, late: true, facts: BoxStatus{Address: a.Box}}
}

// start has a mailbox work that was read at the provider at a time; zero: never.
func (s *Service) start(ctx context.Context, a Account, read time.Time) *worker {
	ctx, stop := context.WithCancel(ctx)
	w := newWorker(a, stop)
	w.facts.LastFetch = read
	w.done.Go(func() {
		var both sync.WaitGroup
		both.Go(func() { s.send(ctx, w) })
		both.Go(func() {
			defer close(w.over)
			s.fetch(ctx, w)
		})
		both.Go(func() { s.listen(ctx, w) })
		both.Wait()
		w.ended.Store(true)
		s.Reload()
	})
	return w
}

func (s *Service) stopAll() {
	s.mu.Lock()
	all := s.workers
	s.workers = map[string]*worker{}
	s.mu.Unlock()
	for _, w := range all {
		w.stop()
	}
	for _, w := range all {
		w.done.Wait()
	}
}

// pause waits, or returns false when ctx ends first.
func pause(ctx context.Context, d time.Duration, wake ...<-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	var a, b <-chan struct{}
	if len(wake) > 0 {
		a = wake[0]
	}
	if len(wake) > 1 {
		b = wake[1]
	}
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
	case <-a:
	case <-b:
	}
	return true
}
