package archive

import (
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func TestWalk(t *testing.T) {
	one, two, three := letter(1, "one"), letter(2, "two"), letter(3, "three")
	box := sep + one + "\n" + sep + two + "\n"
	maildir := map[string]string{
		"cur/17.a.host:2,S": one, "new/18.b.host": two, "tmp/19.c.host": three,
		"dovecot-uidlist": "3 V1", ".Sent/cur/20.d.host:2,S": three, ".Sent/new/": "", ".Sent/tmp/": "", ".Sent/maildirfolder": "",
		"Nested/cur/21.e.host": one, "Nested/new/": "", "cur/22.f.host": "not like a message",
		"cur/.hidden": one,
	}
	for name, c := range map[string]struct {
		files map[string]string
		path  string // below the folder
		want  []found
		aside []string
	}{
		"message":           {files: map[string]string{"a.eml": one}, path: "a.eml", want: []found{{text: one}}},
		"message, any name": {files: map[string]string{"a.pdf": "Subject: odd\n\nx"}, path: "a.pdf", want: []found{{text: "Subject: odd\n\nx"}}},
		"mbox":              {files: map[string]string{"Sent": box}, path: "Sent", want: []found{{name: "#1", text: one}, {name: "#2", text: two}}},
		".eml from an mbox": {files: map[string]string{"a.eml": sep + one, "b.eml": box}, want: []found{
			{text: one, name: "a.eml"}, {name: "b.eml#1", text: one}, {name: "b.eml#2", text: two},
		}},
		"folder": {
			files: map[string]string{
				"b.eml": two, "a.EML": one, "ca.pem": "-----BEGIN", "x.json": `{"a": 1}`, "note.txt": "Note: this\nTo do: that\n",
				"Inbox": box, "Inbox.msf": "// <!-- <mdb", "Inbox.sbd/Old": sep + three, "deep/er/12": three, "odd.eml": "PK\x03\x04",
				".git/x.eml": one, ".hidden.eml": one, "z.zip": zipped(t, entry{"m.eml", one}), "w.docx": zipped(t, entry{"m.eml", one}),
			},
			want: []found{
				{name: "Inbox#1", text: one}, {name: "Inbox#2", text: two}, {name: "Inbox.sbd/Old#1", text: three}, {name: "a.EML", text: one},
				{name: "b.eml", text: two}, {name: "deep/er/12", text: three}, {name: "odd.eml", text: "PK\x03\x04"}, {name: "z.zip/m.eml", text: one},
			},
			aside: []string{"Inbox.msf", "ca.pem", "note.txt", "w.docx", "x.json"},
		},
		"Maildir": {files: maildir, want: []found{
			{name: ".Sent/cur/20.d.host:2,S", text: three}, {name: "Nested/cur/21.e.host", text: one}, {name: "cur/17.a.host:2,S", text: one},
			{name: "cur/22.f.host", text: "not like a message"}, {name: "new/18.b.host", text: two},
		}},
		"cur of a Maildir": {files: maildir, path: "cur", want: []found{
			{name: "17.a.host:2,S", text: one}, {name: "22.f.host", text: "not like a message"},
		}},
		"a message in a Maildir is never split": {
			files: map[string]string{"cur/1": box, "new/": ""}, want: []found{{name: "cur/1", text: box}},
		},
		"zip": {
			files: map[string]string{"all.zip": zipped(t, entry{"z.eml", one}, entry{"dir/", ""}, entry{"dir/box", box}, entry{"a.txt", "x"},
				entry{"inner.zip", "PK"}, entry{"__MACOSX/._z.eml", "x"}, entry{"../../up.eml", two}, entry{"/root.eml", two},
				entry{"a\x1b[31m\u202eb.eml", three}, entry{`win\path.eml`, three}, entry{"big", letter(4, strings.Repeat("x", 2<<20))})},
			path: "all.zip",
			want: []found{
				{name: "z.eml", text: one}, {name: "dir/box#1", text: one}, {name: "dir/box#2", text: two},
				{name: "inner.zip", err: "an archive inside an archive is not looked into"},
				{name: "../../up.eml", text: two}, {name: "root.eml", text: two}, {name: "a?[31m?b.eml", text: three}, {name: "win/path.eml", text: three},
				{name: "big", text: letter(4, strings.Repeat("x", 2<<20))},
			},
			aside: []string{"a.txt"},
		},
		"zip of a Maildir": {
			files: map[string]string{"all": zipped(t, entry{"M/", ""}, entry{"M/cur/", ""}, entry{"M/new/", ""}, entry{"M/tmp/", ""},
				entry{"M/cur/1:2,S", one}, entry{"M/tmp/2", two}, entry{"M/new/3", "no header"}, entry{"M/uidlist", "x"}, entry{"new/4", "no header"})},
			path:  "all",
			want:  []found{{name: "M/cur/1:2,S", text: one}, {name: "M/new/3", text: "no header"}},
			aside: []string{"new/4"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := fill(t, c.files)
			path := filepath.Join(dir, filepath.FromSlash(c.path))
			var aside []string
			var done, total int64
			got, err := walkAll(t, path, Options{
				LeftAside: func(n string) { aside = append(aside, strings.TrimPrefix(n, path+"/")) },
				Progress: func(d, of int64) {
					if d < done || d > of || total != 0 && of != total {
						t.Errorf("progress %d of %d after %d of %d", d, of, done, total)
					}
					done, total = d, of
				},
			})
			if err != nil {
				t.Error(err)
			}
			same(t, got, c.want)
			if !slices.Equal(aside, c.aside) {
				t.Errorf("left aside %q, want %q", aside, c.aside)
			}
			if done != total || total == 0 && c.path != "a" {
				t.Errorf("progress ended at %d of %d", done, total)
			}
		})
	}
}

// A file that somebody names is a message as long as it can be one.
func TestWalkNoMessage(t *testing.T) {
	for text, want := range map[string]bool{
		"X-Any: 1\n\nbody": true, "Subject : old\n": true, "Return-Path: <a@alfa.example>\rFrom: a@alfa.example\r": true,
		"\ufeffSubject: x\r\n": true, "\r\n\nSubject: x": true, "garbage\nFrom: a@alfa.example\n\nx": true, ">From x\nDate: now\n": true,
		"": false, "\n\n": false, "%PDF-1.7\n%\xe2\xe3\n1 0 obj\n<</Type: /Catalog>>": false, "\x89PNG\r\n\x1a\n": false, "-----BEGIN CERTIFICATE-----\n": false,
		`{"From": 1}`: false, "<?xml version=\"1.0\"?>\n<a xmlns:b=\"c:d\"/>": false, "\xd0\xcf\x11\xe0\xa1\xb1": false, "Dear Sir: hello\n\nFrom: a@alfa.example": false,
	} {
		p := filepath.Join(fill(t, map[string]string{"f.eml": text}), "f.eml")
		got, err := walkAll(t, p, Options{})
		if want != (err == nil) || want != (len(got) == 1) || !want && !errors.Is(err, errNoMessage) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
}

// What cannot be read is named, and the rest is read.
func TestWalkUnreadable(t *testing.T) {
	one := letter(1, "one")
	outside := fill(t, map[string]string{"secret.eml": one})
	damaged := []byte(zipped(t, entry{"a.eml", one}, entry{"b.eml", letter(2, "ZZZZZZZZ")}))
	i := strings.LastIndex(string(damaged[:len(damaged)/2]), "PK\x03\x04")
	damaged[i+60]++ // inside of what the second entry packs
	dir := fill(t, map[string]string{"a.eml": one, "bad.zip": "PK\x03\x04 no zip", "damaged.zip": string(damaged), "z.eml": one})
	check(t, os.Symlink(filepath.Join(outside, "secret.eml"), filepath.Join(dir, "b.eml")))
	check(t, os.Symlink("a.eml", filepath.Join(dir, "c.eml")))
	check(t, os.Symlink("nothing", filepath.Join(dir, "d.eml")))
	check(t, os.Symlink(".", filepath.Join(dir, "e")))
	check(t, os.Symlink(outside, filepath.Join(dir, "f")))
	check(t, syscall.Mkfifo(filepath.Join(dir, "g.eml"), 0o600)) // opened, it would block
	deep := strings.Repeat("d/", maxDepth+1)
	check(t, os.MkdirAll(filepath.Join(dir, filepath.FromSlash(deep)), 0o700))

	got, err := walkAll(t, dir, Options{Progress: func(int64, int64) {}})
	check(t, err)
	var names []string
	for _, f := range got {
		switch {
		case f.err == "" && f.text != one:
			t.Errorf("%s: %q", f.name, f.text)
		case f.err == "":
			names = append(names, f.name)
		default:
			names = append(names, f.name+": "+f.err)
		}
	}
	want := []string{
		"a.eml",
		"b.eml: a symbolic link that is not followed: path escapes from parent",
		"bad.zip: a .zip that cannot be read: zip: not a valid zip file",
		"c.eml",
		"d/: more than",
		"d.eml: a symbolic link that is not followed: no such file or directory",
		"damaged.zip/a.eml",
		"damaged.zip/b.eml: damaged",
		"f: a symbolic link that is not followed: path escapes from parent",
		"z.eml",
	}
	if len(names) != len(want) {
		t.Fatalf("got\n%s", strings.Join(names, "\n"))
	}
	for i := range names {
		if strings.HasPrefix(names[i], "d/") {
			names[i] = "d/" + strings.TrimLeft(names[i], "d/") // d/d/d: ...
		}
		if !strings.HasPrefix(names[i], want[i]) {
			t.Errorf("got  %s\nwant %s", names[i], want[i])
		}
	}
}

func TestWalkNothing(t *testing.T) {
	dir := fill(t, map[string]string{"empty/": "", "other/a.txt": "x", "e.zip": zipped(t)})
	for p, want := range map[string]string{
		"none":  "no such file or directory",
		"empty": "the folder holds no message: looked for .eml files, mbox, Maildir and .zip",
		"other": "the folder holds no message: looked for .eml files, mbox, Maildir and .zip",
		"e.zip": "the file holds no message: looked for .eml files, mbox, Maildir and .zip",
	} {
		if got, err := walkAll(t, filepath.Join(dir, p), Options{}); err == nil || err.Error() != want || got != nil {
			t.Errorf("%s: %v, %v", p, got, err)
		}
	}
	if _, err := walkAll(t, filepath.Join(dir, "none"), Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Error("not to be told from other errors")
	}
}

// A pipe is a message like a file.
func TestWalkPipe(t *testing.T) {
	text := letter(1, strings.Repeat("x", 2<<20))
	p := filepath.Join(t.TempDir(), "pipe")
	check(t, syscall.Mkfifo(p, 0o600))
	wrote := make(chan error, 1)
	go func() { wrote <- os.WriteFile(p, []byte(text), 0o600) }()
	got, err := walkAll(t, p, Options{})
	check(t, err)
	same(t, got, []found{{text: text}})
	check(t, <-wrote)
}

// Items stay good until they are closed, whatever the walk does meanwhile, and
// nothing is left in the folder for temporary files.
func TestWalkItemsOutlive(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	one, big := letter(1, "one"), letter(2, strings.Repeat("y", 3<<20))
	dir := fill(t, map[string]string{"a.zip": zipped(t, entry{"1.eml", one}, entry{"2.eml", big}, entry{"3", sep + one + "\n" + sep + big}),
		"b.eml": one, "c": sep + one + "\n" + sep + one})
	var all []Item
	check(t, Walk(context.Background(), dir, Options{}, func(it Item) error {
		if left, err := os.ReadDir(temp); err != nil || len(left) != 0 {
			t.Errorf("temporary files with a name: %v, %v", left, err)
		}
		all = append(all, it)
		return it.Err
	}))
	want := []string{one, big, one, big, one, one, strings.TrimSuffix(one, "\n")}
	if len(all) != 7 {
		t.Fatalf("%d items", len(all))
	}
	for i, it := range all {
		if got := readAll(t, it, it.Size); strings.TrimSuffix(got, "\n") != strings.TrimSuffix(want[i], "\n") {
			t.Errorf("%s: %d bytes", it.Name, len(got))
		}
		check(t, it.Close())
	}
	if _, err := all[1].ReadAt(make([]byte, 1), 0); err == nil {
		t.Error("the temporary file is still open")
	}
	if _, err := all[5].ReadAt(make([]byte, 1), 0); err == nil {
		t.Error("the mbox is still open")
	}
}

func TestWalkStops(t *testing.T) {
	ours := errors.New("ours")
	for _, path := range []string{"", "box", "a.zip", "m.eml"} {
		dir := fill(t, map[string]string{"box": sep + letter(1, "a") + "\n" + sep + letter(2, "b"), "m.eml": letter(1, "a"),
			"a.zip": zipped(t, entry{"1.eml", letter(1, "a")}, entry{"2.eml", letter(1, "a")}, entry{"i.zip", ""})})
		n := 0
		err := Walk(context.Background(), filepath.Join(dir, path), Options{}, func(it Item) error {
			n++
			return errors.Join(ours, it.Close())
		})
		if !errors.Is(err, ours) || n != 1 {
			t.Errorf("%q: %d calls, %v", path, n, err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		n = 0
		err = Walk(ctx, filepath.Join(dir, path), Options{}, func(it Item) error {
			n++
			cancel()
			return it.Close()
		})
		if path != "m.eml" && (!errors.Is(err, context.Canceled) || n != 1) {
			t.Errorf("%q: %d calls, %v", path, n, err)
		}
		cancel()
	}
}

// TestF3_ZipBomb: whatever an archive claims or does, what is unpacked and how
// much is read of its directory is bounded, and what is good in it is read.
func TestF3_ZipBomb(t *testing.T) {
	dir, temp := t.TempDir(), t.TempDir()
	t.Setenv("TMPDIR", temp)
	one := letter(1, "one")
	zeros := letter(2, strings.Repeat("\x00", 3<<19))
	huge := letter(3, strings.Repeat("\x00", ratioFrom/2+1))
	noise := make([]byte, 300)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	many := make([]entry, 3500)
	for i := range many {
		many[i] = entry{"x.eml", "From: a@b\n\n"}
	}
	lies := []byte(zipped(t, entry{"liar.eml", zeros}))
	// The sizes in the directory say one byte.
	copy(lies[strings.LastIndex(string(lies), directoryMark)+24:], []byte{1, 0, 0, 0})
	box := sep + one + "\n" + sep + zeros

	for name, c := range map[string]struct {
		zip  string
		lim  Limits
		want []found
		err  string
	}{
		"a message too large": {zip: zipped(t, entry{"a.eml", one}, entry{"b.eml", zeros}, entry{"c.eml", one}), lim: Limits{Message: 1 << 20},
			want: []found{{name: "a.eml", text: one}, {name: "b.eml", err: "larger than 1 MiB"}, {name: "c.eml", text: one}}},
		"a small limit": {zip: zipped(t, entry{"a.eml", one}), lim: Limits{Message: 10}, want: []found{{name: "a.eml", err: "larger than 10 bytes"}}},
		"an mbox may be larger": {zip: zipped(t, entry{"a", box}), lim: Limits{Message: 1 << 20},
			want: []found{{name: "a#1", text: one}, {name: "a#2", text: "*"}}},
		"an mbox too large": {zip: zipped(t, entry{"a", box}), lim: Limits{Message: 1 << 19, Mailbox: 1 << 20},
			want: []found{{name: "a", err: "larger than 1 MiB"}}},
		"a size that is a lie": {zip: string(lies), lim: Limits{Message: 1 << 20},
			want: []found{{name: "liar.eml", err: "damaged: zip: not a valid zip file"}}},
		"too much in all": {zip: zipped(t, entry{"a.eml", zeros}, entry{"b.eml", zeros}, entry{"c.eml", zeros}), lim: Limits{Total: 4 << 20},
			want: []found{{name: "a.eml", text: "*"}, {name: "b.eml", text: "*"}}, err: "a .zip that unpacks to more than 4 MiB"},
		"too many for its size": {zip: zipped(t, entry{"a.eml", huge}, entry{"b.eml", huge}),
			want: []found{{name: "a.eml", text: "*"}}, err: "a .zip that unpacks to more than 200 times its size"},
		"too many entries": {zip: zipped(t, many...), lim: Limits{Entries: 2000}, err: "a .zip of more than 2000 entries"},
		"the limit itself": {zip: zipped(t, many[:1000]...), lim: Limits{Entries: 1000},
			want: slices.Repeat([]found{{name: "x.eml", text: "From: a@b\n\n"}}, 1000)},
		"one entry above":    {zip: zipped(t, many[:1001]...), lim: Limits{Entries: 1000}, err: "a .zip of more than 1000 entries"},
		"the zip itself":     {zip: zipped(t, entry{"a.eml", string(noise)}), lim: Limits{Total: 300}, err: "larger than 300 bytes"},
		"an archive in one":  {zip: zipped(t, entry{"lib.zip", zipped(t, entry{"a.eml", one})}, entry{"a.eml", one}), want: []found{{name: "lib.zip", err: "an archive inside an archive is not looked into"}, {name: "a.eml", text: one}}},
		"one without a name": {zip: zipped(t, entry{"lib", zipped(t, entry{"a.eml", one})}, entry{"a.eml", one}), want: []found{{name: "a.eml", text: one}}},
	} {
		t.Run(name, func(t *testing.T) {
			p := filepath.Join(dir, "x.zip")
			check(t, os.WriteFile(p, []byte(c.zip), 0o600))
			got, err := walkAll(t, p, Options{Limits: c.lim})
			if (err == nil) != (c.err == "") || err != nil && err.Error() != c.err {
				t.Errorf("%v, want %s", err, c.err)
			}
			same(t, got, c.want)
			if left, err := os.ReadDir(temp); err != nil || len(left) != 0 {
				t.Errorf("temporary files left: %v, %v", left, err)
			}
		})
	}
}

// A directory of very many entries is given up before there is a structure of
// each.
func TestF3_ZipBombDirectory(t *testing.T) {
	text := zipped(t, slices.Repeat([]entry{{"x", ""}}, 20_000)...)
	r := &countingReader{r: strings.NewReader(text)}
	g := &guard{r: r, left: 100}
	p := make([]byte, 4096)
	for off := int64(strings.Index(text, directoryMark)); ; off += 4096 {
		if _, err := g.ReadAt(p, off); err != nil {
			break
		}
	}
	if !g.full || r.n > 200<<10 {
		t.Errorf("full %v after %d bytes", g.full, r.n)
	}
}

type countingReader struct {
	r *strings.Reader
	n int
}

func (c *countingReader) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.r.ReadAt(p, off)
	c.n += n
	return n, err
}
