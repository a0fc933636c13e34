// Command pecgate is the gateway for Italian certified mail: one binary, one file for each of its commands.
//
// It owns the wiring: it reads the configuration, gives each room its Options, and turns errors into exit states (0 good,
// 1 it failed, 2 wrong usage or configuration). No rule of mail or policy is decided here. Nothing imports it.
//
// The fixtures of its scenarios lie in testdata of the repository root.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	syscall.Umask(0o077) // whatever is written is the appliance's alone
	// A second signal ends the program at once: stop gives the first one's handling back.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
