package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The test program is also the appliance as a process of its own, which can be
// killed, stopped and kept short.
const (
	childMark  = "TEST_AS_PECGATE"    // set: be the program
	childFiles = "TEST_PECGATE_FILES" // then: open at most so many files
)

func TestMain(m *testing.M) {
	if os.Getenv(childMark) == "" {
		os.Exit(m.Run())
	}
	if n, err := strconv.ParseUint(os.Getenv(childFiles), 10, 32); err == nil {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: n, Max: n}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(exitFailed)
		}
	}
	main()
}

// process is `pecgate serve` on the house's configuration.
type process struct {
	h    *house
	cmd  *exec.Cmd
	said *syncBuffer // its log
	done chan struct{}
	err  error // of Wait; read after done
}

// launch starts the appliance as a process and waits until it serves. What is
// in env is added to its environment.
func (h *house) launch(env ...string) *process {
	h.t.Helper()
	p := h.spawn(env...)
	if !listening(h.imaps, 30*time.Second) {
		p.kill()
		h.t.Fatalf("it does not start:\n%s", p.said)
	}
	return p
}

// spawn is launch without the waiting.
func (h *house) spawn(env ...string) *process {
	h.t.Helper()
	p := &process{h: h, said: h.log, done: make(chan struct{})}
	p.cmd = exec.Command(os.Args[0], "serve", "--config", h.config())
	p.cmd.Env = append(append(os.Environ(), childMark+"=1"), env...)
	p.cmd.Stderr = p.said
	if err := p.cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	h.t.Cleanup(p.kill)
	return p
}

// kill ends it as a crash does.
func (p *process) kill() {
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.h.t.Error(err)
	}
	<-p.done
}

// stop asks it to end as systemd does, and wants status 0 and no panic on the
// way.
func (p *process) stop() {
	p.h.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.h.t.Errorf("it is gone already: %v", err)
	}
	select {
	case <-p.done:
	case <-time.After(time.Minute):
		p.kill()
		p.h.t.Fatalf("a minute after SIGTERM it still runs:\n%s", tail(p.said.String(), 4000))
	}
	if p.err != nil {
		p.h.t.Errorf("it ended with %v:\n%s", p.err, tail(p.said.String(), 4000))
	}
	p.quiet()
}

// quiet wants no panic in its log.
func (p *process) quiet() {
	p.h.t.Helper()
	log := p.said.String()
	for _, word := range []string{"panic", "goroutine ", "fatal error", "DATA RACE"} {
		if i := strings.Index(log, word); i >= 0 {
			p.h.t.Errorf("its log says %q:\n%s", word, log[max(0, i-500):min(len(log), i+3000)])
			return
		}
	}
}

// ended waits for it to end by itself and returns its exit status.
func (p *process) ended() int {
	p.h.t.Helper()
	select {
	case <-p.done:
	case <-time.After(time.Minute):
		p.h.t.Fatalf("it still runs:\n%s", tail(p.said.String(), 4000))
	}
	return p.cmd.ProcessState.ExitCode()
}

// alive wants that it has not ended by itself.
func (p *process) alive() {
	p.h.t.Helper()
	select {
	case <-p.done:
		p.h.t.Fatalf("it ended by itself: %v\n%s", p.err, tail(p.said.String(), 4000))
	default:
	}
}

// files is how many files it has open, and how many of them are connections.
func (p *process) files() (all, sockets int) {
	p.h.t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid)
	found, err := os.ReadDir(dir)
	if err != nil {
		p.h.t.Fatal(err)
	}
	for _, f := range found {
		if to, err := os.Readlink(filepath.Join(dir, f.Name())); err == nil && strings.HasPrefix(to, "socket:") {
			sockets++
		}
	}
	return len(found), sockets
}

// tail is the end of a long text.
func tail(s string, n int) string { return s[max(0, len(s)-n):] }
