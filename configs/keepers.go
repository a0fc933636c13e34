package configs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// What others may do with the files that the appliance believes:
//
//	policy.yaml, TLS key, password files   others read nothing; the group may read, and only read. root:pecgate 0640 is
//	                                       the usual way to give a file to the service and keep it from changing it
//	pecgate.yaml, certificates, CAs        all may read them, they hold no secret; nobody else may change them
//	audit.key in data_dir                  as the first; the store makes it with mode 0600
//	seal.key                               as the first; `pecgate seal` makes it with mode 0600
//
// Who owns a file can change it whatever its mode says, so all of them belong to root or to the user of the appliance.

// keepers are the users who may own these files.
type keepers []int

// keepersOf are root and the user of this process; for root, who looks at the appliance of another user, also the owner
// of data_dir, where that is known and there.
func keepersOf(dataDir string) keepers {
	k := keepers{0, os.Geteuid()}
	if k[1] != 0 || dataDir == "" {
		return k
	}
	if info, err := os.Stat(dataDir); err == nil {
		if uid, ok := ownerOf(info); ok {
			k = append(k, uid)
		}
	}
	return k
}

func ownerOf(info fs.FileInfo) (uid int, ok bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int(st.Uid), true
}

// private refuses what others can read or the group can change.
func (k keepers) private(name string, info fs.FileInfo) error {
	if err := shut(name, info.Mode(), 0o027); err != nil {
		return err
	}
	return k.owned(name, info)
}

// unwritable refuses what group or others can change.
func (k keepers) unwritable(name string, info fs.FileInfo) error {
	if err := shut(name, info.Mode(), 0o022); err != nil {
		return err
	}
	return k.owned(name, info)
}

// shut refuses a mode with any of the forbidden bits and says which one is good.
func shut(name string, m, forbidden fs.FileMode) error {
	if m.Perm()&forbidden == 0 {
		return nil
	}
	what := "change it"
	if forbidden&0o004 != 0 {
		what = "read or change it"
	}
	return fmt.Errorf("its mode %04o lets others %s: run `chmod %04o %s`", m.Perm(), what, 0o666&^forbidden, inShell(name))
}

// owned refuses a file of anybody else.
func (k keepers) owned(name string, info fs.FileInfo) error {
	uid, ok := ownerOf(info)
	if !ok || slices.Contains(k, uid) {
		return nil
	}
	who := "uid " + strconv.Itoa(uid)
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		who = "user " + u.Username
	}
	return fmt.Errorf("it belongs to %s, who can change it: run `chown root %s`", who, inShell(name))
}

// readPrivate reads a file that others must be able neither to read nor to change.
func (k keepers) readPrivate(name string, limit int64) ([]byte, error) {
	return readKept(name, limit, k.private)
}

// readUnwritable reads a file that others must not be able to change.
func (k keepers) readUnwritable(name string, limit int64) ([]byte, error) {
	return readKept(name, limit, k.unwritable)
}

func readKept(name string, limit int64, judge func(string, fs.FileInfo) error) ([]byte, error) {
	b, info, err := readRegular(name, limit)
	if err == nil {
		err = judge(name, info)
	}
	if err != nil {
		return nil, err
	}
	return b, nil
}

// auditKey is the file in data_dir that the audit log is signed with.
const auditKey = "audit.key"

// auditKey judges the key of the audit log where there is one, and this process may look.
func (k keepers) auditKey(dataDir string) error {
	name := filepath.Join(dataDir, auditKey)
	info, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil
	}
	if err != nil {
		return plain(err)
	}
	return k.private(name, info)
}

// inShell writes a file name as an argument of a command.
func inShell(name string) string {
	const harmless = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+@:,%"
	if strings.Trim(name, harmless) == "" && name != "" {
		return name
	}
	if mayBeHash(name) || strings.ContainsFunc(name, func(r rune) bool { return !strconv.IsPrint(r) }) {
		return "FILE" // named where the fault stands, as far as it can be shown
	}
	return "'" + strings.ReplaceAll(name, "'", `'\''`) + "'"
}
