package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"pecgate/mailbox/archive"
	"pecgate/mailbox/archive/bundle"
	"pecgate/mailbox/mime"
	"pecgate/mailbox/pec"
)

// verified is what is known of one message.
type verified struct {
	file string
	*pec.Report
	original original
	bundle   *bundle.Checked // of an evidence bundle: what was checked
	expected bool            // a bundle holds it as what it is: a submission bears no signature
}

// verifier reads the messages of files and judges several at once.
type verifier struct {
	reader    *pec.Reader
	keys      []string   // fingerprints, one of which must have signed a bundle; none: not pinned
	originals *originals // nil: none are wanted
	files     []string
	bar       *bar
	leftAside int // files that hold no message

	behind atomic.Int64 // thousandths of all files, for the bar
}

// judged is a message on its way; done gets its result.
type judged struct {
	file string
	done chan result
}

type result struct {
	report   *pec.Report
	original original
	err      error
	bundle   *bundle.Checked
	expected bool
}

// run calls print for every message in the order of the files, from the
// goroutine of the caller. An error is that of print or of ctx: what cannot be
// read is printed.
func (v *verifier) run(ctx context.Context, print func(verified) error) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	workers := min(max(runtime.GOMAXPROCS(0), 1), 8)
	order := make(chan judged, 4*workers)
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(order)
		v.walk(ctx, order, make(chan struct{}, workers), &wg)
	})
	defer func() {
		cancel()
		for range order { // what nobody waits for any more
		}
		wg.Wait()
	}()
	tick := time.NewTicker(barEvery)
	defer tick.Stop()
	draw := func() { v.bar.draw(v.behind.Load()) }
	for {
		j, more := await(order, tick.C, draw)
		if !more {
			break
		}
		res, _ := await(j.done, tick.C, draw)
		if ctx.Err() != nil {
			break
		}
		if res.err != nil {
			res.report = unreadable(res.err)
		}
		if err := print(verified{j.file, res.report, res.original, res.bundle, res.expected}); err != nil {
			return fmt.Errorf("print: %w", err)
		}
	}
	if err := ctx.Err(); err != nil {
		return errors.New("interrupted: what was printed is not all")
	}
	return nil
}

// await receives from c and draws meanwhile.
func await[T any](c <-chan T, tick <-chan time.Time, draw func()) (v T, more bool) {
	for {
		select {
		case v, more = <-c:
			return v, more
		case <-tick:
			draw()
		}
	}
}

// walk hands every message to order and starts its check, as many at once as
// places has room for.
func (v *verifier) walk(ctx context.Context, order chan<- judged, places chan struct{}, wg *sync.WaitGroup) {
	send := func(file string) (chan result, error) {
		j := judged{file, make(chan result, 1)}
		select {
		case order <- j:
			return j.done, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	for i, file := range v.files {
		if isBundle(file) {
			if !v.bundled(ctx, file, send) {
				return
			}
			continue
		}
		o := archive.Options{
			LeftAside: func(string) { v.leftAside++ },
			Progress: func(done, total int64) {
				part := float64(i) + float64(done)/float64(max(total, 1))
				v.behind.Store(int64(part * 1000 / float64(len(v.files))))
			},
		}
		if !v.bar.on {
			o.Progress = nil
		}
		err := archive.Walk(ctx, file, o, func(it archive.Item) error {
			select {
			case places <- struct{}{}:
			case <-ctx.Done():
				return errors.Join(ctx.Err(), it.Close())
			}
			done, err := send(it.Name)
			if err != nil {
				return errors.Join(err, it.Close())
			}
			wg.Go(func() {
				done <- v.judge(ctx, it)
				<-places
			})
			return nil
		})
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			done, serr := send(file)
			if serr != nil {
				return
			}
			done <- result{err: err}
		}
	}
}

// judge checks one message and closes it.
func (v *verifier) judge(ctx context.Context, it archive.Item) (res result) {
	if it.Err != nil {
		return result{err: it.Err}
	}
	defer func() {
		if err := it.Close(); err != nil && res.err == nil {
			res.err = err
		}
	}()
	rep, err := v.read(ctx, it, it.Size)
	if err != nil || rep.Verdict != pec.Invalid {
		return v.finish(ctx, it, rep, err)
	}
	// The writer of an mbox may have changed lines that begin with "From ".
	for _, u := range it.Unquotings() {
		r, size := it.Unquoted(u)
		other, err := v.read(ctx, r, size)
		if err != nil {
			return result{err: err}
		}
		if proven(other) {
			note := fmt.Sprintf("mbox: %s with \">From \", which the file's writer made of \"From \": verified without that (%s)",
				count(it.Quoted, "line begins", "lines begin"), u)
			if other.Reason != "" {
				note = other.Reason + "; " + note
			}
			other.Reason = note
			return v.finish(ctx, r, other, nil)
		}
	}
	return v.finish(ctx, it, rep, nil)
}

// finish completes the result of the message in r.
func (v *verifier) finish(ctx context.Context, r io.ReaderAt, rep *pec.Report, err error) result {
	res := result{report: rep, err: err}
	if err == nil && v.originals != nil {
		res.original = v.originals.save(ctx, r, rep)
	}
	return res
}

func (v *verifier) read(ctx context.Context, r io.ReaderAt, size int64) (*pec.Report, error) {
	ix, err := mime.Parse(r, size, mime.Limits{})
	if err != nil {
		return nil, err
	}
	return v.reader.Read(ctx, r, size, ix)
}

// proven reports whether a verdict counts as good for the exit status.
func proven(r *pec.Report) bool { return r.Verdict == pec.Valid || r.Verdict == pec.ValidHistoric }

// unreadable is the report of what could not be read.
func unreadable(err error) *pec.Report {
	return &pec.Report{Kind: pec.Unknown, Verdict: pec.Unverifiable, Reason: fileNote + oneLine(err.Error()), Recipients: []pec.Recipient{}}
}

// fileNote begins the reason of what could not be read.
const fileNote = "file: "
