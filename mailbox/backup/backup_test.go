package backup

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age" // makes the keys of the tests

	"pecgate/mailbox/segment"
)

// archive is a tar of messages, as a segment is one.
func archive(t testing.TB, messages ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range messages {
		for name, text := range map[string]string{fmt.Sprintf("%x.eml", sha256.Sum256([]byte(m))): m} {
			err := w.WriteHeader(&tar.Header{Name: name, Size: int64(len(text)), Mode: 0o600, Format: tar.FormatUSTAR})
			if err == nil {
				_, err = w.Write([]byte(text))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Flush(); err != nil { // no end: a segment that still grows
		t.Fatal(err)
	}
	return b.Bytes()
}

// stream is what a source sends: all of a store with one segment.
func stream(t testing.TB, b Begin, from int64, bytesOf []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	s, err := NewSender(&out)
	part := func(h Head, next uint64, p []byte) {
		if err == nil {
			err = s.Part(h)
		}
		if err == nil {
			_, err = s.Write(p)
		}
		if err == nil {
			err = s.EndPart(next)
		}
	}
	if err == nil {
		err = s.Begin(b)
	}
	part(Head{Kind: KindKeys}, 0, []byte("keys"))
	part(Head{Kind: KindHeads}, 0, nil)
	part(Head{Kind: KindRecords}, 7, []byte("records"))
	part(Head{Kind: KindSegment, Segment: 2, From: from}, 0, bytesOf[from:])
	if err == nil {
		err = s.End(End{Segments: []segment.Extent{{Segment: 2, Size: int64(len(bytesOf))}}})
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func receive(t testing.TB, dir string, in []byte) (*Report, error) {
	t.Helper()
	f, err := Open(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	r, err := f.Take(context.Background(), bytes.NewReader(in))
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return r, err
}

// A stream that ends too early makes no backup, wherever that is, and leaves
// the one of before.
func TestAStreamThatIsCut(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "b")
	begin := Begin{Store: "s", Token: "one", At: time.Date(2026, 11, 22, 6, 0, 0, 0, time.UTC)}
	first := archive(t, "Subject: a\r\n\r\na")
	if _, err := receive(t, dir, stream(t, begin, 0, first)); err != nil {
		t.Fatal(err)
	}
	begin.Token = "two"
	whole := stream(t, begin, int64(len(first)), archive(t, "Subject: a\r\n\r\na", "Subject: b\r\n\r\nb"))
	for n := 0; n < len(whole); n += 17 + n%31 {
		if r, err := receive(t, dir, whole[:n]); !errors.Is(err, ErrStream) || r != nil {
			t.Fatalf("%d of %d bytes: %+v, %v", n, len(whole), r, err)
		}
	}
	src, err := Read(dir, nil, nil)
	if err != nil || src.Manifest().Token != "one" || src.Complete() != nil {
		t.Fatal(src, err)
	}
	if r, err := receive(t, dir, whole); err != nil || r.Run != 2 || r.Messages != 1 || r.Whole {
		t.Fatal(r, err)
	}
}

// What a source sends is not believed: names, numbers and sizes are checked.
func TestAStreamThatMakesNoSense(t *testing.T) {
	begin := Begin{Store: "s", Token: "one"}
	whole := archive(t, "Subject: a\r\n\r\na")
	for name, send := range map[string]func(s *Sender) error{
		"no parts": func(s *Sender) error { return s.End(End{}) },
		"a kind that is not known": func(s *Sender) error {
			return errors.Join(s.Part(Head{Kind: "../../x"}), s.EndPart(0), s.End(End{}))
		},
		"a part twice": func(s *Sender) error {
			return errors.Join(s.Part(Head{Kind: KindKeys}), s.EndPart(0), s.Part(Head{Kind: KindKeys}), s.EndPart(0), s.End(End{}))
		},
		"a segment that is not whole": func(s *Sender) error {
			return errors.Join(parts(s), s.Part(Head{Kind: KindSegment, Segment: 2}), s.EndPart(0), s.End(End{Segments: []segment.Extent{{Segment: 2, Size: 5}}}))
		},
		"a segment with a gap": func(s *Sender) error {
			return errors.Join(parts(s), s.Part(Head{Kind: KindSegment, Segment: 2, From: 512}), s.EndPart(0), s.End(End{Segments: []segment.Extent{{Segment: 2, Size: 512}}}))
		},
		"segments out of order": func(s *Sender) error {
			return errors.Join(parts(s), s.End(End{Segments: []segment.Extent{{Segment: 4}, {Segment: 2}}}))
		},
		"a fault": func(s *Sender) error { return s.Fault("its disk is\nfull") },
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			s, err := NewSender(&out)
			if err := errors.Join(err, s.Begin(begin), send(s)); err != nil {
				t.Fatal(err)
			}
			dir := filepath.Join(t.TempDir(), "b")
			r, err := receive(t, dir, out.Bytes())
			if err == nil || r != nil || name == "a fault" && !strings.Contains(err.Error(), "its disk is full") {
				t.Errorf("%+v, %v", r, err)
			}
			if _, err := Read(dir, nil, nil); !errors.Is(err, ErrNone) {
				t.Errorf("a backup stands there: %v", err)
			}
		})
	}
	if _, err := receive(t, filepath.Join(t.TempDir(), "b"), stream(t, begin, 0, whole)); err != nil {
		t.Errorf("a good one: %v", err)
	}
}

func parts(s *Sender) error {
	var errs []error
	for _, kind := range []string{KindKeys, KindHeads, KindRecords} {
		errs = append(errs, s.Part(Head{Kind: kind}), s.EndPart(1))
	}
	return errors.Join(errs...)
}

// The manifest is the root of all: no byte of it changes unseen.
func TestTheManifestIsNotChanged(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "b")
	if _, err := receive(t, dir, stream(t, Begin{Store: "s", Token: "t"}, 0, archive(t, "x\r\n"))); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, manifestName))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := decode(b); err != nil {
		t.Fatal(err)
	}
	for i := range b {
		for _, bit := range []byte{1, 0x10, 0x20} {
			c := bytes.Clone(b)
			c[i] ^= bit
			if m, err := decode(c); err == nil {
				t.Errorf("byte %d is %q instead of %q: %+v", i, c[i], b[i], m)
			}
		}
		if _, err := decode(b[:i]); !errors.Is(err, ErrDamaged) {
			t.Errorf("%d bytes: %v", i, err)
		}
	}
}

// scan finds in any tar what archive/tar finds, however it is cut into writes,
// and tells of every byte of a message that is another.
func TestScan(t *testing.T) {
	messages := []string{"Subject: a\r\n\r\na", "", strings.Repeat("x", 1000), strings.Repeat("y", 512)}
	b := append(archive(t, messages...), make([]byte, 1024)...)
	for _, step := range []int{1, 7, 512, 513, len(b)} {
		var got []found
		s := newScan(8, 0, func(f found) { got = append(got, f) }, func(off int64) { t.Errorf("step %d: damage at %d", step, off) })
		for i := 0; i < len(b); i += step {
			if _, err := s.Write(b[i:min(i+step, len(b))]); err != nil {
				t.Fatal(err)
			}
		}
		s.end()
		if len(got) != len(messages) {
			t.Fatalf("step %d: %d messages", step, len(got))
		}
		for i, f := range got {
			if want := messages[i]; !f.whole || f.segment != 8 || f.size != int64(len(want)) || f.sum != sha256.Sum256([]byte(want)) || string(b[f.offset:f.offset+f.size]) != want {
				t.Errorf("step %d, message %d: %+v", step, i, f)
			}
		}
	}
	told := 0
	for i := range len(b) {
		c := bytes.Clone(b)
		c[i] ^= 1
		wrong := 0
		s := newScan(8, 0, func(f found) {
			if !f.whole {
				wrong++
			}
		}, func(int64) { wrong++ })
		_, _ = s.Write(c)
		s.end()
		if wrong > 0 {
			told++
		}
	}
	if content := 512*5 + 1000 + 512; told < content/2 { // the rest is padding and the end
		t.Errorf("%d of %d bytes", told, len(b))
	}
	cut := 0
	s := newScan(8, 512, func(found) {}, func(int64) { cut++ })
	_, _ = s.Write(b[:700])
	s.end()
	if cut != 1 {
		t.Errorf("a cut entry was told %d times", cut)
	}
}

func TestRecipients(t *testing.T) {
	one, err1 := age.GenerateX25519Identity()
	two, err2 := age.GenerateX25519Identity()
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	a, b := one.Recipient().String(), two.Recipient().String()
	ab, err1 := NewRecipients(a, "# a comment", "", b, a)
	ba, err2 := NewRecipients(b, a)
	if err1 != nil || err2 != nil || ab.sum != ba.sum || len(ab.list) != 2 {
		t.Errorf("%+v %+v %v %v", ab, ba, err1, err2)
	}
	for text, want := range map[string]string{
		"":                            "no recipient was given",
		"age1x":                       `"age1x" is no recipient`,
		"ssh-ed25519 AAAAC3Nza":       "is no recipient",
		one.String():                  "this is a secret one",
		strings.ToLower(one.String()): "this is a secret one",
	} {
		_, err := NewRecipients(text)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), one.String()[:30]) {
			t.Errorf("%q: %v", text, err)
		}
	}
	for _, text := range []string{"", "x", a} {
		if _, err := ReadIdentities(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), "no file of secret keys") {
			t.Errorf("%q: %v", text, err)
		}
	}
	// Each of the two opens it.
	var sealed bytes.Buffer
	w, err := ab.encrypt(&sealed)
	if err == nil {
		_, err = w.Write([]byte("secret"))
	}
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	for _, k := range []*age.X25519Identity{one, two} {
		keys, err := ReadIdentities(strings.NewReader("# of somebody\n" + k.String() + "\n"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := keys.decrypt(bytes.NewReader(sealed.Bytes())); err != nil {
			t.Error(err)
		}
	}
}

// FuzzStream: no stream makes more than an error.
func FuzzStream(f *testing.F) {
	f.Add(stream(f, Begin{Store: "s", Token: "t"}, 0, archive(f, "x\r\n")))
	f.Add([]byte(streamMagic + "X\x00\x00\x00\x01a"))
	f.Fuzz(func(t *testing.T, in []byte) {
		rc, _, err := newReceiver(bytes.NewReader(in))
		for n := 0; err == nil && n < 100; n++ {
			var end *End
			if _, end, err = rc.part(); end != nil {
				return
			}
			var b [100]byte
			for m := 0; err == nil && m < 100; m++ {
				if _, rerr := rc.Read(b[:]); rerr != nil {
					break
				}
			}
		}
	})
}
