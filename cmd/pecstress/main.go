package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra" // home of the command line
)

// Exit states.
const (
	exitGood   = 0
	exitFailed = 1 // a fault was found, or it could not be looked for
	exitUsage  = 2
)

func main() {
	syscall.Umask(0o077)
	// A second signal ends the program at once: stop gives the first one's
	// handling back, whose clean-up then does not run.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is the whole program.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	started := false
	root := &cobra.Command{
		Use:           "pecstress",
		Short:         "breaks a running gateway on purpose and judges what became of the mail",
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(*cobra.Command, []string) error {
			return errors.New("a command is needed (see pecstress --help)")
		},
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	for _, c := range []*cobra.Command{newCrashCommand(), newHandoverCommand(), newLookCommand()} {
		work := c.RunE
		c.RunE = func(cmd *cobra.Command, args []string) error {
			started = true
			return work(cmd, args)
		}
		root.AddCommand(c)
	}
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitGood
	}
	fmt.Fprintln(stderr, "pecstress: "+strings.Join(strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' || r == '\r' }), "; "))
	if !started {
		return exitUsage
	}
	return exitFailed
}
