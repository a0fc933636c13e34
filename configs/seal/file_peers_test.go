//go:build peers

package seal

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestTheServiceReadsWhatRootMade: a key that root makes is for the group that reads policy.yaml, and for nobody more. It
// needs root.
func TestTheServiceReadsWhatRootMade(t *testing.T) {
	const nobody = 65534
	for _, c := range []struct {
		uid, gid int
		mode     os.FileMode
		want     os.FileMode
	}{{0, nobody, 0o640, 0o640}, {0, nobody, 0o600, 0o600}, {nobody, nobody, 0o600, 0o600}, {0, 0, 0o640, 0o600}} {
		dir := t.TempDir()
		policy, key := filepath.Join(dir, "policy.yaml"), filepath.Join(dir, "seal.key")
		if err := os.WriteFile(policy, nil, c.mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(policy, c.uid, c.gid); err != nil {
			t.Fatal(err)
		}
		if err := Make(t.Context(), key, policy); err != nil {
			t.Fatal(err)
		}
		for range 2 { // as made, and after a key was added
			info, err := os.Stat(key)
			if err != nil {
				t.Fatal(err)
			}
			if st := info.Sys().(*syscall.Stat_t); info.Mode() != c.want || int(st.Uid) != c.uid || int(st.Gid) != c.gid {
				t.Errorf("%+v: the key is %v of %d:%d", c, info.Mode(), st.Uid, st.Gid)
			}
			if err := Add(t.Context(), key); err != nil {
				t.Fatal(err)
			}
		}
	}
}
