package configs

import (
	"embed"
	"fmt"
	"io/fs"
	"path"
	"reflect"
	"strings"
)

//go:embed presets/*.yaml
var presetFiles embed.FS

// preset is what is known of a provider: one file in presets.
type preset struct {
	// For people.
	Name string `yaml:"name"`
	// Servers, implicit TLS unless security says otherwise.
	SMTP presetServer `yaml:"smtp"`
	IMAP presetServer `yaml:"imap"`
	POP3 presetServer `yaml:"pop3"`
	// What the login is: address (default), or own, a user id that the mailbox has to name.
	Username string `yaml:"username" default:"address" oneof:"address,own"`
	// What the provider means by refusals of its own, where that is not what their code says.
	Replies []Reply `yaml:"replies"`
	// The folder of what was sent, where the provider does not mark it (RFC 6154).
	Sent string `yaml:"sent"`
	// Limits that the provider has published; absent ones are the defaults of Limits.
	Limits Limits `yaml:"limits"`
}

type presetServer struct {
	Host     string `yaml:"host"`
	Port     int    `yaml:"port"`
	Security string `yaml:"security" default:"tls" oneof:"tls,starttls"`
}

// loadPresets reads the built-in presets by name. An error is a fault of this program; a test reads them all.
func loadPresets() (map[string]preset, error) {
	files, err := fs.Glob(presetFiles, "presets/*.yaml")
	if err != nil {
		return nil, err
	}
	out := make(map[string]preset, len(files))
	for _, file := range files {
		b, err := presetFiles.ReadFile(file)
		if err != nil {
			return nil, err
		}
		var p preset
		d := newDecoder(file)
		d.defaults(reflect.ValueOf(&p).Elem())
		n, fault := parseYAML(file, b)
		if fault != nil {
			return nil, Faults{*fault}
		}
		d.mapping("", n, reflect.ValueOf(&p).Elem())
		if len(d.faults) > 0 {
			return nil, fmt.Errorf("built-in preset: %w", Faults(d.faults))
		}
		out[strings.TrimSuffix(path.Base(file), ".yaml")] = p
	}
	return out, nil
}

// Reply is a refusal at the provider's submission service.
type Reply struct {
	// 400 to 599.
	Code int `yaml:"code"`
	// All of them stand in its text, whatever their case.
	Words []string `yaml:"words"`
	// What it means: temporary or permanent.
	Means string `yaml:"means" oneof:"temporary,permanent"`
}
