//go:build !planted

package planted

// Is tells whether the fault is on: never in this build.
func Is(Bug) bool { return false }
