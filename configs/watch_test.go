package configs

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak" // shows a goroutine that outlives its owner

	"pecgate/configs/seal"
)

// watched looks by hand, so that the test and not the clock says when.
type watched struct {
	*follower
	t      *testing.T
	config string
	loads  []*Loaded
	faults []error
}

func watch(t *testing.T) *watched {
	t.Helper()
	config := house(t)
	first, err := Load(config)
	if err != nil {
		t.Fatal(err)
	}
	x := &watched{t: t, config: config}
	x.follower = &follower{known: first.Files, seen: first.Files,
		onLoad:  func(l *Loaded) { x.loads = append(x.loads, l) },
		onFault: func(err error) { x.faults = append(x.faults, err) }}
	return x
}

func (x *watched) policy(text string) {
	write(x.t, filepath.Join(filepath.Dir(x.config), "policy.yaml"), text, 0o600)
}

func (x *watched) expect(loads, faults int) {
	x.t.Helper()
	for range 3 {
		x.look()
	}
	if len(x.loads) != loads || len(x.faults) != faults {
		x.t.Fatalf("%d loads and %d faults, want %d and %d", len(x.loads), len(x.faults), loads, faults)
	}
}

// reload is what the watcher does with Reload.
func (x *watched) reload() {
	x.asked = true
	x.look()
}

func (x *watched) load() *Loaded {
	x.t.Helper()
	if len(x.loads) != 1 {
		x.t.Fatalf("%d loads", len(x.loads))
	}
	l := x.loads[0]
	x.loads = nil
	return l
}

func (x *watched) fault() error {
	x.t.Helper()
	if len(x.faults) != 1 {
		x.t.Fatalf("%d faults", len(x.faults))
	}
	err := x.faults[0]
	x.faults = nil
	return err
}

// G11: a faulty file changes nothing and is reported once; the next good one is taken.
func TestG11_WatchAllOrNothing(t *testing.T) {
	x := watch(t)
	x.expect(0, 0)

	x.policy(strings.Replace(goodPolicy, "admin: mario", "admin: mari", 1))
	x.expect(0, 1)
	if err := x.fault(); !strings.HasSuffix(err.Error(), `policy.yaml:10:12: admin: there is no user "mari": did you mean "mario"?`) {
		t.Error(err)
	}
	x.expect(0, 0)

	x.policy(strings.Replace(goodPolicy, "{user: mario}", "{user: mario, send: false}", 1))
	x.expect(1, 0)
	if l := x.load(); l.Policy.Mailboxes[0].Members[0].Send {
		t.Error("the new file is not what was loaded")
	}
	x.expect(0, 0)

	// Gone, and back by rename as editors do it.
	if err := os.Remove(filepath.Join(filepath.Dir(x.config), "policy.yaml")); err != nil {
		t.Fatal(err)
	}
	x.expect(0, 1)
	x.fault()
	write(t, x.config+".new", goodPolicy, 0o600)
	if err := os.Rename(x.config+".new", filepath.Join(filepath.Dir(x.config), "policy.yaml")); err != nil {
		t.Fatal(err)
	}
	x.expect(1, 0)
	x.load()

	// Rights of a file are part of it.
	if err := os.Chmod(filepath.Join(filepath.Dir(x.config), "policy.yaml"), 0o644); err != nil {
		t.Fatal(err)
	}
	x.expect(0, 1)
	x.fault()
}

// G11: while somebody writes, every look sees another file, and none is read. A prefix of a good file may be good.
func TestG11_WatchHalfWritten(t *testing.T) {
	x := watch(t)
	for i := range len(goodPolicy) {
		if i%16 == 0 {
			x.policy(goodPolicy[:i])
			x.look()
		}
	}
	x.policy(goodPolicy + "# whole\n")
	x.look()
	if len(x.loads)+len(x.faults) != 0 {
		t.Fatal("a file that was being written was read")
	}
	x.expect(1, 0)
}

func TestWatchReload(t *testing.T) {
	x := watch(t)
	x.reload()
	x.load() // unchanged, but asked for
	x.policy("users: [")
	x.reload()
	x.fault()
	x.reload()
	x.fault() // asked again, told again
	x.policy(goodPolicy)
	x.reload()
	x.load()
	x.expect(0, 0)
}

// pecgate.yaml may name another policy file; from then on that one is followed, good or not.
func TestWatchOtherPolicyFile(t *testing.T) {
	x := watch(t)
	dir := filepath.Dir(x.config)
	write(t, filepath.Join(dir, "other.yaml"), "users: [", 0o600)
	write(t, x.config, goodAppliance+"policy_file: other.yaml\n", 0o644)
	x.expect(0, 1)
	x.fault()
	write(t, filepath.Join(dir, "other.yaml"), goodPolicy, 0o600)
	x.expect(1, 0)
	if l := x.load(); l.Files.Policy != filepath.Join(dir, "other.yaml") {
		t.Error(l.Files.Policy)
	}
	x.policy("users: [") // nobody's file now
	x.expect(0, 0)
}

// What changed between the first load and the start of the watch is not missed, and the goroutine ends with its context.
func TestWatchFromLoad(t *testing.T) {
	defer goleak.VerifyNone(t)
	config := house(t)
	first, err := Load(config)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(filepath.Dir(config), "policy.yaml"), goodPolicy+"# changed\n", 0o600)
	ctx, cancel := context.WithCancel(context.Background())
	loads := make(chan *Loaded, 4)
	w := Watch(ctx, first.Files, func(l *Loaded) { loads <- l }, func(err error) { t.Error(err) })
	<-loads
	w.Reload()
	<-loads
	cancel()
	w.Wait()
}

// The key of sealed texts is followed too: a key added, the key lost, and pecgate.yaml that names another.
func TestWatchSealKey(t *testing.T) {
	config, _ := sealedHouse(t)
	first, err := Load(config)
	if err != nil {
		t.Fatal(err)
	}
	x := &watched{t: t, config: config}
	x.follower = &follower{known: first.Files, seen: first.Files,
		onLoad:  func(l *Loaded) { x.loads = append(x.loads, l) },
		onFault: func(err error) { x.faults = append(x.faults, err) }}
	key := filepath.Join(filepath.Dir(config), "seal.key")
	x.expect(0, 0)
	if err := seal.Add(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	x.expect(1, 0)
	if n := x.load().seal.Ring.Len(); n != 2 {
		t.Errorf("%d keys", n)
	}
	good, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, key, "# empty\n", 0o600)
	x.expect(0, 1)
	x.fault()
	x.expect(0, 0)
	write(t, key, string(good), 0o600)
	x.expect(1, 0)
	x.load()
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	x.expect(0, 1)
	if err := x.fault(); !strings.Contains(err.Error(), key+": the key of what is sealed in the policy is gone") {
		t.Error(err)
	}
	x.expect(0, 0)
	write(t, key, string(good), 0o600)
	x.expect(1, 0)
	x.load()
	write(t, config, "listen: [", 0o644) // it names no key for now
	x.expect(0, 1)
	x.fault()
	x.expect(0, 0)
	write(t, key+".other", string(good), 0o600)
	write(t, config, goodAppliance+"seal_key: seal.key.other\n", 0o644)
	x.expect(1, 0)
	x.load()
	write(t, key, "# nobody's\n", 0o600)
	x.expect(0, 0)
	write(t, key+".other", "# empty\n", 0o600)
	x.expect(0, 1)
}

// TestWatchCAs: a file with CAs that one of the two names is read again when it
// changes; one that is broken changes nothing and is reported once.
func TestWatchCAs(t *testing.T) {
	for _, name := range []string{"provider-ca.pem", "trust.pem"} {
		t.Run(name, func(t *testing.T) {
			x := watch(t)
			dir := filepath.Dir(x.config)
			pem, err := os.ReadFile(filepath.Join(dir, "pec-ca.pem"))
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range []string{"provider-ca.pem", "trust.pem"} {
				write(t, filepath.Join(dir, n), string(pem), 0o644)
			}
			write(t, x.config, goodAppliance+"provider_trust: [trust.pem]\n", 0o644)
			x.policy(strings.Replace(goodPolicy, "    admin: mario\n", "    admin: mario\n    incoming: {protocol: imap, ca: provider-ca.pem}\n", 1))
			x.expect(1, 0)
			x.loads = nil
			at := filepath.Join(dir, name)
			write(t, at, string(pem)+string(pem), 0o644)
			x.expect(1, 0)
			write(t, at, "broken\n", 0o644)
			x.expect(1, 1)
			if err := os.Remove(at); err != nil {
				t.Fatal(err)
			}
			x.expect(1, 2)
			write(t, at, string(pem), 0o644)
			x.expect(2, 2)
		})
	}
}
