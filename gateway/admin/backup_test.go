package admin

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pecgate/mailbox/backup"
)

// A backup over the socket is one like any other; its audit lines name the peer.
func TestBackupOverTheSocket(t *testing.T) {
	d := newDesk(t, 2<<20, 0)
	ctx := context.Background()
	f, err := backup.Open(backup.Options{Dir: filepath.Join(t.TempDir(), "b")})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	body, err := d.client.Backup(ctx, f.Have())
	if err != nil {
		t.Fatal(err)
	}
	r, err := f.Take(ctx, body)
	if err := errors.Join(err, body.Close(), d.client.BackedUp(ctx, r)); err != nil || r.Messages != 1 || r.Bytes < 2<<20 {
		t.Fatalf("%+v, %v", r, err)
	}
	if err := d.client.BackedUp(ctx, nil); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range d.asked() {
		event, rest, _ := strings.Cut(l, "|")
		result := strings.Split(rest, "|")
		if !strings.HasPrefix(result[3], "uid ") {
			t.Errorf("line %q names no peer", l)
		}
		got = append(got, event+" "+result[2])
	}
	if want := "backup begun,backup done,backup failed"; strings.Join(got, ",") != want {
		t.Errorf("audit lines %q, want %s", got, want)
	}
	// The folder of another store is refused in words.
	body, err = d.client.Backup(ctx, backup.Have{Store: "another"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Take(ctx, body); err == nil || !strings.Contains(err.Error(), backup.ErrOther.Error()) {
		t.Errorf("of another store: %v", err)
	}
	if err := body.Close(); err != nil {
		t.Error(err)
	}
}

// Who hangs up or stalls in the middle keeps the store from nothing: the copy
// ends.
func TestBackupThatIsNotTaken(t *testing.T) {
	d := newDesk(t, 8<<20, 100*time.Millisecond)
	n := 0
	for name, leave := range map[string]func(io.Closer, context.CancelFunc){
		"hangs up": func(c io.Closer, _ context.CancelFunc) { _ = c.Close() },
		"is ended": func(_ io.Closer, cancel context.CancelFunc) { cancel() },
		"stalls":   func(io.Closer, context.CancelFunc) {},
	} {
		ctx, cancel := context.WithCancel(context.Background())
		body, err := d.client.Backup(ctx, backup.Have{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(body, make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
		leave(body, cancel)
		n++
		d.until(name+": it is told, the store is let go", func() bool { return strings.Count(d.log.String(), "not read to its end") == n })
		cancel()
		_ = body.Close()
	}
}
