package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"pecgate/relay/providersim"
)

// simulateMarker is the file by which simulate knows a folder as its own.
const simulateMarker = ".pecgate-simulate"

// simulateDir is the folder of --dir. Messages of earlier runs stay in it.
type simulateDir struct {
	path               string
	submitted, emitted int // that are kept already
}

// openSimulateDir makes the folder, or takes one that is empty or holds only
// what an earlier run left: ca.pem and accounts.txt are names of real
// configurations too, and must not be written over.
func openSimulateDir(dir string) (*simulateDir, error) {
	path, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("--dir: %w", err)
	}
	found, err := os.ReadDir(path)
	if err != nil {
		return nil, fmt.Errorf("--dir: %w", err)
	}
	own := regexp.MustCompile(`^([0-9a-f]{64}\.eml(\.new)?|(ca\.pem|ca\.key|accounts\.txt|\.pecgate-simulate)(\.new)?)$`)
	marked := len(found) == 0
	for _, f := range found {
		marked = marked || f.Name() == simulateMarker && f.Type().IsRegular()
		if !own.MatchString(f.Name()) {
			return nil, &exitError{exitUsage, fmt.Sprintf("--dir %s holds %q, which is not of the simulated provider: choose an empty folder or one that does not exist", path, f.Name())}
		}
	}
	if !marked {
		return nil, &exitError{exitUsage, fmt.Sprintf("--dir %s is not empty, and the simulated provider did not make it: choose an empty folder or one that does not exist", path)}
	}
	d := &simulateDir{path: path}
	return d, d.write(simulateMarker, []byte("pecgate simulate keeps its messages here.\n"))
}

// authority is the CA that the folder has from an earlier run, or a new one that is
// kept there: a gateway that trusts it goes on after the next start. ca.pem alone is
// of a run that kept no key; there the CA is another one now.
func (d *simulateDir) authority(domain string, now time.Time) (*providersim.Authority, error) {
	const name = "ca.key"
	b, err := os.ReadFile(filepath.Join(d.path, name))
	if err == nil {
		a, err := providersim.ReadAuthority(b, domain, now)
		if err != nil {
			return nil, &exitError{exitUsage, fmt.Sprintf("--dir %s: %s: %s: use the --domain of the earlier runs, or another folder", d.path, name, err)}
		}
		return a, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("--dir: %w", err)
	}
	a, err := providersim.NewAuthority(domain, now)
	if err != nil {
		return nil, err
	}
	if b, err = a.Keep(); err != nil {
		return nil, err
	}
	return a, d.write(name, b)
}

// follow keeps what is submitted and emitted until ctx ends.
func (d *simulateDir) follow(ctx context.Context, p *providersim.Provider) error {
	for {
		if err := d.keep(p); err != nil {
			return err
		}
		err := p.Wait(ctx, func() bool { return len(p.Ledger()) > d.submitted || len(p.Emitted()) > d.emitted })
		switch {
		case errors.Is(err, context.Canceled):
			return nil
		case err != nil:
			return err
		}
	}
}

// keep writes what is new.
func (d *simulateDir) keep(p *providersim.Provider) error {
	for _, s := range p.Ledger()[d.submitted:] {
		if err := d.write(s.SHA256+".eml", s.Raw); err != nil {
			return err
		}
		d.submitted++
	}
	for _, e := range p.Emitted()[d.emitted:] {
		if err := d.write(e.SHA256+".eml", e.Raw); err != nil {
			return err
		}
		d.emitted++
	}
	return nil
}

func (d *simulateDir) write(name string, content []byte) error {
	return writeWhole(filepath.Join(d.path, name), content, 0o600)
}

// writeWhole writes a file so that nobody ever sees half of it.
func writeWhole(path string, content []byte, mode os.FileMode) error {
	fresh := path + ".new"
	// Not through a link that somebody left there.
	if err := os.Remove(fresh); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(fresh, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err := errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(fresh))
	}
	return os.Rename(fresh, path)
}
