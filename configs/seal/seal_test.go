package seal

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid" // random texts and damage
)

// ring makes a key file with n keys and reads it.
func ring(t testing.TB, n int) (*Ring, string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "seal.key")
	if err := Make(t.Context(), file, filepath.Join(t.TempDir(), "none")); err != nil {
		t.Fatal(err)
	}
	for range n - 1 {
		if err := Add(t.Context(), file); err != nil {
			t.Fatal(err)
		}
	}
	return reread(t, file), file
}

func reread(t testing.TB, file string) *Ring {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	r, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestSealedTexts: what is sealed opens with its key, whatever came after that, and for its purpose; with no other, with
// none and for nothing else.
func TestSealedTexts(t *testing.T) {
	r, file := ring(t, 1)
	other, _ := ring(t, 2)
	text, err := r.Seal(Password, []byte("hunter2"))
	if err != nil {
		t.Fatal(err)
	}
	code, err := r.Seal(Code("Mario"), []byte("hunter2"))
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := r.Seal(Password, []byte("hunter2")); again == text {
		t.Error("the same is sealed to the same")
	}
	if err := Add(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	later := reread(t, file)
	anew, err := later.Seal(Password, []byte("hunter2"))
	if err != nil {
		t.Fatal(err)
	}
	if later.Len() != 2 || later.Newest() == r.Newest() || !strings.Contains(anew, later.Newest()) || !strings.Contains(text, r.Newest()) {
		t.Errorf("%d keys, the newest is %s after %s", later.Len(), later.Newest(), r.Newest())
	}
	for _, c := range []struct {
		name string
		ring *Ring
		p    Purpose
		text string
		want error
	}{
		{"its key", r, Password, text, nil},
		{"a key was added", later, Password, text, nil},
		{"the added key", later, Password, anew, nil},
		{"a code, its login in other letters", r, Code("mARIO"), code, nil},
		{"before the key", r, Password, anew, ErrOtherKey},
		{"another appliance", other, Password, text, ErrOtherKey},
		{"no key", nil, Password, text, ErrNoKey},
		{"a code as password", r, Password, code, ErrDamaged},
		{"a password as code", r, Code("mario"), text, ErrDamaged},
		{"the code of another", r, Code("lucia"), code, ErrDamaged},
		{"plain text", r, Password, "hunter2", ErrDamaged},
		{"plain text, no key", nil, Password, "hunter2", ErrDamaged},
		{"nothing", r, Password, "", ErrDamaged},
		{"a later form", r, Password, "v2" + text[2:], ErrDamaged},
		{"cut", r, Password, text[:30], ErrDamaged},
		{"its end cut", r, Password, text[:len(text)-4], ErrDamaged},
		{"more behind it", r, Password, text + "AAAA", ErrDamaged},
		{"a line end in it", r, Password, text[:40] + "\n" + text[40:], ErrDamaged},
		{"much", r, Password, text + strings.Repeat("A", 1<<20), ErrDamaged},
	} {
		got, err := c.ring.Open(c.p, c.text)
		if !errors.Is(err, c.want) || (err == nil) != (string(got) == "hunter2") || err != nil && got != nil {
			t.Errorf("%s: %q, %v", c.name, got, err)
		}
		if err != nil && (strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), text[12:20])) {
			t.Errorf("%s: the error shows a secret: %v", c.name, err)
		}
	}
	for _, n := range []int{0, MaxSecret + 1} {
		if _, err := r.Seal(Password, make([]byte, n)); err == nil {
			t.Errorf("%d octets are sealed", n)
		}
	}
	if _, err := (*Ring)(nil).Seal(Password, []byte("x")); !errors.Is(err, ErrNoKey) {
		t.Error(err)
	}
}

// TestAnyDamageIsFound: whatever secret comes back as it was, and with any one character changed it does not come back.
func TestAnyDamageIsFound(t *testing.T) {
	r, _ := ring(t, 2)
	rapid.Check(t, func(t *rapid.T) {
		secret := rapid.SliceOfN(rapid.Byte(), 1, 200).Draw(t, "secret")
		text, err := r.Seal(Password, secret)
		if err != nil {
			t.Fatal(err)
		}
		got, err := r.Open(Password, text)
		if err != nil || !bytes.Equal(got, secret) || strings.ContainsAny(text, " \"'\\#:{}[],\r\n") {
			t.Fatalf("%q: %q, %v", text, got, err)
		}
		at := rapid.IntRange(0, len(text)-1).Draw(t, "at")
		to := rapid.Byte().Filter(func(b byte) bool { return b != text[at] }).Draw(t, "to")
		if got, err := r.Open(Password, text[:at]+string(to)+text[at+1:]); err == nil {
			t.Fatalf("changed at %d it still opens: %q", at, got)
		}
	})
}

// TestKeyFile: it is made once, for its owner alone, and one that is not whole is refused with its line and nothing of it.
func TestKeyFile(t *testing.T) {
	r, file := ring(t, 1)
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
	if err := Make(t.Context(), file, file); !errors.Is(err, fs.ErrExist) || reread(t, file).Newest() != r.Newest() {
		t.Errorf("made twice: %v", err)
	}
	if err := os.Chmod(file, 0o640); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	if err := Add(t.Context(), link); err != nil {
		t.Fatal(err)
	}
	if info, err = os.Lstat(file); err != nil || info.Mode() != 0o640 || reread(t, file).Len() != 2 {
		t.Errorf("after a key was added: %v, %v", info, err)
	}
	if left, err := os.ReadDir(filepath.Dir(file)); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(b), "\n")
	for text, want := range map[string]string{
		"":                                     "it holds no key",
		"# nothing\n\n":                        "it holds no key",
		lines[0] + lines[2][:40] + "\n":        "line 2 is not a key that pecgate made",
		lines[2] + "hunter2\n":                 "line 2 is not a key that pecgate made",
		lines[2] + "\r\n" + lines[2]:           "line 3: this key stands there already",
		strings.Replace(lines[2], "1", "2", 1): "line 1 is not a key that pecgate made",
	} {
		if _, err := Parse([]byte(text)); err == nil || err.Error() != want {
			t.Errorf("%q: %v", text, err)
		}
	}
	if err := os.WriteFile(file, []byte("hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Add(t.Context(), file); err == nil {
		t.Error("a key was added to what is none")
	}
}

// TestKeysAddedAtOnce: of the keys that several add at once none is lost, and while one holds the file all others wait.
func TestKeysAddedAtOnce(t *testing.T) {
	_, file := ring(t, 1)
	const adders = 8
	errs := make(chan error, adders)
	for range adders {
		go func() { errs <- Add(t.Context(), file) }()
	}
	for range adders {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if n := reread(t, file).Len(); n != 1+adders {
		t.Errorf("%d keys, want %d", n, 1+adders)
	}
	h, err := Hold(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, do := range map[string]func() error{
		"add":  func() error { return Add(ctx, file) },
		"make": func() error { return Make(ctx, file+".other", file) },
	} {
		if err := do(); !errors.Is(err, context.Canceled) {
			t.Errorf("%s while another holds the keys: %v", name, err)
		}
	}
	if err := errors.Join(h.Add(), h.Free(), Add(t.Context(), file)); err != nil || reread(t, file).Len() != 3+adders {
		t.Error(err)
	}
}

// TestReplaceAsksOnceMore: what changes while a file is made ready stays.
func TestReplaceAsksOnceMore(t *testing.T) {
	_, file := ring(t, 1)
	no := errors.New("changed")
	err := Replace(file, []byte("ours"), func() error { return errors.Join(os.WriteFile(file, []byte("theirs"), 0o600), no) })
	if b, _ := os.ReadFile(file); !errors.Is(err, no) || string(b) != "theirs" {
		t.Errorf("%q, %v", b, err)
	}
	if left, err := os.ReadDir(filepath.Dir(file)); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
