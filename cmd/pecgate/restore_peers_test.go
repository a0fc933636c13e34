//go:build peers

package main

import (
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"filippo.io/age" // makes the key of the test

	"pecgate/relay"
)

// TestK10_RestoreElsewhere is another machine: the appliance runs there as a
// user with another number. Root restores for it, or that user itself; without
// the key nobody does. It needs root.
func TestK10_RestoreElsewhere(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("this test gives files to another user: run it as root")
	}
	const other = 65534
	h := newHouse(t).start()
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	h.write("identity.txt", key.String()+"\n")
	h.send("mario", "mariomario", boxA, []string{boxB}, mail(boxA, boxB, "uno [PIN:"+pinMario+"]", "k10@alfa.example"))
	h.settled("k10@alfa.example", relay.Accepted)
	dir := filepath.Join(h.dir, "backup")
	if state, _, errs := program(t, "", "backup", "--config", h.config(), "--recipient", key.Recipient().String(), dir); state != exitGood {
		t.Fatal(errs)
	}
	h.stop()

	// The program where the other user may run it.
	if err := os.Chmod(filepath.Dir(h.dir), 0o755); err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(h.dir, "pecgate")
	in, err := os.Open(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	out, err := os.OpenFile(bin, os.O_WRONLY|os.O_CREATE, 0o755)
	if err == nil {
		_, err = io.Copy(out, in)
	}
	if err != nil || in.Close() != nil || out.Close() != nil {
		t.Fatal(err)
	}
	as := func(uid uint32, args ...string) (string, error) {
		c := exec.Command(bin, args...)
		c.Env = append(os.Environ(), childMark+"=1")
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		b, err := c.CombinedOutput()
		return string(b), err
	}
	give := func(path string) {
		t.Helper()
		err := filepath.WalkDir(path, func(path string, _ fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return os.Lchown(path, other, other)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	data := filepath.Join(h.dir, "data")
	identity := filepath.Join(h.dir, "identity.txt")
	for _, by := range []uint32{0, other} {
		if err := os.RemoveAll(data); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(data, 0o700); err != nil {
			t.Fatal(err)
		}
		give(h.dir)
		if out, err := as(by, "restore", "--config", h.config(), dir); err == nil || !strings.Contains(out, "give --identity FILE") {
			t.Errorf("as %d, without the key: %s, %v", by, out, err)
		}
		if out, err := as(by, "restore", "--config", h.config(), "--identity", identity, dir); err != nil {
			t.Fatalf("as %d: %s, %v", by, out, err)
		}
		err := filepath.WalkDir(data, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			if st, ok := info.Sys().(*syscall.Stat_t); !ok || st.Uid != other || st.Gid != other || info.Mode().Perm()&0o077 != 0 {
				t.Errorf("as %d: %s is of user %d, mode %v", by, path, st.Uid, info.Mode())
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{{"audit", "verify"}, {"fsck", "--deep"}, {"show", "k10@alfa.example"}} {
			if out, err := as(other, append(args, "--config", h.config())...); err != nil {
				t.Errorf("restored as %d, then %v: %s, %v", by, args, out, err)
			}
		}
	}
}
