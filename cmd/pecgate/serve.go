package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra" // home of the command line

	"pecgate/configs"
	"pecgate/gateway"
)

func newServeCommand(app *app) *cobra.Command {
	return &cobra.Command{
		Use:     "serve",
		Short:   "run the appliance",
		Example: "  pecgate serve --config /etc/pecgate/pecgate.yaml",
		Long: `Runs the appliance until SIGTERM or Ctrl-C. SIGHUP reads both YAML files and
the certificate again; so does a change of the files. What pecgate.yaml says is
checked then, and in use after a restart; the CAs of provider_trust count at once,
and what could not be verified is judged again. A faulty file changes nothing and is
reported in the log with its position.`,
		Args: noArguments("use --config FILE for another configuration"),
		RunE: func(c *cobra.Command, _ []string) error { return serve(c.Context(), app.config, c.ErrOrStderr()) },
	}
}

// serve runs until ctx ends; log lines go to logTo.
func serve(ctx context.Context, config string, logTo io.Writer) error {
	loaded, err := configs.Load(config)
	if err != nil {
		return err
	}
	src, err := newSource(loaded)
	if err != nil {
		return err
	}
	log := logger(loaded.Appliance, logTo)
	opt, err := src.gatewayOptions(log)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	dir := opt.DataDir
	if info, err := os.Stat(dir); err == nil {
		if err := ownedBy(dir, info, os.Geteuid()); err != nil {
			return err // what this process makes there would keep the other user out
		}
	}
	g, err := gateway.Start(ctx, opt)
	if taken(err) {
		return fmt.Errorf("the store in %s is in use: the appliance runs already (see `pecgate status`), or another command reads the store", dir)
	}
	if err != nil {
		return err
	}
	for _, w := range loaded.Warnings {
		log.Warn("configuration", "warning", w.String())
	}
	err = follow(ctx, g, src, log)
	stop()
	if cerr := g.Close(); err == nil {
		err = cerr
	}
	return err
}

// follow has a running gateway take over what changes in both YAML files, by
// itself and at SIGHUP, until ctx ends or the gateway fails.
func follow(ctx context.Context, g *gateway.Gateway, src *source, log *slog.Logger) (err error) {
	ctx, stop := context.WithCancel(ctx)
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	watcher := configs.Watch(ctx, src.now.Load().loaded.Files,
		func(l *configs.Loaded) {
			if err := src.use(l); err != nil {
				log.Error("configuration not reloaded", "error", err.Error())
				g.NotReloaded()
				return
			}
			g.Reload()
			log.Info("configuration reloaded")
		},
		func(err error) {
			log.Error("configuration not reloaded", "error", err.Error())
			g.NotReloaded()
		})
	for {
		select {
		case <-hup:
			watcher.Reload()
			continue
		case err = <-g.Failed():
		case <-ctx.Done():
		}
		break
	}
	stop()
	watcher.Wait()
	return err
}

// logger writes as the configuration says.
func logger(a *configs.Appliance, to io.Writer) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(a.Log.Level)); err != nil {
		level = slog.LevelInfo // the loader has refused anything else
	}
	o := &slog.HandlerOptions{Level: level}
	if a.Log.Format == "text" {
		return slog.New(slog.NewTextHandler(to, o))
	}
	return slog.New(slog.NewJSONHandler(to, o))
}
