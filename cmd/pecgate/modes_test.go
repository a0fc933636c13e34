package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"pecgate/gateway/admin"
	"pecgate/relay"
	"pecgate/relay/submit"
)

const programChild = "PECGATE_PROGRAM_CHILD"

// TestS3_Child is the program itself, started by another test under a mask of
// file modes. Without the variable it is nothing.
func TestS3_Child(*testing.T) {
	mask, args, _ := strings.Cut(os.Getenv(programChild), ":")
	if mask == "" {
		return
	}
	var m int
	if _, err := fmt.Sscanf(mask, "%o", &m); err != nil {
		os.Exit(99)
	}
	syscall.Umask(m)
	os.Args = append([]string{"pecgate"}, strings.Split(args, "\n")...)
	main()
}

// masked is the program as a process under a mask.
func masked(mask int, args ...string) (*exec.Cmd, *syncBuffer) {
	c := exec.Command(os.Args[0], "-test.run=^TestS3_Child$", "-test.count=1")
	c.Env = append(os.Environ(), fmt.Sprintf("%s=%o:%s", programChild, mask, strings.Join(args, "\n")))
	out := new(syncBuffer)
	c.Stdout, c.Stderr = out, out
	return c, out
}

// modes finds what others could read, write or enter below a folder, and counts
// what is there.
func modes(t *testing.T, dir string) (found int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		found++
		want := fs.FileMode(0o600)
		if d.IsDir() {
			want = 0o700
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %04o instead of %04o", path, info.Mode().Perm(), want)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestS3_FileModes: whatever the mask of the process, every file that the
// appliance makes has mode 0600 and every folder 0700, while it runs and
// afterwards; a data_dir that others could enter is closed to them.
func TestS3_FileModes(t *testing.T) {
	for _, mask := range []int{0, 0o022} {
		h := newHouse(t)
		data := filepath.Join(h.dir, "data")
		if mask == 0 {
			if err := os.Mkdir(data, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(data, 0o777); err != nil {
				t.Fatal(err)
			}
		}
		for round := range 2 { // the second one opens what the first one made
			c, log := masked(mask, "serve", "--config", h.config())
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			if !listening(h.smtps, 20*time.Second) {
				_ = c.Process.Kill()
				_ = c.Wait()
				t.Fatalf("it does not start:\n%s", log)
			}
			id := fmt.Sprintf("m%d@client.example", round)
			r := h.send("mario", "mariomario", boxA, []string{boxB}, mail(boxA, boxB, "Prova [PIN:"+pinMario+"]", id))
			if r.Class != submit.HandedOver {
				t.Errorf("not sent: %+v", r)
			}
			large := strings.Replace(mail(boxA, boxB, "Grande [PIN:"+pinMario+"]", "large-"+id), "trasmette", strings.Repeat("large\r\n", 300_000), 1)
			if r := h.send("mario", "mariomario", boxA, []string{boxB}, large); r.Class != submit.HandedOver {
				t.Errorf("not sent: %+v", r)
			}
			h.settled(id, relay.Accepted)
			if n := modes(t, data); n < 12 {
				t.Errorf("only %d files and folders", n)
			}
			for _, name := range []string{admin.SocketName, "ballast", "audit.key", "audit.key.pub", "audit.heads", "records/JOURNAL", "segments/0000000000000001.tar"} {
				if _, err := os.Lstat(filepath.Join(data, name)); err != nil {
					t.Errorf("what should have been looked at: %v", err)
				}
			}
			if err := c.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if err := c.Wait(); err != nil {
				t.Errorf("stopped: %v\n%s", err, log)
			}
			modes(t, data)
		}
	}
}

// TestS3_DemoFiles: the demo makes nothing that others could read.
func TestS3_DemoFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "demo")
	c, out := masked(0, "demo", "--once", "--dir", dir)
	if err := c.Run(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if n := modes(t, dir); n < 30 {
		t.Errorf("only %d files and folders", n)
	}
}

// TestS3_RefusedAtStart: the appliance does not start on files that others could
// read or change, and says so as `check` does.
func TestS3_RefusedAtStart(t *testing.T) {
	h := newHouse(t)
	for name, mode := range map[string]os.FileMode{
		"policy.yaml": 0o644, "pecgate.yaml": 0o664, "tls/key.pem": 0o604, "secrets/" + boxA: 0o660, "ca.pem": 0o622,
	} {
		path := filepath.Join(h.dir, name)
		before, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		for _, command := range []string{"serve", "check"} {
			var out, errs bytes.Buffer
			state := run(t.Context(), []string{command, "--config", h.config()}, nil, &out, &errs)
			said := out.String() + errs.String()
			if state != exitUsage || !strings.Contains(said, "run `chmod 0") || !strings.Contains(said, path+"`") {
				t.Errorf("%s with %s at %04o: %d %s", command, name, mode, state, said)
			}
		}
		if err := os.Chmod(path, before.Mode()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Lstat(filepath.Join(h.dir, "data")); err == nil {
		t.Error("a refused start has made a store")
	}
}
