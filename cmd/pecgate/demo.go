package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/spf13/cobra" // home of the command line

	"pecgate/configs"
	"pecgate/gateway"
)

func newDemoCommand(app *app) *cobra.Command {
	var once bool
	var dir string
	c := &cobra.Command{
		Use:     "demo",
		Short:   "the whole system on this machine, with nothing to set up",
		Example: "  pecgate demo\n  pecgate demo --once --dir /tmp/demo",
		Long: `Starts a simulated PEC provider and a gateway with two users and two PEC
mailboxes, sends one message with a PIN, waits for its signed receipts, and
prints the settings to type into a mail client. It then runs until Ctrl-C, and
takes up what you change in --dir DIR as the appliance does. A later demo in the
same folder begins anew; it refuses a folder whose YAML files you have changed.`,
		Args: noArguments("use --config FILE for another configuration"),
		RunE: func(c *cobra.Command, _ []string) error {
			return runDemo(c.Context(), c.OutOrStdout(), dir, once)
		},
	}
	c.Flags().BoolVar(&once, "once", false, "stop by itself; status 0 only if every step was seen")
	c.Flags().StringVar(&dir, "dir", "", "folder for certificates, settings and every message (default: a temporary one)")
	return c
}

func runDemo(ctx context.Context, out io.Writer, dir string, once bool) (err error) {
	t := &timeline{out: out, start: time.Now()}
	if dir == "" {
		if dir, err = os.MkdirTemp("", "pecgate-demo-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	} else if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	if err := claimDemo(dir); err != nil {
		return err
	}
	t.await("a simulated PEC provider answers")
	w, err := buildDemo(dir)
	if err != nil {
		return t.missed(err)
	}
	// Until the provider ends it puts out messages; messages/ gets them all, each
	// as it comes.
	keeping, kept := context.WithCancel(ctx)
	var keeper sync.WaitGroup
	var keepErr error
	keeper.Go(func() { keepErr = w.keepComing(keeping) })
	defer func() {
		kept()
		keeper.Wait()
		err = errors.Join(err, w.provider.Close(), keepErr, w.keepEmitted())
	}()
	t.seen("a simulated PEC provider answers", "SMTP on %s and IMAP on %s, both by TLS only", w.provider.SMTPAddr(), w.provider.IMAPAddr())

	t.await("the gateway is ready")
	logFile, err := os.OpenFile(filepath.Join(dir, "log.json"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return t.missed(err)
	}
	defer func() { err = errors.Join(err, logFile.Close()) }()
	log := slog.New(slog.NewJSONHandler(logFile, nil))
	g, src, err := w.gateway(ctx, log)
	if err != nil {
		return t.missed(err)
	}
	following, unfollow := context.WithCancel(ctx)
	failed := make(chan error, 1)
	go func() { failed <- follow(following, g, src, log) }()
	defer func() {
		unfollow()
		err = errors.Join(err, <-failed, g.Close())
	}()
	t.seen("the gateway is ready", "submission on %s (TLS) and %s (STARTTLS), IMAP on %s; store in %s", w.smtps, w.submission, w.imaps, filepath.Join(dir, "data"))

	story, cancel := context.WithTimeout(ctx, 2*time.Minute)
	if err = w.tell(story, t); err != nil {
		err = t.missed(err)
	}
	cancel()
	if err := errors.Join(err, t.save(filepath.Join(dir, "timeline.json"))); err != nil {
		return err
	}
	fmt.Fprintf(out, "\nEvery step was seen. Settings for a mail client:\n\n%s", w.accounts())
	if once {
		return nil
	}
	fmt.Fprintf(out, "\nRunning until Ctrl-C. Everything of the demo is in %s\nA change of policy.yaml there counts at once, as in the appliance.\n", dir)
	select {
	case <-ctx.Done():
	case err := <-failed:
		failed <- nil
		return err
	}
	return nil
}

// gateway starts the gateway on the demo's configuration.
func (w *demoWorld) gateway(ctx context.Context, log *slog.Logger) (*gateway.Gateway, *source, error) {
	loaded, err := configs.Load(w.config)
	if err != nil {
		return nil, nil, err
	}
	src, err := newSource(loaded)
	if err != nil {
		return nil, nil, err
	}
	opt, err := src.gatewayOptions(log)
	if err != nil {
		return nil, nil, err
	}
	g, err := gateway.Start(ctx, opt)
	return g, src, err
}

// timeline prints each step with its time and keeps it for timeline.json.
type timeline struct {
	out   io.Writer
	start time.Time
	next  string // the step that should be seen next
	steps []step
}

type step struct {
	At        time.Time `json:"at"`
	ElapsedMS int64     `json:"elapsed_ms"` // since the start of the demo
	Step      string    `json:"step"`
	Detail    string    `json:"detail"`
}

// await says which step should be seen next.
func (t *timeline) await(what string) { t.next = what }

// missed prints that the awaited step was not seen, and says it in the error.
func (t *timeline) missed(err error) error {
	fmt.Fprintf(t.out, "%6.2f s  NOT SEEN: %s\n", time.Since(t.start).Seconds(), t.next)
	return fmt.Errorf("not seen: %s: %w", t.next, err)
}

// seen prints a step that has just been observed.
func (t *timeline) seen(what, detail string, args ...any) {
	s := step{At: time.Now(), ElapsedMS: time.Since(t.start).Milliseconds(), Step: what, Detail: fmt.Sprintf(detail, args...)}
	t.steps = append(t.steps, s)
	fmt.Fprintf(t.out, "%6.2f s  %s\n", float64(s.ElapsedMS)/1000, what)
	if s.Detail != "" {
		fmt.Fprintf(t.out, "          %s\n", s.Detail)
	}
}

func (t *timeline) save(path string) error {
	b, err := json.MarshalIndent(t.steps, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o600)
}
