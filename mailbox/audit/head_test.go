package audit

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pecgate/mailbox/kv"
)

func TestHeads(t *testing.T) {
	h := newHouse(t)
	empty := h.head() // of the empty log
	if empty.Size != 0 || empty.Number != 0 || empty.Name != "pecgate.example" {
		t.Errorf("%+v", empty)
	}
	h.fill(5)
	first, again := h.head(), h.head()
	if first != again || first.Number != 1 || first.Size != 5 {
		t.Errorf("%+v %+v", first, again)
	}
	if read, err := OpenHead(first.Note, h.opt.Key.Public()); err != nil || read != first {
		t.Errorf("%+v %v", read, err)
	}
	if !strings.HasPrefix(first.Note, "pecgate.example\n5\n"+first.Root.String()+"\ntime 2026-11-22T12:02:00.123456Z\nhead 1\n\n\u2014 pecgate.example ") {
		t.Errorf("%s", first.Note)
	}
	r := h.good()
	if r.Heads != 2 || r.InFile != 2 || r.Covered != 5 || r.Root != first.Root {
		t.Errorf("%+v", r)
	}
	st, err := os.Stat(h.opt.File)
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the file of heads: %v %v", st.Mode(), err)
	}
	keyless := must[*Log](t)(New(Options{Prefix: []byte("a/"), Public: h.opt.Key.All()}))
	if _, err := keyless.Head(context.Background(), h.store); !errors.Is(err, ErrKey) {
		t.Errorf("a head without a key: %v", err)
	}
	if r, err := keyless.Verify(context.Background(), h.store, nil); err != nil || !r.OK() || r.Heads != 2 {
		t.Errorf("%+v %v", r, err)
	}
}

func TestOpenHead(t *testing.T) {
	h := newHouse(t)
	h.fill(2)
	head := h.head()
	pub := h.opt.Key.Public()
	other := must[*Key](t)(OpenKey(filepath.Join(t.TempDir(), "key"), "pecgate.example"))
	named := must[*Key](t)(OpenKey(filepath.Join(t.TempDir(), "key"), "another.example"))
	for name, c := range map[string]struct {
		note string
		keys []string
		want error
	}{
		"no key":         {head.Note, nil, ErrHead},
		"another key":    {head.Note, []string{other.Public(), named.Public()}, ErrHead},
		"bad key":        {head.Note, []string{"x"}, ErrKey},
		"size":           {strings.Replace(head.Note, "\n2\n", "\n3\n", 1), []string{pub}, ErrHead},
		"no note":        {"x", []string{pub}, ErrHead},
		"nothing":        {"", []string{pub}, ErrHead},
		"long":           {strings.Repeat("x\n", maxNote), []string{pub}, ErrHead},
		"among others":   {head.Note, []string{other.Public(), pub, pub}, nil},
		"signature gone": {head.Note[:strings.LastIndex(head.Note, "\u2014")], []string{pub}, ErrHead},
	} {
		if _, err := OpenHead(c.note, c.keys...); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, text := range []string{
		headText(Head{Name: "x", Size: -1}), headText(Head{Name: "x", Size: maxSize + 1}), headText(Head{Name: "x", Number: -1}),
		strings.Replace(headText(head), "\n2\n", "\n02\n", 1), strings.Replace(headText(head), "time ", "", 1), headText(head) + "more\n", "",
	} {
		if _, err := parseHead(text); !errors.Is(err, ErrHead) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestStart: what a crash kept from the file of heads is written into it, what
// it left half written goes.
func TestStart(t *testing.T) {
	ctx := context.Background()
	h := newHouse(t)
	if err := h.Start(ctx, h.store); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		h.fill(3)
		h.head()
	}
	whole := string(must[[]byte](t)(os.ReadFile(h.opt.File)))
	lines := strings.SplitAfter(whole, "\n")
	for name, left := range map[string]string{
		"whole":          whole,
		"two are left":   lines[0] + lines[1],
		"none is left":   "",
		"a torn line":    lines[0] + lines[1] + lines[2][:50],
		"only torn":      lines[0][:50],
		"without an end": strings.TrimSuffix(whole, "\n"),
	} {
		if err := os.WriteFile(h.opt.File, []byte(left), 0o600); err != nil {
			t.Fatal(err)
		}
		if r := h.verify(); !r.OK() || (r.Found == 0) != (left == whole) {
			t.Errorf("%s, before: %+v", name, r)
		}
		l := h.log("a/", h.opt.Key)
		if err := l.Start(ctx, h.store); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if now := string(must[[]byte](t)(os.ReadFile(h.opt.File))); now != whole {
			t.Errorf("%s: the file is %q", name, now)
		}
		h.good()
	}
	for name, c := range map[string]struct {
		left string
		want error
	}{
		"altered":        {strings.Replace(whole, lines[3], strings.Replace(lines[3], "time", "tame", 1), 1), ErrHead},
		"a line gone":    {lines[0] + lines[2] + lines[3], ErrRolledBack},
		"no JSON":        {lines[0] + "rubbish\n", ErrHead},
		"no line at all": {strings.Repeat("x", 3*maxNote) + "\n", ErrHead},
	} {
		if err := os.WriteFile(h.opt.File, []byte(c.left), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := h.log("a/", h.opt.Key).Start(ctx, h.store); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if r := h.verify(); r.OK() {
			t.Errorf("%s: not found", name)
		}
	}
	if err := os.Remove(h.opt.File); err != nil {
		t.Fatal(err)
	}
	if err := h.log("a/", h.opt.Key).Start(ctx, h.store); !errors.Is(err, ErrHeadsMissing) {
		t.Errorf("missing: %v", err)
	}
	if err := h.Renew(ctx, h.store); err != nil {
		t.Fatal(err)
	}
	h.good()
}

// TestFileThatCannotBeWritten: a head is not told when its line is not durable;
// the next one writes both.
func TestFileThatCannotBeWritten(t *testing.T) {
	h := newHouse(t)
	h.fill(1)
	h.head()
	away := h.opt.File + ".away"
	if err := errors.Join(os.Rename(h.opt.File, away), os.Mkdir(h.opt.File, 0o700)); err != nil {
		t.Fatal(err)
	}
	h.fill(1)
	if head, err := h.Head(context.Background(), h.store); err == nil {
		t.Errorf("%+v", head)
	}
	if err := errors.Join(os.Remove(h.opt.File), os.Rename(away, h.opt.File)); err != nil {
		t.Fatal(err)
	}
	h.fill(1)
	h.head()
	if r := h.good(); r.Heads != 3 || r.InFile != 3 {
		t.Errorf("%+v", r)
	}
}

func TestKey(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "audit.key")
	k := must[*Key](t)(OpenKey(file, "pecgate.example"))
	if !k.Made() || len(k.All()) != 1 || !strings.HasPrefix(k.Public(), "pecgate.example+") {
		t.Errorf("%+v", k)
	}
	for _, name := range []string{file, file + ".pub"} {
		if st, err := os.Stat(name); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("S3: %s: %v %v", name, st.Mode(), err)
		}
	}
	again := must[*Key](t)(OpenKey(file, "renamed.example")) // the host has another name now
	if again.Made() || again.Public() != k.Public() {
		t.Errorf("%+v", again)
	}
	if err := os.Remove(file); err != nil { // lost, as after a restore
		t.Fatal(err)
	}
	other := must[*Key](t)(OpenKey(file, "pecgate.example"))
	if !other.Made() || !slices.Equal(other.All(), []string{k.Public(), other.Public()}) {
		t.Errorf("%+v", other)
	}
	secret := must[[]byte](t)(os.ReadFile(file))
	for name, b := range map[string][]byte{
		"empty": nil, "cut": secret[:40], "flipped": flip(secret, len(secret)-3), "large": make([]byte, maxKeyFile+1), "public": []byte(k.Public()),
	} {
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := OpenKey(file, "pecgate.example")
		if !errors.Is(err, ErrKey) || strings.Contains(err.Error(), string(secret[len(secret)-40:len(secret)-5])) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := os.WriteFile(file, secret, 0o600); err != nil {
		t.Fatal(err)
	}
	for mode, good := range map[os.FileMode]bool{0o600: true, 0o640: true, 0o400: true, 0o644: false, 0o660: false, 0o602: false, 0o604: false} {
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenKey(file, "x"); errors.Is(err, ErrKey) == good {
			t.Errorf("S3: mode %o: %v", mode, err)
		}
	}
	if err := errors.Join(os.Chmod(file, 0o600), os.WriteFile(file+".pub", []byte("rubbish\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenKey(file, "x"); !errors.Is(err, ErrKey) {
		t.Errorf("public keys: %v", err)
	}
	for _, name := range []string{"", "a b", "a+b"} {
		at := filepath.Join(t.TempDir(), "key")
		if _, err := OpenKey(at, name); !errors.Is(err, ErrKey) {
			t.Errorf("a key named %q: %v", name, err)
		}
		if _, err := os.Stat(at); err == nil {
			t.Errorf("a key named %q was written", name)
		}
	}
	if _, err := OpenKey(filepath.Join(dir, "nowhere", "key"), "x"); err == nil {
		t.Error("a key in a folder that is not there")
	}
}

// TestAnotherKey: the heads of a lost key are believed as before.
func TestAnotherKey(t *testing.T) {
	h := newHouse(t)
	h.fill(3)
	old := h.head()
	if err := os.Remove(filepath.Join(h.dir, "audit.key")); err != nil {
		t.Fatal(err)
	}
	h.Log = h.log("a/", h.key())
	head := h.head() // of the same entries, by the new key
	if head.Size != 3 || head.Number != 1 || head.Root != old.Root {
		t.Errorf("%+v", head)
	}
	h.fill(3)
	h.head()
	r := h.verify()
	if !r.OK() || r.Heads != 3 {
		t.Errorf("%+v", r)
	}
	h.view(func(r kv.Reader) error {
		g := must[*Growth](t)(h.ProveGrowth(r, old, must[Head](t)(h.Newest(r))))
		if _, _, err := g.Check(h.opt.Key.All()...); err != nil {
			t.Error(err)
		}
		if _, _, err := g.Check(h.opt.Key.Public()); !errors.Is(err, ErrHead) {
			t.Errorf("with the new key only: %v", err)
		}
		return nil
	})
}
