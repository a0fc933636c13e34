package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra" // home of the command line
)

// lookAsk and lookAnswer go between this process and the one that looks.
type lookAsk struct {
	Dir  string `json:"dir"`
	Fsck bool   `json:"fsck,omitempty"` // fsck alone
}

type lookAnswer struct {
	Sight   *sight   `json:"sight,omitempty"`
	Verdict *verdict `json:"verdict,omitempty"`
	Err     string   `json:"err,omitempty"`
}

// serveLooks is the other process: it answers each line of in by one of out.
func serveLooks(ctx context.Context, in io.Reader, out io.Writer) error {
	lines := bufio.NewScanner(in)
	answers := json.NewEncoder(out)
	for lines.Scan() {
		var ask lookAsk
		if err := json.Unmarshal(lines.Bytes(), &ask); err != nil {
			return fmt.Errorf("read what to look at: %w", err)
		}
		var a lookAnswer
		if ask.Fsck {
			v := fsckDeep(ctx, ask.Dir)
			a.Verdict = &v
		} else {
			s, err := look(ctx, ask.Dir)
			if a.Sight = &s; err != nil {
				a.Err = err.Error()
			}
		}
		if err := answers.Encode(a); err != nil {
			return err
		}
	}
	return lines.Err()
}

// outside is a looker in a process of its own, which is started anew when it
// has died.
type outside struct {
	command []string // that runs serveLooks
	cmd     *exec.Cmd
	in      io.WriteCloser
	out     *json.Decoder
	said    *tailBuffer
}

func (o *outside) start() error {
	cmd := exec.Command(o.command[0], o.command[1:]...)
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	o.said = &tailBuffer{}
	cmd.Stderr = o.said
	if err := cmd.Start(); err != nil {
		return err
	}
	o.cmd, o.in, o.out = cmd, in, json.NewDecoder(bufio.NewReader(out))
	return nil
}

// stop ends the process and waits for it.
func (o *outside) stop() error {
	if o.cmd == nil {
		return nil
	}
	err := o.in.Close()
	if werr := o.cmd.Wait(); err == nil {
		err = werr
	}
	o.cmd = nil
	return err
}

// askWait is how long a copy may be examined; behind that it hangs, which is as
// bad as a crash.
const askWait = 2 * time.Minute

func (o *outside) ask(q lookAsk) (a lookAnswer, err error) {
	if o.cmd == nil {
		if err := o.start(); err != nil {
			return a, err
		}
	}
	process := o.cmd.Process
	hangs := time.AfterFunc(askWait, func() { _ = process.Kill() }) // it may have ended just now
	defer hangs.Stop()
	b, err := json.Marshal(q)
	if err == nil {
		_, err = o.in.Write(append(b, '\n'))
	}
	if err == nil {
		err = o.out.Decode(&a)
	}
	if err != nil {
		_ = o.stop() // it is dead: its last words tell more
		return a, fmt.Errorf("%w: %s", errDied, o.said.firstLine())
	}
	if a.Err != "" {
		err = errors.New(a.Err)
	}
	return a, err
}

func (o *outside) fsck(_ context.Context, dir string) (verdict, error) {
	a, err := o.ask(lookAsk{Dir: dir, Fsck: true})
	if err != nil {
		return verdict{}, err
	}
	return *a.Verdict, nil
}

func (o *outside) look(_ context.Context, dir string) (sight, error) {
	a, err := o.ask(lookAsk{Dir: dir})
	if err != nil {
		return sight{}, err
	}
	return *a.Sight, nil
}

// tailBuffer keeps the beginning of what a process says.
type tailBuffer struct {
	mu sync.Mutex
	b  []byte
}

const maxSaid = 16 << 10

func (t *tailBuffer) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p[:min(len(p), maxSaid-len(t.b))]...)
	return len(p), nil
}

func (t *tailBuffer) firstLine() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	line, _, _ := strings.Cut(strings.TrimSpace(string(t.b)), "\n")
	return line
}

// newLookCommand is serveLooks as a command of this program, for this program.
func newLookCommand() *cobra.Command {
	return &cobra.Command{
		Use: lookCommand, Short: "examines folders for the scenario corrupt", Hidden: true, Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return serveLooks(c.Context(), c.InOrStdin(), c.OutOrStdout())
		},
	}
}

const lookCommand = "look"
