package configs

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"time"
)

// Largest files, in octets. A policy of 5,000 mailboxes with 10 members each is about 3 MiB.
const (
	maxAppliance = 1 << 20
	maxPolicy    = 4 << 20
)

// Loaded is a whole, good configuration. It is never changed after loading.
type Loaded struct {
	Appliance *Appliance
	Policy    *Policy
	Warnings  []Fault
	Files     Files // what was read, for Watch
	Sums      Sums

	seal SealKey
}

// Sums are SHA-256 of both files as they were read, in lower-case hexadecimal.
type Sums struct{ Config, Policy string }

// Report is what a look at both files found.
type Report struct {
	Loaded   *Loaded // nil where there are faults
	Faults   Faults
	Warnings []Fault
	Files    Files // what was looked at; Policy is empty where pecgate.yaml does not name it for certain
}

// Load reads pecgate.yaml, the environment, and the policy file that they name. The error is Faults: every fault of both
// files at once. A configuration with warnings is good.
func Load(path string) (*Loaded, error) {
	r := Check(path)
	if len(r.Faults) > 0 {
		return nil, r.Faults
	}
	return r.Loaded, nil
}

// LoadAppliance reads pecgate.yaml and the environment for commands that ask the running appliance or look into its store:
// a faulty policy must not keep an operator from them, nor one of the other files that pecgate.yaml names. The error is
// Faults.
func LoadAppliance(path string) (*Appliance, error) {
	f := &findings{now: time.Now(), alone: true}
	whole := path
	if abs, err := filepath.Abs(path); err == nil {
		whole = abs
	}
	a, _ := f.appliance(path, whole)
	if len(f.faults) > 0 {
		return nil, Faults(most(once(sorted(f.faults))))
	}
	return a, nil
}

// Check is Load that gives the warnings even where there are faults. It contacts nobody.
func Check(path string) Report { return check(path, time.Now()) }

// findings collects what is wrong in one load.
type findings struct {
	faults   []Fault
	warnings []Fault
	sums     Sums
	keepers  keepers
	seal     SealKey
	cas      map[string]stamp // of CAs, as they stood before they were read
	alone    bool             // files that pecgate.yaml names are not looked at
	now      time.Time        // for warnings only: what is right today is no fault tomorrow
}

func (f *findings) warn(p Position, format string, args ...any) {
	f.warnings = append(f.warnings, Fault{p, fmt.Sprintf(format, args...)})
}

func check(path string, now time.Time) Report {
	f := &findings{now: now}
	files := Files{Config: path}
	if abs, err := filepath.Abs(path); err == nil {
		files.Config = abs
	}
	files.config = stampOf(files.Config)

	appliance, named := f.appliance(path, files.Config)
	var policy *Policy
	if named != "" {
		files.Policy = appliance.PolicyFile
		files.policy = stampOf(files.Policy)
		policy = f.policy(named, appliance, false)
	}
	files.cas = f.cas
	files.key, files.keyStamp, files.keyed = f.seal.File, f.seal.stamp, f.seal.Ring != nil
	r := Report{Faults: most(once(sorted(f.faults))), Warnings: most(once(sorted(f.warnings))), Files: files}
	if len(r.Faults) == 0 {
		r.Loaded = &Loaded{Appliance: appliance, Policy: policy, Warnings: r.Warnings, Files: files, Sums: f.sums, seal: f.seal}
	}
	return r
}

// once leaves out what is said twice of one place: a fault in the defaults is one fault, not one of every mailbox.
func once(f []Fault) []Fault {
	type said struct {
		at   Position
		what string
	}
	seen := make(map[said]bool, len(f))
	return slices.DeleteFunc(f, func(x Fault) bool {
		k := said{x.Position, x.Message}
		twice := seen[k]
		seen[k] = true
		return twice
	})
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// most keeps a report readable: nobody mends more faults than these before the next look.
func most(f []Fault) []Fault {
	const limit = 1000
	if len(f) <= limit {
		return f
	}
	last := Fault{f[limit].Position, fmt.Sprintf("%d more like these", len(f)-limit)}
	return append(f[:limit:limit], last)
}

// appliance reads pecgate.yaml. The second result is the policy file as faults name it; empty where pecgate.yaml does not
// tell for certain which file that is.
func (f *findings) appliance(shown, path string) (*Appliance, string) {
	d := newDecoder(shown)
	defer func() { f.faults = append(f.faults, d.faults...) }()
	b, info, err := readRegular(path, maxAppliance)
	if err != nil {
		d.fault(Position{File: shown}, "%v", err)
		return nil, ""
	}
	if err := shut(path, info.Mode(), 0o022); err != nil {
		d.fault(Position{File: shown}, "%v", err)
	}
	f.sums.Config = sum(b)
	n, fault := parseYAML(shown, b)
	if fault != nil {
		d.faults = append(d.faults, *fault)
		return nil, ""
	}
	d.mapping("", n, reflect.New(reflect.TypeFor[Appliance]()).Elem())
	a, err := layer(d)
	if err != nil {
		d.fault(Position{File: shown}, "%v", err)
		return nil, ""
	}
	a.dir = filepath.Dir(path)
	f.keepers = keepersOf(a.Path(a.DataDir))
	if err := f.keepers.owned(path, info); err != nil {
		d.fault(Position{File: shown}, "%v", err)
	}
	f.warnings = append(f.warnings, strayEnvironment()...)
	name := a.PolicyFile
	f.checkAppliance(d, a)
	if name == "" || d.bad["policy_file"] {
		return a, ""
	}
	return a, under(filepath.Dir(shown), name)
}

// policy reads policy.yaml. Faults name it as shown, beside the name of pecgate.yaml that the caller gave. Apart from
// everything else, the file is read for its rules alone.
func (f *findings) policy(shown string, a *Appliance, apart bool) *Policy {
	d := newDecoder(shown)
	defer func() { f.faults = append(f.faults, d.faults...) }()
	b, info, err := readRegular(a.PolicyFile, maxPolicy)
	if err != nil {
		d.fault(Position{File: shown}, "%v", err)
		return nil
	}
	if err := f.keepers.private(a.PolicyFile, info); err != nil && !apart {
		d.fault(Position{File: shown}, "%v", err)
	}
	f.sums.Policy = sum(b)
	n, fault := parseYAML(shown, b)
	if fault != nil {
		d.faults = append(d.faults, *fault)
		return nil
	}
	p := new(Policy)
	d.mapping("", n, reflect.ValueOf(p).Elem())
	if d.nodes > maxNodes {
		d.faults = []Fault{{Position{File: shown}, "the file holds too much"}} // what was left out cannot be judged
		return nil
	}
	presets, err := loadPresets()
	if err != nil {
		d.fault(Position{File: shown}, "%v", err)
		return nil
	}
	c := policyCheck{findings: f, decoder: d, appliance: a, policy: p, presets: presets, apart: apart}
	c.all()
	return p
}

// ReadPolicy reads one policy file for its rules alone, to compare it with another: passwords and other files that it names
// are not looked at, nor who may read it. Days end in the time zone. The error is Faults.
func ReadPolicy(path string, zone *time.Location) (*Loaded, error) {
	f := &findings{now: time.Now()}
	a := &Appliance{PolicyFile: path, loc: zone}
	p := f.policy(path, a, true)
	if len(f.faults) > 0 {
		return nil, Faults(most(once(sorted(f.faults))))
	}
	return &Loaded{Appliance: a, Policy: p, Warnings: most(once(sorted(f.warnings))), Sums: f.sums}, nil
}
