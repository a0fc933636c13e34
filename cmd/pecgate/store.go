package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"pecgate/configs"
	"pecgate/gateway/admin"
	"pecgate/mailbox"
	"pecgate/mailbox/kv"
	"pecgate/mailbox/segment"
	"pecgate/relay"
)

// withStore opens the store itself, for when nothing runs. It makes nothing:
// files of another user than the appliance's would keep it from starting.
func withStore(a *configs.Appliance, fn func(*mailbox.Store) error) error {
	dir := a.Path(a.DataDir)
	if err := readyData(dir, os.Geteuid()); err != nil {
		return err
	}
	store, err := mailbox.Open(mailbox.Options{Dir: dir, MinFree: int64(a.MinFree), Name: a.Hostname, Zone: a.Location(), Clock: mailbox.SystemClock()})
	if taken(err) {
		return fmt.Errorf("the store in %s is in use, but nothing answers on its control.sock: "+
			"the appliance is starting or stopping, or another command reads the store; try again in a moment", dir)
	}
	if err != nil {
		return err
	}
	err = fn(store)
	if errors.Is(err, relay.ErrNotFound) {
		err = admin.ErrNotFound // as the appliance says it
	}
	return errors.Join(err, store.Close())
}

// withStoreOrNone is withStore, but on an empty store that is gone afterwards where
// there is no data yet.
func withStoreOrNone(a *configs.Appliance, fn func(*mailbox.Store) error) error {
	_, err := os.Stat(filepath.Join(a.Path(a.DataDir), "records"))
	if !errors.Is(err, fs.ErrNotExist) {
		return withStore(a, fn)
	}
	dir, err := os.MkdirTemp("", "pecgate-check-")
	if err != nil {
		return err
	}
	store, err := mailbox.Open(mailbox.Options{Dir: dir, Name: a.Hostname, Zone: a.Location()})
	if err == nil {
		err = errors.Join(fn(store), store.Close())
	}
	return errors.Join(err, os.RemoveAll(dir))
}

// taken tells whether another process has the store open.
func taken(err error) bool { return errors.Is(err, segment.ErrInUse) || errors.Is(err, kv.ErrInUse) }

// controlError explains an error of the control socket: where it may not be
// opened, whose it is.
func controlError(a *configs.Appliance, err error) error {
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	dir := a.Path(a.DataDir)
	if info, serr := os.Stat(dir); serr == nil {
		if oerr := ownedBy(dir, info, os.Geteuid()); oerr != nil {
			return oerr
		}
	}
	return err
}

// readyData says why the process of a user must not open the store in a
// folder, or nil.
func readyData(dir string, uid int) error {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return noData(dir)
	case err != nil:
		return fmt.Errorf("look into data_dir: %w", err)
	case !info.IsDir():
		return fmt.Errorf("data_dir %s is not a folder", dir)
	}
	if err := ownedBy(dir, info, uid); err != nil {
		return err
	}
	// Any other folder would get a new store in it.
	if _, err := os.Stat(filepath.Join(dir, "records")); err != nil {
		return noData(dir)
	}
	return nil
}

func noData(dir string) error {
	return fmt.Errorf("there is no data yet in %s: is data_dir right? `pecgate serve` makes it at its first start", dir)
}

// ownedBy refuses a folder that belongs to another user.
func ownedBy(dir string, info fs.FileInfo, uid int) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int(st.Uid) == uid {
		return nil
	}
	owner := "uid " + strconv.Itoa(int(st.Uid))
	sudo := "#" + strconv.Itoa(int(st.Uid)) // how sudo takes a number
	if u, err := user.LookupId(strconv.Itoa(int(st.Uid))); err == nil {
		owner, sudo = u.Username, u.Username
	}
	return fmt.Errorf("%s belongs to %s, and this process is of another user: run `sudo -u %s pecgate ...`", dir, owner, sudo)
}
