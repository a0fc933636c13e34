package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is one run of the gateway.
type process struct {
	cmd   *exec.Cmd
	log   *os.File
	ended chan struct{} // closed when it has ended
	state *os.ProcessState
}

// startWait is how long the gateway may take until it listens.
const startWait = 60 * time.Second

// errNotStarted: the gateway ended before it listened.
var errNotStarted = errors.New("the gateway does not start")

// launch starts the gateway and does not wait for it.
func (w *world) launch() error {
	if w.running() {
		return errors.New("the gateway runs already")
	}
	line := append(append([]string{}, w.o.Wrap...), w.o.Binary, "serve", "--config", w.config())
	log, err := os.OpenFile(w.log(), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	p := &process{cmd: exec.Command(line[0], line[1:]...), log: log, ended: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), w.o.Env...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	// A group of its own: a Ctrl-C is for this program, which then cleans up. If
	// this program dies, so does the gateway.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return errors.Join(fmt.Errorf("start the gateway: %w", err), log.Close())
	}
	go func() {
		_ = p.cmd.Wait() // how it ended is in the state
		p.state = p.cmd.ProcessState
		_ = log.Close() // only what the gateway wrote through its own handle counts
		close(p.ended)
	}()
	w.gate = p
	return nil
}

// start launches the gateway and waits until it takes connections. It fails
// with errNotStarted, and what the gateway said last, when the gateway ends
// before that.
func (w *world) start(ctx context.Context) error {
	if err := w.launch(); err != nil {
		return err
	}
	return w.ready(ctx)
}

// ready waits until the launched gateway takes connections.
func (w *world) ready(ctx context.Context) error {
	for end := time.Now().Add(startWait); time.Now().Before(end); {
		if err := errors.Join(listens(w.smtps), listens(w.imaps)); err == nil {
			return nil
		}
		select {
		case <-w.gate.ended:
			return fmt.Errorf("%w: %s", errNotStarted, w.said())
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(5 * time.Millisecond):
		}
	}
	w.kill()
	return fmt.Errorf("%w within %v: %s", errNotStarted, startWait, w.said())
}

// listens dials a port: one listener is there some moments before the other.
func listens(address string) error {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	return c.Close()
}

// running tells whether the gateway was started and has not ended.
func (w *world) running() bool {
	if w.gate == nil {
		return false
	}
	select {
	case <-w.gate.ended:
		return false
	default:
		return true
	}
}

// ended is closed when the gateway that was started last has ended.
func (w *world) ended() <-chan struct{} { return w.gate.ended }

// exit is the exit status of the gateway that was started last, -1 if a signal
// ended it. It waits for its end.
func (w *world) exit() int {
	<-w.gate.ended
	return w.gate.state.ExitCode()
}

// pid is the gateway's process id, 0 when it does not run. Below a wrapper it
// is the wrapper's child.
func (w *world) pid() int {
	if !w.running() {
		return 0
	}
	pid := w.gate.cmd.Process.Pid
	if len(w.o.Wrap) == 0 {
		return pid
	}
	// prlimit and the like become the gateway; strace starts it.
	if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); err == nil && exe == w.o.Binary {
		return pid
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return 0
	}
	for _, f := range strings.Fields(string(children)) {
		child, err := strconv.Atoi(f)
		if err != nil {
			continue
		}
		if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", child)); err == nil && exe == w.o.Binary {
			return child
		}
	}
	return 0
}

// states tells what the wrapper of the gateway and its children are doing.
func (w *world) states() string {
	pid := w.gate.cmd.Process.Pid
	pids := []string{strconv.Itoa(pid)}
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid)); err == nil {
		pids = append(pids, strings.Fields(string(b))...)
	}
	var out []string
	for _, pid := range pids {
		b, err := os.ReadFile("/proc/" + pid + "/status")
		if err != nil {
			continue // it has ended
		}
		for line := range strings.Lines(string(b)) {
			if key, value, _ := strings.Cut(line, ":"); key == "Name" || key == "State" {
				out = append(out, strings.TrimSpace(value))
			}
		}
	}
	return strings.Join(out, " ")
}

// kill ends the gateway with SIGKILL, and its wrapper, and waits for both. It
// does nothing when none runs.
func (w *world) kill() {
	if !w.running() {
		return
	}
	if pid := w.pid(); pid != 0 {
		_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended by itself
	}
	if len(w.o.Wrap) > 0 {
		select {
		case <-w.gate.ended:
			return
		case <-time.After(2 * time.Second): // a tracer ends with what it traces
		}
	}
	_ = w.gate.cmd.Process.Kill() // likewise
	<-w.gate.ended
}

// stop ends the gateway with SIGTERM and waits; after a minute it is killed and
// that is an error. The exit status is in exit.
func (w *world) stop() error {
	pid := w.pid()
	if pid == 0 {
		return nil
	}
	_ = syscall.Kill(pid, syscall.SIGTERM) // it may have ended by itself
	select {
	case <-w.gate.ended:
		return nil
	case <-time.After(time.Minute):
		w.kill()
		return errors.New("the gateway did not stop within a minute of SIGTERM")
	}
}

// said is the end of the gateway's log, in one line.
func (w *world) said() string {
	b, err := os.ReadFile(w.log())
	if err != nil {
		return err.Error()
	}
	b = bytes.TrimSpace(b)
	return strings.Join(strings.Split(string(b[max(0, len(b)-600):]), "\n"), " | ")
}

// pecgate runs another command of the gateway's program with the world's
// configuration and returns its output and exit status.
func (w *world) pecgate(ctx context.Context, args ...string) (out string, status int, err error) {
	var b bytes.Buffer
	c := exec.CommandContext(ctx, w.o.Binary, append(args, "--config", w.config())...)
	c.Env = append(os.Environ(), w.o.Env...)
	c.Stdout, c.Stderr = &b, &b
	err = c.Run()
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		return b.String(), exit.ExitCode(), nil
	}
	return b.String(), 0, err
}

// build makes the gateway's program of this tree in dir. tags may be empty.
func build(ctx context.Context, dir, tags string) (string, error) {
	name := "pecgate"
	args := []string{"build"}
	if tags != "" {
		name += "-" + tags
		args = append(args, "-tags", tags)
	}
	bin := filepath.Join(dir, name)
	out, err := exec.CommandContext(ctx, "go", append(args, "-o", bin, "pecgate/cmd/pecgate")...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build the gateway (run this inside its source tree, or give --pecgate FILE): %w: %s", err, bytes.TrimSpace(out))
	}
	return bin, nil
}
