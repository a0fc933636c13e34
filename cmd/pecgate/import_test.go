package main

import (
	"archive/zip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pecgate/gateway/admin"
	"pecgate/relay"
	"pecgate/relay/providersim"
)

// imported runs the command and decodes what it made.
func (h *house) imported(want int, args ...string) (made importMade) {
	h.t.Helper()
	state, out, errs := program(h.t, "", append([]string{"--config", h.config(), "import", "--json", "--mailbox", boxA}, args...)...)
	if state != want {
		h.t.Fatalf("import %q: %d %s%s", args, state, out, errs)
	}
	if err := json.Unmarshal([]byte(out), &made); err != nil {
		h.t.Fatalf("%s%s: %v", out, errs, err)
	}
	return made
}

// anew makes the store new; the mailboxes are not fetched from then on.
func (h *house) anew() {
	h.t.Helper()
	h.stop()
	if err := os.RemoveAll(filepath.Join(h.dir, "data")); err != nil {
		h.t.Fatal(err)
	}
	h.writePolicy(strings.ReplaceAll(h.policy, "    admin: lucia\n", "    admin: lucia\n    active: false\n"))
	h.start()
}

// importHouse is an appliance whose mailbox A has some of everything, and the folders
// in which people see it.
func importHouse(t *testing.T) (h *house, where map[string][]string, ids []string) {
	t.Helper()
	h = newHouse(t, mailboxText(boxA, false, "", "mario"), mailboxText(boxB, false, "", "lucia"))
	if err := h.provider.SetBehaviour("nobody@pec.beta.example", providersim.UnknownTo); err != nil {
		t.Fatal(err)
	}
	h.start()
	h.until("both were met", func() bool { return h.fetched(boxA) && h.fetched(boxB) })
	ids = []string{"i1@alfa.example", "i2@alfa.example"}
	accepted(t, h.send("mario", "mariomario", boxA, []string{boxB}, mail(boxA, boxB, "Diffida", ids[0])+"\r\nFrom here on\r\n>From there\r\n"))
	accepted(t, h.send("mario", "mariomario", boxA, []string{boxB, "nobody@pec.beta.example"}, mail(boxA, boxB+">, <nobody@pec.beta.example", "Nota", ids[1])))
	accepted(t, h.send("lucia", "lucialucia", boxB, []string{boxA}, mail(boxB, boxA, "Lettera", "i3@beta.example")))
	h.until("all is delivered", func() bool {
		a, err := h.shown(ids[0])
		b, err2 := h.shown(ids[1])
		return err == nil && err2 == nil && a.Recipients[0].State == relay.Delivered && b.Recipients[0].State == relay.Delivered &&
			b.Recipients[1].State == relay.Failed && len(h.folder("mario", treeA+"Posta in arrivo")) == 1
	})
	broken := strings.ReplaceAll(h.folder("mario", treeA+"Posta in arrivo")[0], "Lettera", "Lattera")
	for _, m := range []string{broken, mail("qualcuno@ordinary.example", boxA, "Pubblica", "o1@ordinary.example")} {
		if err := h.provider.Inject(boxA, []byte(m)); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	h.until("the anomalies came", func() bool { n = len(h.folder("mario", treeA+"Anomalie")); return n == 2 })
	where = map[string][]string{"mario": {treeA + "Posta in arrivo", treeA + "Posta inviata", treeA + "Ricevute/Accettazione",
		treeA + "Ricevute/Consegna", treeA + "Ricevute/Errori", treeA + "Anomalie"}}
	return h, where, ids
}

// outcomes are the submissions as their receipts have left them.
func (h *house) outcomes(ids []string) map[string]string {
	h.t.Helper()
	out := map[string]string{}
	for _, id := range ids {
		s, err := h.shown(id)
		if err != nil {
			h.t.Fatalf("%s: %v", id, err)
		}
		text := string(s.State)
		for _, r := range s.Recipients {
			text += fmt.Sprintf("; %s %s", r.Address, r.State)
			for _, x := range r.Receipts {
				text += fmt.Sprintf(" %s %s %s", x.Kind, x.Verdict, x.SHA256)
			}
		}
		out[id] = text
	}
	return out
}

// TestImportRoundTrip: what was exported in each format comes into an empty appliance
// byte for byte, in the same folders, with the same outcomes; again, nothing is doubled.
// It works while the appliance runs and where nothing does.
func TestImportRoundTrip(t *testing.T) {
	h, where, ids := importHouse(t)
	want, outcomes := h.seen(where), h.outcomes(ids)
	var made exportMade
	files := map[string]string{}
	for name, format := range map[string]string{"mbox.zip": "mbox", "maildir.zip": "maildir", "eml.zip": "eml", "tree": "eml"} {
		files[name] = filepath.Join(t.TempDir(), name)
		made, _ = h.export(files[name], "--mailbox", boxA, "--format", format)
	}
	for i, name := range slices.Sorted(maps.Keys(files)) {
		t.Run(name, func(t *testing.T) {
			h.t = t
			h.anew()
			defer h.stop()
			if i%2 == 1 {
				h.stop()
			}
			if dry := h.imported(exitGood, "--dry-run", files[name]); dry.New != made.Messages || dry.There+dry.Failed != 0 || dry.Kinds["sent"] != 2 || !dry.DryRun {
				t.Errorf("dry: %+v", dry)
			}
			got := h.imported(exitGood, files[name])
			if got.New != made.Messages || got.Messages != made.Messages || got.There+got.Failed+got.Originals != 0 || got.Kinds["sent"] != 2 ||
				got.Kinds["transport"] != 2 || got.Kinds["acceptance"] != 2 || got.Kinds["ordinary"] != 1 || got.Verdicts["invalid"] != 1 {
				t.Errorf("%+v", got)
			}
			if again := h.imported(exitGood, files[name]); again.There != made.Messages || again.New+again.Failed+again.Originals != 0 {
				t.Errorf("again: %+v", again)
			}
			if h.gateway == nil {
				h.start()
			}
			if seen := h.seen(where); !reflect.DeepEqual(seen, want) {
				t.Errorf("seen: %v\nwant: %v", seen, want)
			}
			if o := h.outcomes(ids); !reflect.DeepEqual(o, outcomes) {
				t.Errorf("outcomes: %v\nwant: %v", o, outcomes)
			}
			h.stop() // the log is read from the store
			lines := h.audit("import")
			if len(lines) != 2 || lines[0].Result != "brought in" || lines[1].More["new"] != fmt.Sprint(made.Messages) || lines[0].More["new"] != "0" || lines[0].Box != boxA {
				t.Errorf("%+v", lines)
			}
			for _, r := range h.audit("register") {
				t.Errorf("a register number: %+v", r)
			}
		})
	}
}

// importFrom is what the flags of an import from the simulated provider are.
func (h *house) importFrom() []string {
	h.t.Helper()
	h.write("imap.password", "provider-a\n")
	return []string{"--imap", strings.Replace(h.provider.IMAPAddr(), "127.0.0.1", "localhost", 1), "--user", boxA,
		"--password-file", filepath.Join(h.dir, "imap.password"), "--ca", filepath.Join(h.dir, "ca.pem")}
}

// TestImportIMAP: a mailbox at another provider comes in whole, from all of its
// folders, and nothing is changed there. What was sent and stands in no folder is
// recovered from its receipts.
func TestImportIMAP(t *testing.T) {
	h, where, ids := importHouse(t)
	sent := h.folder("mario", treeA+"Posta inviata")
	h.stop()
	h.inSent(boxA, sent[0]) // the other one is nowhere
	h.anew()
	before, err := h.provider.Folder(boxA, "INBOX")
	if err != nil {
		t.Fatal(err)
	}
	if dry := h.imported(exitGood, append(h.importFrom(), "--dry-run")...); dry.New != len(before)+1 || dry.Kinds["sent"] != 1 {
		t.Errorf("dry: %+v", dry)
	}
	if got := h.imported(exitGood, append(h.importFrom(), "--folder", "INBOX")...); got.New != len(before) || got.Failed != 0 || got.Kinds["sent"] != 0 {
		t.Errorf("one folder: %+v", got)
	}
	got := h.imported(exitGood, h.importFrom()...)
	if got.There+got.New != len(before)+1 || got.Failed != 0 {
		t.Errorf("%+v", got)
	}
	if after, err := h.provider.Folder(boxA, "INBOX"); err != nil || !reflect.DeepEqual(after, before) {
		t.Errorf("the source has changed: %v", err)
	}
	seen := h.seen(where)
	if n := len(seen["mario: "+treeA+"Posta inviata"]); n != 2 {
		t.Errorf("%d were sent", n)
	}
	for id, text := range h.outcomes(ids) {
		if !strings.HasPrefix(text, string(relay.Accepted)) || !strings.Contains(text, string(relay.Delivered)) {
			t.Errorf("%s: %s", id, text)
		}
	}
	args := append([]string{"--config", h.config(), "import", "--mailbox", boxA}, h.importFrom()...)
	h.write("imap.password", "wrong\n")
	if state, _, errs := program(t, "", args...); state != exitFailed || strings.Contains(errs, "wrong") || !strings.Contains(errs, "refused") {
		t.Errorf("a wrong password: %d %s", state, errs)
	}
}

// TestImportBroken: what cannot be read stops nothing else, is listed and told by the
// exit status; an import that was broken off is ended by the next one; an mbox without a
// manifest is read as what its signatures prove.
func TestImportBroken(t *testing.T) {
	h, where, ids := importHouse(t)
	all, outcomes := h.seen(where), h.outcomes(ids)
	tree := filepath.Join(t.TempDir(), "tree")
	made, _ := h.export(tree, "--mailbox", boxA, "--format", "eml")
	var files []string
	err := filepath.WalkDir(tree, func(p string, d os.DirEntry, err error) error {
		if err == nil && filepath.Ext(p) == ".eml" {
			files = append(files, p)
		}
		return err
	})
	if err != nil || len(files) != made.Messages {
		t.Fatal(len(files), err)
	}
	h.anew()
	// Only receipts came before it was broken off, in no order that helps.
	for _, f := range files {
		if strings.Contains(f, "/delivery/") || strings.Contains(f, "/acceptance/") {
			if err := runImportOnce(t, h, f); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.WriteFile(filepath.Join(tree, "all.zip"), []byte("PK\x03\x04 and no more"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(tree, "link.eml")); err != nil {
		t.Fatal(err)
	}
	// A .zip in a .zip, and 300 MB of one line that pack to less than 1 MB, beside a message.
	hostile := filepath.Join(t.TempDir(), "hostile.zip")
	zipped(t, hostile, map[string]io.Reader{"a/1.zip": strings.NewReader("PK\x03\x04"), "b.eml": strings.NewReader(string(readFile(t, files[0]))),
		"c.eml": io.LimitReader(endless{}, 300<<20)})
	got := h.imported(exitFailed, tree, filepath.Join(tree, "missing"), hostile)
	if got.New+got.There != made.Messages+1 || got.Failed != 5 || len(got.Troubles) != 5 || got.There != 5 {
		t.Errorf("%+v", got)
	}
	if seen := h.seen(where); !reflect.DeepEqual(seen, all) {
		t.Errorf("seen: %v\nwant: %v", seen, all)
	}
	if o := h.outcomes(ids); !reflect.DeepEqual(o, outcomes) {
		t.Errorf("outcomes: %v\nwant: %v", o, outcomes)
	}
	for words, says := range map[string]string{
		"": "files or folders", "--imap h x": "not both", "--imap h": "--user", "--user u x": "for --imap", "--imap h:x --user u": "no port",
	} {
		state, _, errs := program(t, "", append([]string{"--config", h.config(), "import", "--mailbox", boxA}, strings.Fields(words)...)...)
		if state != exitUsage || !strings.Contains(errs, says) {
			t.Errorf("%q: %d %s", words, state, errs)
		}
	}
	if state, _, errs := program(t, "", "--config", h.config(), "import", "--mailbox", "no@pec.example", files[0]); state != exitFailed || !strings.Contains(errs, "no PEC mailbox") {
		t.Errorf("%d %s", state, errs)
	}
}

// endless is a message without an end.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = "Subject: a\r\n"[i%12]
	}
	return len(p), nil
}

// zipped makes a .zip, its entries in the order of their names.
func zipped(t *testing.T, path string, entries map[string]io.Reader) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	z := zip.NewWriter(f)
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		w, err := z.Create(name)
		if err == nil {
			_, err = io.Copy(w, entries[name])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(z.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

// runImportOnce brings a file in and never comes to the end of the import.
func runImportOnce(t *testing.T, h *house, file string) error {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	out, err := admin.NewClient(filepath.Join(h.dir, "data")).Import(t.Context(), relay.ImportItem{Box: boxA, Size: int64(len(raw)), Body: strings.NewReader(string(raw))})
	if err == nil && out.Done != relay.ImportedNew {
		err = fmt.Errorf("%+v", out)
	}
	return err
}

// TestImportQuoted: of an mbox without a manifest the reading is taken that its
// signature proves.
func TestImportQuoted(t *testing.T) {
	h, where, _ := importHouse(t)
	want := h.seen(where)["mario: "+treeA+"Ricevute/Consegna"]
	out := filepath.Join(t.TempDir(), "d.zip")
	h.export(out, "--mailbox", boxA, "--kind", "delivery")
	z, err := zip.OpenReader(out)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	raw, err := fs.ReadFile(z, "01-"+boxA+".mbox")
	if err != nil || !strings.Contains(string(raw), "\n>From here on") || !strings.Contains(string(raw), "\n>>From there") {
		t.Fatalf("%v, nothing is quoted", err)
	}
	mbox := filepath.Join(t.TempDir(), "d.mbox")
	if err := os.WriteFile(mbox, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	h.anew()
	if got := h.imported(exitGood, mbox); got.New != 2 || got.Verdicts["valid"] != 2 {
		t.Errorf("%+v", got)
	}
	if seen := h.seen(where)["mario: "+treeA+"Ricevute/Consegna"]; !slices.Equal(seen, want) {
		t.Errorf("%v, want %v", seen, want)
	}
}
