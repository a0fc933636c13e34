package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix" // mount, and the ioctl that cuts the power
)

// disk is an ext4 file system in a file, whose power can be cut.
type disk struct {
	image, dir string
	device     string // of the loop; empty: none
	mounted    bool
}

// newDisk makes a file system of size bytes in folder and mounts it at dir()
// below folder. close must be called.
func newDisk(ctx context.Context, folder string, size int64) (_ *disk, err error) {
	d := &disk{image: filepath.Join(folder, "disk.img"), dir: filepath.Join(folder, "disk")}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.close())
		}
	}()
	f, err := os.OpenFile(d.image, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return d, err
	}
	if err := errors.Join(f.Truncate(size), f.Close(), os.Mkdir(d.dir, 0o700)); err != nil {
		return d, err
	}
	if _, err := tool(ctx, "mkfs.ext4", "-q", "-F", "-m", "0", d.image); err != nil {
		return d, err
	}
	out, err := tool(ctx, "losetup", "--find", "--show", d.image)
	if err != nil {
		return d, err
	}
	d.device = strings.TrimSpace(out)
	return d, d.mount()
}

func tool(ctx context.Context, name string, args ...string) (string, error) {
	var said bytes.Buffer
	c := exec.CommandContext(ctx, name, args...)
	c.Stderr = &said
	out, err := c.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", name, err, bytes.TrimSpace(said.Bytes()))
	}
	return string(out), nil
}

func (d *disk) mount() error {
	if err := unix.Mount(d.device, d.dir, "ext4", unix.MS_NOATIME, ""); err != nil {
		return fmt.Errorf("mount %s: %w", d.image, err)
	}
	d.mounted = true
	return nil
}

// shutdownIoctl is EXT4_IOC_SHUTDOWN, _IOR('X', 125, __u32); noLogFlush is
// EXT4_GOING_FLAGS_NOLOGFLUSH: the file system stops where it is, and what it had
// not written is gone (fs/ext4/ext4.h of Linux).
const (
	shutdownIoctl = 0x8004587d
	noLogFlush    = 2
)

// cut cuts the power. Who writes there must have been stopped before: a process
// that runs on would make promises in the dark, which no real machine does.
func (d *disk) cut() error {
	f, err := os.Open(d.dir)
	if err != nil {
		return err
	}
	defer f.Close() // read only
	if err := unix.IoctlSetPointerInt(int(f.Fd()), shutdownIoctl, noLogFlush); err != nil {
		return fmt.Errorf("cut the power of %s: %w", d.image, err)
	}
	return nil
}

// again takes the file system away and back, as the next start of a machine
// does. Nobody may have a file open there.
func (d *disk) again() error {
	if err := d.unmount(); err != nil {
		return err
	}
	return d.mount()
}

// unmount waits a little for the kernel to let go of what a killed process had.
func (d *disk) unmount() error {
	if !d.mounted {
		return nil
	}
	var err error
	for range 100 {
		if err = unix.Unmount(d.dir, 0); err == nil {
			d.mounted = false
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("unmount %s: %w", d.dir, err)
}

// close takes everything down that newDisk put up; the image goes too.
func (d *disk) close() error {
	err := d.unmount()
	if err != nil {
		err = errors.Join(err, unix.Unmount(d.dir, unix.MNT_DETACH)) // at least nobody finds it mounted
	}
	if d.device != "" {
		// Not with the run's context: that may have ended.
		_, derr := tool(context.Background(), "losetup", "-d", d.device)
		err = errors.Join(err, derr)
		d.device = ""
	}
	return errors.Join(err, os.Remove(d.image))
}
