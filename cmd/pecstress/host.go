package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
)

// usable says what this machine lacks for the scenarios, all at once, or nil.
func usable(all []scenario) error {
	if runtime.GOOS != "linux" {
		return errors.New("this needs Linux: it mounts file systems, traces system calls and reads /proc")
	}
	var lacks []string
	var packages []string
	for _, s := range all {
		if s.root && os.Geteuid() != 0 && !slices.Contains(lacks, "root") {
			lacks = append(lacks, "root")
		}
		for _, n := range s.need {
			if _, err := exec.LookPath(n); err != nil && !slices.Contains(lacks, n) {
				lacks = append(lacks, n)
				packages = append(packages, packageOf(n))
			}
		}
		if slices.Contains(s.need, "losetup") {
			if _, err := os.Stat("/dev/loop-control"); err != nil && !slices.Contains(lacks, "loop devices") {
				lacks = append(lacks, "loop devices")
			}
		}
	}
	if len(lacks) == 0 {
		return nil
	}
	text := "this machine lacks: " + strings.Join(lacks, ", ")
	if len(packages) > 0 {
		slices.Sort(packages)
		text += "; install " + strings.Join(slices.Compact(packages), " ")
	}
	return fmt.Errorf("%s; --only leaves scenarios out", text)
}

// packageOf is the Debian package of a program.
func packageOf(program string) string {
	switch program {
	case "mkfs.ext4":
		return "e2fsprogs"
	case "losetup", "prlimit":
		return "util-linux"
	}
	return program
}
