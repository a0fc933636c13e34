//go:build peers

package main

import (
	"crypto/tls"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"pecgate/relay/upstream/dovecottest"
)

// TestImportFromDovecot: a mailbox on a server that others wrote comes in byte for byte,
// from two folders; its files and flags are there as they were.
func TestImportFromDovecot(t *testing.T) {
	h, where, ids := importHouse(t)
	want, outcomes := h.seen(where), h.outcomes(ids)
	var in []string
	for _, f := range where["mario"] {
		if f != treeA+"Posta inviata" {
			in = append(in, h.folder("mario", f)...)
		}
	}
	sent := h.folder("mario", treeA+"Posta inviata")
	cert, err := tls.LoadX509KeyPair(filepath.Join(h.dir, "tls/fullchain.pem"), filepath.Join(h.dir, "tls/key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	d := dovecottest.Start(t, dovecottest.Options{Certificate: cert, Login: boxA, Password: "geheim"}, in...)
	d.Admin(t, "mailbox", "create", "-u", boxA, "Sent")
	d.Deliver(t, "Sent", sent...)
	before := d.Messages(t)
	h.anew()
	h.write("imap.password", "geheim\n")
	args := []string{"--imap", fmt.Sprintf("localhost:%d", d.Ports["imap"]), "--starttls", "--user", boxA,
		"--password-file", filepath.Join(h.dir, "imap.password"), "--ca", filepath.Join(h.dir, "tls/fullchain.pem")}
	if got := h.imported(exitGood, args...); got.New != len(in)+len(sent) || got.Kinds["sent"] != len(sent) || got.Failed != 0 {
		t.Errorf("%+v", got)
	}
	if again := h.imported(exitGood, args...); again.New != 0 || again.There != len(in)+len(sent) {
		t.Errorf("again: %+v", again)
	}
	if seen := h.seen(where); !reflect.DeepEqual(seen, want) {
		t.Errorf("seen: %v\nwant: %v", seen, want)
	}
	if o := h.outcomes(ids); !reflect.DeepEqual(o, outcomes) {
		t.Errorf("outcomes: %v\nwant: %v", o, outcomes)
	}
	if after := d.Messages(t); !slices.Equal(after, before) {
		t.Error("the source has changed")
	}
}
