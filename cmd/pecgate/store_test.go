package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pecgate/configs"
	"pecgate/gateway/admin"
	"pecgate/mailbox"
)

// dataFolder makes a good configuration and returns its name and that of its
// data_dir, which does not exist.
func dataFolder(t *testing.T) (config, data string) {
	t.Helper()
	config = configFolder(t)
	data = filepath.Join(filepath.Dir(config), "data")
	f, err := os.OpenFile(config, os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintf(f, "data_dir: %q\nmin_free: 10MB\n", data); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return config, data
}

// reading are the commands that read the store where nothing runs.
func reading() [][]string {
	return [][]string{{"status"}, {"show", "x"}, {"show", "--eml", "x"}, {"audit", "verify"}}
}

// Looking makes nothing: a store made by root would keep the service out.
func TestNoDataYet(t *testing.T) {
	config, data := dataFolder(t)
	for _, made := range []bool{false, true} {
		if made {
			if err := os.Mkdir(data, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		for _, args := range reading() {
			state, out, errs := program(t, "", append(args, "--config", config)...)
			want := "pecgate: there is no data yet in " + data + ": is data_dir right? `pecgate serve` makes it at its first start\n"
			if state != exitFailed || out != "" || errs != want {
				t.Errorf("%v: %d %s%s", args, state, out, errs)
			}
		}
		if found, err := os.ReadDir(data); len(found) != 0 || (err == nil) != made {
			t.Errorf("made: %v, %v", found, err)
		}
	}
}

func TestDataOfAnotherUser(t *testing.T) {
	_, data := dataFolder(t)
	store, err := mailbox.Open(mailbox.Options{Dir: data})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	if err := readyData(data, os.Geteuid()); err != nil {
		t.Errorf("own data: %v", err)
	}
	err = readyData(data, os.Geteuid()+1)
	if err == nil || !strings.Contains(err.Error(), data+" belongs to ") || !strings.Contains(err.Error(), "sudo -u ") {
		t.Errorf("data of another user: %v", err)
	}
	// What the control socket refuses to another user is told the same way; its
	// own user gets the error as it is.
	a := &configs.Appliance{DataDir: data}
	if err := controlError(a, os.ErrPermission); err != os.ErrPermission {
		t.Errorf("refused to the owner: %v", err)
	}
	if err := controlError(a, admin.ErrNotRunning); err != admin.ErrNotRunning {
		t.Errorf("another error: %v", err)
	}
}

func TestStoreInUseWithoutControlSocket(t *testing.T) {
	config, data := dataFolder(t)
	store, err := mailbox.Open(mailbox.Options{Dir: data})
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range reading() {
		state, out, errs := program(t, "", append(args, "--config", config)...)
		if state != exitFailed || out != "" || !strings.HasPrefix(errs, "pecgate: the store in "+data+" is in use") || strings.Count(errs, "\n") != 1 {
			t.Errorf("%v: %d %s%s", args, state, out, errs)
		}
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	// Free again, it is read.
	state, out, errs := program(t, "", "status", "--json", "--config", config)
	var st struct{ Mailboxes []map[string]any }
	if err := json.Unmarshal([]byte(out), &st); state != exitGood || err != nil || len(st.Mailboxes) != 1 {
		t.Errorf("%d %s%s%v", state, out, errs, err)
	}
	for _, key := range []string{"address", "last_fetch", "last_error", "quota", "suspended", "certificate_expires"} {
		if _, ok := st.Mailboxes[0][key]; !ok {
			t.Errorf("no key %s in %s", key, out)
		}
	}
	if state, _, errs := program(t, "", "show", "x", "--config", config); state != exitFailed || errs != "pecgate: "+admin.ErrNotFound.Error()+"\n" {
		t.Errorf("show of nothing: %d %s", state, errs)
	}
}
