package configs

import (
	"context"
	"io/fs"
	"maps"
	"os"
	"time"
)

// Files are the two files of a configuration, the key of what is sealed in them and the CAs that they name, with how they
// stood when they were read.
type Files struct {
	Config string // pecgate.yaml, absolute
	Policy string // policy.yaml, absolute

	config, policy stamp

	key      string // the key file, absolute; "" where pecgate.yaml does not tell
	keyStamp stamp
	cas      map[string]stamp // files with CAs that the two name: ca, client_ca, provider_trust

	keyed bool // there was a key, now or in an earlier load of the same watch
}

// stamp tells a changed file from an unchanged one. A file that is replaced (renamed over, or a symbolic link that points
// elsewhere) is another file.
type stamp struct {
	info fs.FileInfo // nil: there is no file
}

func stampOf(name string) stamp {
	info, err := os.Stat(name)
	if err != nil {
		return stamp{}
	}
	return stamp{info}
}

func (s stamp) same(o stamp) bool {
	if s.info == nil || o.info == nil {
		return s.info == nil && o.info == nil
	}
	return os.SameFile(s.info, o.info) && s.info.Size() == o.info.Size() &&
		s.info.ModTime().Equal(o.info.ModTime()) && s.info.Mode() == o.info.Mode()
}

// now gives the files as they stand now.
func (f Files) now() Files {
	f.config, f.policy, f.keyStamp = stampOf(f.Config), stampOf(f.Policy), stampOf(f.key)
	cas := make(map[string]stamp, len(f.cas))
	for name := range f.cas {
		cas[name] = stampOf(name)
	}
	f.cas = cas
	return f
}

func (f Files) same(o Files) bool {
	return f.Config == o.Config && f.Policy == o.Policy && f.config.same(o.config) && f.policy.same(o.policy) &&
		f.key == o.key && f.keyStamp.same(o.keyStamp) && maps.EqualFunc(f.cas, o.cas, stamp.same)
}

// Watcher follows these files. It owns one goroutine, which ends with the context; Wait waits for that.
type Watcher struct {
	reload chan struct{}
	done   chan struct{}
}

// PollEvery is how often the files are looked at. A change is in use at the latest after three looks: one sees it, the
// next sees that nobody is still writing.
const PollEvery = time.Second

// Watch follows the files of a load (Loaded.Files). onLoad gets every new good configuration, onFault the Faults of one
// that is not good; then the configuration in use stays. A faulty state is reported once. Both are called by one
// goroutine, one after the other; neither may call Wait.
//
// The files are polled, not subscribed to: that sees every way of replacing a file (editors, links, network file systems)
// and costs a stat call a second for each.
func Watch(ctx context.Context, files Files, onLoad func(*Loaded), onFault func(error)) *Watcher {
	t := time.NewTicker(PollEvery)
	w := &Watcher{reload: make(chan struct{}, 1), done: make(chan struct{})}
	go func() {
		defer close(w.done)
		defer t.Stop()
		w.run(ctx, t.C, &follower{known: files, seen: files, onLoad: onLoad, onFault: onFault})
	}()
	return w
}

// Reload reads both files now, changed or not (SIGHUP). It does not wait for the result.
func (w *Watcher) Reload() {
	select {
	case w.reload <- struct{}{}:
	default: // one is already asked for, and it has not begun to read
	}
}

// Wait returns when the context of Watch has ended and no callback runs any more.
func (w *Watcher) Wait() { <-w.done }

func (w *Watcher) run(ctx context.Context, tick <-chan time.Time, f *follower) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.reload:
			f.asked = true
		case <-tick:
		}
		if ctx.Err() == nil {
			f.look()
		}
	}
}

// follower is what a Watcher knows between two looks.
type follower struct {
	known   Files // as last loaded, or last found faulty
	seen    Files // as the last look saw them
	asked   bool  // by Reload, and not yet answered
	onLoad  func(*Loaded)
	onFault func(error)
}

// look reads the files if they changed since they were last read and not since the last look, or if it was asked to.
func (f *follower) look() {
	now := f.known.now()
	settled := now.same(f.seen)
	f.seen = now
	if !f.asked && (now.same(f.known) || !settled) {
		return
	}
	r := Check(f.known.Config)
	if r.Files.Policy == "" {
		r.Files.Policy, r.Files.policy = now.Policy, now.policy
	}
	if after := r.Files.now(); !after.same(r.Files) {
		// Somebody wrote while we read: what was read may be half of it. The next look tries again.
		f.known.Policy, f.known.key, f.known.cas, f.seen = after.Policy, after.key, after.cas, after
		return
	}
	// pecgate.yaml may name another policy file or key than before.
	hadKey := f.known.keyed
	r.Files.keyed = r.Files.keyed || hadKey
	f.known, f.seen, f.asked = r.Files, r.Files, false
	if len(r.Faults) == 0 && hadKey && r.Loaded.seal.Ring == nil && len(r.Loaded.SealedTexts()) > 0 {
		// A warning to who begins without a key; but who has one in use must not lose every password with the file.
		r.Faults = Faults{{Position{File: r.Files.key}, "the key of what is sealed in the policy is gone: put it back"}}
	}
	if len(r.Faults) > 0 {
		f.onFault(r.Faults)
	} else {
		f.onLoad(r.Loaded)
	}
}
