// Package configs reads the two files of an administrator, pecgate.yaml and policy.yaml, into plain structs.
//
// It owns: the keys, their units and defaults (the structs of appliance.go and members.go are the reference), strict
// loading, the environment overrides of pecgate.yaml, the provider presets, and watching for changes.
//
// Invariants:
//   - Strict: an unknown key, a wrong type, a key written twice or a value out of range is a fault, never a default.
//   - Whole: all faults are reported at once, each with file, line and column.
//   - All or nothing: a file with a fault gives no configuration at all, so the one in use stays.
//   - Bounded: file size, and no alias is ever expanded beyond what the structs have room for.
//   - Kept: a file that others than root and the user of the appliance could change, or a secret that they could read, is
//     a fault (keepers.go).
//   - No value of a secret key, and no content of a secret file, ever stands in a fault.
//   - Nothing is contacted. Secrets are resolved when they are used (Secret.Resolve, Loaded.OpenCode); what is sealed
//     (package seal) is opened once before, to find faults.
//
// Of policy.yaml, what a mailbox takes from `defaults` is filled in before anything is judged (inherit.go), and what the
// lines of one person say together is judged by package policy itself (check_together.go).
//
// pecgate.yaml is layered: defaults, then the file, then the environment. policy.yaml is decoded from YAML nodes alone.
//
// It must not be imported by any room below cmd: they take small Options structs. Of the other rooms it imports only
// policy, whose strict address reader decides what an address is, and its own configs/seal.
//
// Fixtures lie in testdata/policy/broken of the repository root: NAME.yaml with what is wrong in it, NAME.want with the
// exact faults. Files named pecgate-* are broken appliance files, all others broken policy files.
package configs
