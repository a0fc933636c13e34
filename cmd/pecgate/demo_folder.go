package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"pecgate/configs"
)

// demoMarker is the file by which the demo knows a folder as its own. The
// other names are those of a real configuration too.
const demoMarker = ".pecgate-demo"

// demoFiles are the names that a demo makes in its folder beside the marker.
func demoFiles() []string {
	return []string{"ca.pem", "tls", "pecgate.yaml", "policy.yaml", "accounts.txt", "messages", "timeline.json", "secrets", "data", "log.json"}
}

// claimDemo makes a folder the demo's own: empty but for the marker.
func claimDemo(dir string) error {
	if err := demoName(dir); err != nil {
		return err
	}
	if err := clearDemo(dir); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, demoMarker), []byte(demoText), 0o600)
}

const demoText = "pecgate demo made this folder and empties it when it runs here again.\n"

// demoEdited are the files that people change in a demo.
func demoEdited() []string { return []string{"pecgate.yaml", "policy.yaml"} }

// signDemo notes in the marker what the demo has written itself, so that the next
// one knows what somebody has changed.
func signDemo(dir string) error {
	text := demoText
	for _, name := range demoEdited() {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		text += hex256(b) + "  " + name + "\n"
	}
	return os.WriteFile(filepath.Join(dir, demoMarker), []byte(text), 0o600)
}

// editedDemo is the name of a file that is not as the demo wrote it, "" where there
// is none.
func editedDemo(dir string) (string, error) {
	marker, err := os.ReadFile(filepath.Join(dir, demoMarker))
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(marker)) {
		sum, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "  ")
		if !ok || !slices.Contains(demoEdited(), name) {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil || hex256(b) != sum {
			return name, err
		}
	}
	return "", nil
}

// demoName says why a demo cannot run in a folder of this name, before
// anything is made.
func demoName(dir string) error {
	if !utf8.ValidString(dir) || strings.ContainsAny(dir, "\r\n\t") {
		return fmt.Errorf("the name of the folder %q cannot stand in a configuration: choose another --dir", dir)
	}
	if err := configs.CheckDataDir(filepath.Join(dir, "data")); err != nil {
		return fmt.Errorf("%s: %w; choose a shorter --dir", filepath.Join(dir, "data"), err)
	}
	return nil
}

// clearDemo makes a folder, or empties it of what an earlier demo left there.
// A folder without the demo's marker must be empty, and one that holds
// anything else than a demo makes is refused.
func clearDemo(dir string) error {
	found, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return os.MkdirAll(dir, 0o700)
	}
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return nil
	}
	marker, err := os.Lstat(filepath.Join(dir, demoMarker))
	if err != nil || !marker.Mode().IsRegular() {
		return fmt.Errorf("%s is not empty, and no demo made it: choose an empty folder or one that does not exist", dir)
	}
	known := demoFiles()
	for _, f := range found {
		if f.Name() != demoMarker && !slices.Contains(known, f.Name()) {
			return fmt.Errorf("%s holds %q, which is not of the demo: choose an empty folder", dir, f.Name())
		}
	}
	edited, err := editedDemo(dir)
	if err != nil {
		return err
	}
	if edited != "" {
		return fmt.Errorf("%s was changed since the demo wrote it, and would be lost: move it elsewhere, or choose another --dir", filepath.Join(dir, edited))
	}
	// The marker goes last: a demo that is stopped here can be run again.
	for _, name := range append(known, demoMarker) {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}
