package export

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid" // makes messages that nobody thought of

	"pecgate/mailbox/archive"
)

const (
	legal = "legale@pec.rossi.example"
	other = "../../etc/PASSWD €@pec.rossi.example" // no mailbox has such a name; a file must not either
)

func message(box, kind string, n int, text string) Message {
	return Message{
		Mailbox: box, Kind: kind, Seen: n%2 == 0, Size: int64(len(text)), SHA256: sha256.Sum256([]byte(text)),
		Arrived: time.Date(2026, time.Month(n%12+1), 5, 10, 11, 12, 0, time.UTC),
		Open:    func(context.Context) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil },
	}
}

func letter(n int, body string) string {
	return fmt.Sprintf("From: a@pec.alfa.example\r\nMessage-ID: <%d@alfa.example>\r\nSubject: Prova\r\n\r\n%s\r\n", n, body)
}

func given(all ...Message) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		for _, m := range all {
			if !yield(m, nil) {
				return
			}
		}
	}
}

// walked gives the hashes of the messages that mailbox/archive finds, unquoted.
func walked(t fataler, path string) (sums [][sha256.Size]byte) {
	err := archive.Walk(context.Background(), path, archive.Options{}, func(it archive.Item) error {
		if it.Err != nil {
			return fmt.Errorf("%s: %w", it.Name, it.Err)
		}
		r, size := it.ReaderAt, it.Size
		if len(it.Unquotings()) > 0 {
			r, size = it.Unquoted(archive.Mboxrd)
		}
		h := sha256.New()
		_, err := io.Copy(h, io.NewSectionReader(r, 0, size))
		sums = append(sums, [sha256.Size]byte(h.Sum(nil)))
		return errors.Join(err, it.Close())
	})
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return sums
}

type fataler interface {
	Fatalf(format string, args ...any)
}

func sumsOf(all []Message) (sums [][sha256.Size]byte) {
	for _, m := range all {
		sums = append(sums, m.SHA256)
	}
	return sums
}

// bySum sorts: a folder is walked by names, which are not in our order of mailboxes.
func bySum(s [][sha256.Size]byte) [][sha256.Size]byte {
	slices.SortFunc(s, func(a, b [sha256.Size]byte) int { return bytes.Compare(a[:], b[:]) })
	return s
}

// outs are the four things that can be written.
func outs() map[string]Options {
	return map[string]Options{
		"mbox": {Format: Mbox, Out: "e.zip"}, "maildir": {Format: Maildir, Out: "e.zip"},
		"eml": {Format: Eml, Out: "e.zip"}, "folder": {Format: Eml, Out: "e"},
	}
}

// TestRoundTrip: what was written in each form mailbox/archive reads byte for byte, in
// the same order within each mailbox; nothing else lies beside it, and the same again
// gives the same file.
func TestRoundTrip(t *testing.T) {
	all := []Message{
		message(legal, "transport", 1, letter(1, "From here on\r\n>From there\r\n\r\nFrom a@b Sun Nov 22 22:40:39 2026\r\nFrom: x\r\n>>From")),
		message(legal, "delivery", 2, letter(2, "\r\n\r\n\r\n")),
		message(legal, "sent", 2, letter(3, strings.Repeat("From far ", 20_000))),
		message(other, "sent", 3, "\nFrom the first line on: no header\n"),
		message(other, "anomaly", 13, letter(4, "F\r\nFr\r\nFrom\r\n>F\r\n>\r\nFromage")),
	}
	for name, o := range outs() {
		t.Run(name, func(t *testing.T) {
			var before string
			for range 2 {
				dir := t.TempDir()
				o.Out = filepath.Join(dir, filepath.Base(o.Out))
				wrote, verified := int64(0), int64(0)
				o.Wrote = func(n int64, back bool) error {
					if back {
						verified += n
					} else {
						wrote += n
					}
					return nil
				}
				parts, err := Write(t.Context(), o, given(all...))
				if err != nil {
					t.Fatal(err)
				}
				if len(parts) != 1 || parts[0].Messages != len(all) || parts[0].Path != o.Out || wrote == 0 || wrote != verified {
					t.Fatalf("%+v, %d written, %d read back", parts, wrote, verified)
				}
				if before != "" && before != parts[0].SHA256 {
					t.Error("the same messages give other bytes")
				}
				before = parts[0].SHA256
				if got, want := walked(t, o.Out), sumsOf(all); !slices.Equal(bySum(got), bySum(want)) {
					t.Errorf("got %x\nwant %x", got, want)
				}
				if list, _ := os.ReadDir(dir); len(list) != 1 {
					t.Errorf("beside it: %v", list)
				}
				if quoted := parts[0].Quoted; (quoted == 3) != (o.Format == Mbox) {
					t.Errorf("%d messages quoted", quoted)
				}
				if _, err := Write(t.Context(), o, given(all...)); !errors.Is(err, ErrExists) {
					t.Errorf("over what is there: %v", err)
				}
			}
		})
	}
}

// TestRoundTrip_Any: the same for bodies of lines that somebody made to mislead.
func TestRoundTrip_Any(t *testing.T) {
	dir := t.TempDir()
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		piece := rapid.SampledFrom([]string{"From ", ">From ", ">", "\n", "\r\n", "\r", "F", "From", "a@b Sun Nov 22 22:40:39 2026", "Date: x", "\r\n\r\n"})
		var all []Message
		for i, pieces := range rapid.SliceOfN(rapid.SliceOfN(piece, 0, 12), 1, 4).Draw(t, "messages") {
			all = append(all, message(legal, "sent", i, letter(i, strings.Join(pieces, ""))))
		}
		n++
		out := filepath.Join(dir, fmt.Sprint(n, ".zip"))
		if _, err := Write(context.Background(), Options{Format: Mbox, Out: out}, given(all...)); err != nil {
			t.Fatal(err)
		}
		if got := walked(t, out); !slices.Equal(got, sumsOf(all)) {
			t.Fatalf("%d messages come back otherwise: %x", len(all), got)
		}
		if err := os.Remove(out); err != nil {
			t.Fatal(err)
		}
	})
}

// TestSums: sha256sum -c agrees with the list, and the manifest names every message and
// those of which mbox changed something.
func TestSums(t *testing.T) {
	for name, o := range outs() {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			o.Out = filepath.Join(dir, o.Out)
			all := []Message{message(legal, "sent", 1, letter(1, "From now")), message(legal, "delivery", 2, "Subject: x\n\nno end")}
			if _, err := Write(t.Context(), o, given(all...)); err != nil {
				t.Fatal(err)
			}
			at := o.Out
			if strings.HasSuffix(at, ".zip") {
				at = unpacked(t, at)
			}
			c := exec.Command("sha256sum", "-c", "--strict", "--quiet", sumsName)
			c.Dir = at
			if out, err := c.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
			b, err := os.ReadFile(filepath.Join(at, manifestName))
			var m struct {
				Format   Format
				Messages []listed
			}
			if err := errors.Join(err, json.Unmarshal(b, &m)); err != nil {
				t.Fatal(err)
			}
			if m.Format != o.Format || len(m.Messages) != 2 {
				t.Fatalf("%s", b)
			}
			first, second := m.Messages[0], m.Messages[1]
			if first.SHA256 != fmt.Sprintf("%x", all[0].SHA256) || (first.Quoted == 1) != (o.Format == Mbox) ||
				second.Ended != (o.Format == Mbox) || second.Kind != "delivery" || second.Mailbox != legal {
				t.Errorf("%s", b)
			}
		})
	}
}

func unpacked(t *testing.T, file string) string {
	t.Helper()
	dir := t.TempDir()
	r, err := zip.OpenReader(file)
	if err != nil {
		t.Fatal(err)
	}
	err = os.CopyFS(dir, r)
	if err := errors.Join(err, r.Close()); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestParts: whole messages only, each part readable by itself, one that is larger than
// a part alone; together they are all, in order.
func TestParts(t *testing.T) {
	for _, format := range []Format{Mbox, Maildir, Eml} {
		var all []Message
		for i := range 12 {
			size := 300_000
			if i == 5 {
				size = 1_500_000
			}
			all = append(all, message([]string{legal, other}[i/8], "sent", i, letter(i, strings.Repeat("x", size))))
		}
		parts, err := Write(t.Context(), Options{Format: format, Out: filepath.Join(t.TempDir(), "e.zip"), Part: MinPart}, given(all...))
		if err != nil {
			t.Fatal(err)
		}
		var got [][sha256.Size]byte
		var counts []int
		for i, p := range parts {
			if want := []string{"e.zip", "e-2.zip", "e-3.zip", "e-4.zip", "e-5.zip"}[i]; filepath.Base(p.Path) != want {
				t.Errorf("%s, want %s", p.Path, want)
			}
			counts = append(counts, p.Messages)
			got = append(got, walked(t, p.Path)...)
		}
		if !slices.Equal(counts, []int{3, 2, 1, 3, 3}) || !slices.Equal(got, sumsOf(all)) {
			t.Errorf("%s: %v", format, counts)
		}
	}
}

// TestBroken: what goes wrong leaves nothing under the name and nothing beside it; parts
// that stood before stay.
func TestBroken(t *testing.T) {
	bad := message(legal, "sent", 1, letter(1, "x"))
	bad.SHA256[3] ^= 1
	long := message(legal, "sent", 1, letter(1, "x"))
	long.Size--
	hostile := message(legal, "../../x", 1, letter(1, "x"))
	for name, m := range map[string]Message{"hash": bad, "size": long, "kind": hostile} {
		for format, o := range outs() {
			dir := t.TempDir()
			o.Out = filepath.Join(dir, o.Out)
			parts, err := Write(t.Context(), o, given(message(legal, "sent", 1, letter(1, "y")), m))
			list, _ := os.ReadDir(dir)
			if err == nil || len(parts) != 0 || len(list) != 0 {
				t.Errorf("%s %s: %v, %v, %v", name, format, err, parts, list)
			}
		}
	}
	for format, o := range outs() {
		dir := t.TempDir()
		o.Out = filepath.Join(dir, o.Out)
		ctx, cancel := context.WithCancel(t.Context())
		o.Wrote = func(_ int64, back bool) error {
			if back {
				cancel() // while it is read back
			}
			return nil
		}
		_, err := Write(ctx, o, given(message(legal, "sent", 1, letter(1, "y")), message(legal, "sent", 2, letter(2, "y"))))
		if list, _ := os.ReadDir(dir); !errors.Is(err, context.Canceled) || len(list) != 0 {
			t.Errorf("%s: %v, %v", format, err, list)
		}
		if parts, err := Write(t.Context(), o, given()); err != nil || len(parts) != 0 {
			t.Errorf("nothing to write: %v, %v", parts, err)
		}
	}
}

// TestReadBack: one byte that the disk changed behind our back is found, wherever it is
// in the content, and the file never gets its name.
func TestReadBack(t *testing.T) {
	for format, o := range outs() {
		for _, at := range []string{"Prova", "aaaaaaaaaaaa", `"kind":"manifest-of`, "X-Last"} {
			dir := t.TempDir()
			o.Out = filepath.Join(dir, filepath.Base(o.Out))
			text := letter(1, strings.Repeat("a", 40)+"\r\nX-Last")
			w := &writing{ctx: t.Context(), o: o, zipped: strings.HasSuffix(o.Out, ".zip"), boxes: map[string]int{}}
			w.o.Wrote, w.o.Part = func(int64, bool) error { return nil }, DefaultPart
			if err := w.one(message(legal, "manifest-of", 1, text)); err != nil {
				t.Fatal(err)
			}
			p := w.part
			p.to = &flipping{target: p.to, dir: dir, at: at}
			if _, err := p.finish(t.Context()); err == nil {
				t.Errorf("%s: a byte in %q was changed and nothing found", format, at)
			}
			p.abort()
			if list, _ := os.ReadDir(dir); len(list) != 0 {
				t.Errorf("%s: left %v", format, list)
			}
		}
	}
}

// flipping changes a byte once all is synced.
type flipping struct {
	target
	dir, at string
}

func (f *flipping) sync() error {
	if err := f.target.sync(); err != nil {
		return err
	}
	return filepath.WalkDir(f.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if i := bytes.Index(b, []byte(f.at)); err == nil && i >= 0 {
			b[i+len(f.at)-1] ^= 1
			err = os.WriteFile(path, b, 0o600)
		}
		return err
	})
}

// Memory stays flat: messages of many megabytes are never held whole.
func TestMemory(t *testing.T) {
	const size, n = 4 << 20, 16
	sum := sha256.New()
	if _, err := io.CopyN(sum, zeros{}, size); err != nil {
		t.Fatal(err)
	}
	m := Message{Mailbox: legal, Kind: "sent", Size: size, SHA256: [sha256.Size]byte(sum.Sum(nil)),
		Open: func(context.Context) (io.ReadCloser, error) { return io.NopCloser(io.LimitReader(zeros{}, size)), nil }}
	all := slices.Repeat([]Message{m}, n)
	for _, format := range []Format{Mbox, Eml} {
		out := filepath.Join(t.TempDir(), "e.zip")
		r := testing.Benchmark(func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Write(context.Background(), Options{Format: format, Out: out}, given(all...)); err != nil {
					b.Fatal(err)
				}
				if err := os.Remove(out); err != nil {
					b.Fatal(err)
				}
			}
		})
		if got := r.AllocedBytesPerOp(); got > 8<<20 {
			t.Errorf("%s: %d bytes allocated for %d of messages", format, got, size*n)
		}
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }
