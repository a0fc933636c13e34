package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra" // the command line: commands, flags, help

	"pecgate/configs"
	"pecgate/gateway/auth"
)

// Exit states.
const (
	exitGood   = 0
	exitFailed = 1 // it failed
	exitUsage  = 2 // wrong usage or configuration
)

// app is what all commands share. Commands write their result to the command's output and their errors by returning them.
type app struct {
	config string                       // --config
	hash   func(string) (string, error) // makes the hash of a password or PIN

	started bool // a command began: what fails from then on is not wrong usage
}

// exitError ends the program with a state of its own. Without a text nothing is printed.
type exitError struct {
	state int
	text  string
}

func (e *exitError) Error() string { return e.text }

// commands are all commands there are, in the order of the help. Each has a file of its own.
func commands(a *app) []*cobra.Command {
	return []*cobra.Command{
		newCheckCommand(a),
		newExplainCommand(a),
		newPolicyCommand(a),
		newPasswordCommand(a),
		newTokenCommand(),
		newPINCommand(a),
		newSealCommand(a),
		newDemoCommand(a),
		newServeCommand(a),
		newSimulateCommand(a),
		newStatusCommand(a),
		newMessagesCommand(a),
		newShowCommand(a),
		newAccountCommand(a),
		newSetupCommand(a),
		newUserCommand(a),
		newQueueCommand(a),
		newProviderCommand(a),
		newReconcileCommand(a),
		newVerifyCommand(a),
		newAuditCommand(a),
		newEvidenceCommand(a),
		newExportCommand(a),
		newImportCommand(a),
		newFsckCommand(a),
		newBackupCommand(a),
		newRestoreCommand(a),
		newManCommand(),
	}
}

func newRootCommand(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "pecgate",
		Short: "Gateway for Italian certified mail (PEC)",
		Long: `pecgate stands between the mail programs of an office and its PEC provider.

Exit status: 0 good, 1 it failed, 2 wrong usage or configuration.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				text := fmt.Sprintf("there is no command %q", args[0])
				if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
					text += ": did you mean " + strings.Join(near, " or ") + "?"
				}
				return &exitError{exitUsage, text + " (see pecgate --help)"}
			}
			return &exitError{exitUsage, "a command is needed (see pecgate --help)"}
		},
		CompletionOptions:          cobra.CompletionOptions{},
		SuggestionsMinimumDistance: 2,
	}
	root.PersistentFlags().StringVar(&a.config, "config", "/etc/pecgate/pecgate.yaml", "configuration `FILE`")
	for _, c := range commands(a) {
		a.mark(c)
		root.AddCommand(c)
	}
	return root
}

// noArguments is for commands that take none. It does not repeat what was given:
// it may be a secret.
func noArguments(instead string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		return fmt.Errorf("%s takes no argument: %s", c.Name(), instead)
	}
}

// mark notes when a command and its subcommands begin, because cobra's errors about flags and arguments have no type.
func (a *app) mark(c *cobra.Command) {
	if work := c.RunE; work != nil {
		c.RunE = func(cmd *cobra.Command, args []string) error {
			a.started = true
			return work(cmd, args)
		}
	}
	for _, sub := range c.Commands() {
		a.mark(sub)
	}
}

// run is the whole program. Errors go to stderr, one line for each fault.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{hash: auth.HashSecret}
	root := newRootCommand(a)
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitGood
	}
	state, lines := explain(err, a.started)
	for _, line := range lines {
		fmt.Fprintln(stderr, "pecgate: "+line)
	}
	return state
}

// explain turns an error into an exit state and the lines that tell of it.
func explain(err error, started bool) (state int, lines []string) {
	var exit *exitError
	var faults configs.Faults
	switch {
	case errors.As(err, &exit):
		if exit.text == "" {
			return exit.state, nil
		}
		return exit.state, []string{oneLine(exit.text)}
	case errors.As(err, &faults):
		for _, f := range faults {
			lines = append(lines, oneLine(f.String()))
		}
		return exitUsage, lines
	case !started:
		return exitUsage, []string{oneLine(err.Error()) + " (see pecgate --help)"}
	}
	return exitFailed, []string{oneLine(err.Error())}
}

// oneLine keeps what another program or a peer said from breaking the line.
func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}
