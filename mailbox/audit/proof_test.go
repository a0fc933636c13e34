package audit

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pecgate/mailbox/kv"
)

func TestProofs(t *testing.T) {
	h := newHouse(t)
	pub := h.opt.Key.Public()
	var heads []Head
	for _, n := range []int{1, 1, 1, 4, 9, 21} {
		heads = append(heads, h.head())
		h.fill(n)
	}
	heads = append(heads, h.head())
	h.view(func(r kv.Reader) error {
		for i, head := range heads {
			for n := range head.Size {
				p := must[*Proof](t)(h.Prove(r, head, n))
				back, lines, err := must[*Proof](t)(ReadProof(must[[]byte](t)(json.Marshal(p)))).Check(pub)
				if err != nil || back != head || len(lines) != 1 || lines[0].Number != n || lines[0].Subject != entry(int(n)).Subject {
					t.Errorf("entry %d of %d: %+v %v", n, head.Size, lines, err)
				}
			}
			for _, old := range heads[:i+1] {
				g := must[*Growth](t)(h.ProveGrowth(r, old, head))
				a, b, err := must[*Growth](t)(ReadGrowth(must[[]byte](t)(json.Marshal(g)))).Check(pub)
				if err != nil || a != old || b != head {
					t.Errorf("%d to %d: %v", old.Size, head.Size, err)
				}
				if _, err := h.ProveGrowth(r, head, old); old.Size < head.Size && !errors.Is(err, ErrProof) {
					t.Errorf("%d back to %d: %v", head.Size, old.Size, err)
				}
			}
		}
		last := heads[len(heads)-1]
		p := must[*Proof](t)(h.ProveRange(r, last, 10, 20))
		if _, lines, err := p.Check(pub); err != nil || len(lines) != 11 {
			t.Errorf("%v %v", lines, err)
		}
		for name, numbers := range map[string][]int64{"negative": {-1}, "behind": {last.Size}, "too many": make([]int64, MaxProven+1)} {
			if _, err := h.Prove(r, last, numbers...); !errors.Is(err, ErrProof) {
				t.Errorf("%s: %v", name, err)
			}
		}
		for _, span := range [][2]int64{{5, 4}, {-1, 4}, {0, MaxProven}} {
			if _, err := h.ProveRange(r, last, span[0], span[1]); !errors.Is(err, ErrProof) {
				t.Errorf("%v: %v", span, err)
			}
		}
		forgedProofs(t, p, heads, h.opt.Key)
		return nil
	})
}

// forgedProofs: nothing of a good proof can be changed.
func forgedProofs(t *testing.T, good *Proof, heads []Head, k *Key) {
	raw := must[[]byte](t)(json.Marshal(good))
	for name, change := range map[string]func(p *Proof){
		"version":         func(p *Proof) { p.Version = 2 },
		"text":            func(p *Proof) { p.Entries[3].Text = strings.Replace(p.Entries[3].Text, "queued", "denied", 1) },
		"text and leaf":   func(p *Proof) { e := &p.Entries[3]; e.Text += " "; e.Leaf = leaf(e.Salt, []byte(e.Text)) },
		"salt":            func(p *Proof) { p.Entries[3].Salt[0] ^= 1 },
		"salt into text":  func(p *Proof) { e := &p.Entries[3]; e.Text = string(e.Salt[8:]) + e.Text; e.Salt = e.Salt[:8] },
		"text gone":       func(p *Proof) { p.Entries[3].Text = "" },
		"other leaf":      func(p *Proof) { e := &p.Entries[3]; e.Text, e.Salt, e.Leaf = "", nil, p.Entries[4].Leaf },
		"number":          func(p *Proof) { p.Entries[3].Number++ },
		"number below":    func(p *Proof) { p.Entries[3].Number = -1 },
		"number behind":   func(p *Proof) { p.Entries[3].Number = 1 << 62 },
		"path":            func(p *Proof) { p.Entries[3].Path[1][5] ^= 1 },
		"path cut":        func(p *Proof) { p.Entries[3].Path = p.Entries[3].Path[1:] },
		"path longer":     func(p *Proof) { p.Entries[3].Path = append(p.Entries[3].Path, p.Entries[3].Leaf) },
		"older head":      func(p *Proof) { p.Head = heads[len(heads)-2].Note },
		"head":            func(p *Proof) { p.Head = strings.Replace(p.Head, "head", "heat", 1) },
		"two exchanged":   func(p *Proof) { p.Entries[3].Number, p.Entries[4].Number = p.Entries[4].Number, p.Entries[3].Number },
		"too many proven": func(p *Proof) { p.Entries = slices.Repeat(p.Entries, MaxProven) },
	} {
		p := must[*Proof](t)(ReadProof(raw))
		change(p)
		if _, _, err := p.Check(k.Public()); !errors.Is(err, ErrProof) && !errors.Is(err, ErrHead) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, b := range map[string]string{"no JSON": "x", "short hash": `{"version":1,"entries":[{"leaf":"AA=="}]}`, "null": "null"} {
		p, err := ReadProof([]byte(b))
		if err == nil {
			_, _, err = p.Check(k.Public())
		}
		if !errors.Is(err, ErrProof) {
			t.Errorf("%s: %v", name, err)
		}
	}
	old, head := heads[len(heads)-2], heads[len(heads)-1]
	for name, g := range map[string]*Growth{
		"version":         {Version: 2, Old: old.Note, New: head.Note},
		"no path":         {Version: 1, Old: old.Note, New: head.Note},
		"turned":          {Version: 1, Old: head.Note, New: old.Note},
		"from nothing":    {Version: 1, Old: heads[0].Note, New: head.Note, Path: good.Entries[0].Path},
		"no older head":   {Version: 1, New: head.Note},
		"no newer head":   {Version: 1, Old: head.Note},
		"rubbish of path": {Version: 1, Old: old.Note, New: head.Note, Path: good.Entries[0].Path},
	} {
		if _, _, err := g.Check(k.Public()); !errors.Is(err, ErrProof) && !errors.Is(err, ErrHead) {
			t.Errorf("growth, %s: %v", name, err)
		}
	}
}

var update = flag.Bool("update", false, "write the golden files anew: only when a version of the format is added")

// golden is a proof as it was made once.
type golden struct {
	Public string `json:"public"`
	Proof  *Proof `json:"proof"`
}

const goldenFile = "testdata/proof-v1.json"

// TestGoldenProof: what was written under version 1 is read for ever.
func TestGoldenProof(t *testing.T) {
	if *update {
		h := newHouse(t)
		h.fill(100)
		h.update(func(tx kv.Txn) error {
			_, err := h.Append(tx, Entry{At: noon, Actor: "lucia \"\\\r\n\x1b\u2028<è>", Event: "login", Result: "wrong password", From: "[2001:db8::1]:40001"})
			return err
		})
		h.retire(func(l Line) bool { return l.Number == 41 })
		head := h.head()
		h.view(func(r kv.Reader) error {
			p := must[*Proof](t)(h.Prove(r, head, 0, 1, 2, 40, 41, 42, 63, 64, 100, 101))
			b := must[[]byte](t)(json.MarshalIndent(golden{h.opt.Key.Public(), p}, "", "  "))
			return errors.Join(os.MkdirAll("testdata", 0o755), os.WriteFile(goldenFile, append(b, '\n'), 0o644))
		})
	}
	var g golden
	if err := json.Unmarshal(must[[]byte](t)(os.ReadFile(goldenFile)), &g); err != nil {
		t.Fatal(err)
	}
	head, lines, err := g.Proof.Check(g.Public)
	if err != nil || head.Size != 102 || len(lines) != 10 || lines[4].Event != "" || lines[8].Actor != "lucia \"\\\r\n\x1b\u2028<è>" {
		t.Errorf("%+v %+v %v", head, lines, err)
	}
	independent(t, must[[]byte](t)(os.ReadFile(goldenFile)))
}

// independent checks a proof with nothing but what doc.go says: SHA-256,
// Ed25519, base64 and JSON. It is the program that somebody else would write.
func independent(t *testing.T, file []byte) {
	t.Helper()
	var in struct {
		Public string
		Proof  struct {
			Head    string
			Entries []struct {
				Number     uint64
				Salt, Leaf []byte
				Text       string
				Path       [][]byte
			}
		}
	}
	if err := json.Unmarshal(file, &in); err != nil {
		t.Fatal(err)
	}
	b64 := func(s string) []byte { return must[[]byte](t)(base64.StdEncoding.DecodeString(s)) }
	public := b64(strings.SplitN(in.Public, "+", 3)[2])
	text, signature, _ := strings.Cut(in.Proof.Head, "\n\n")
	text += "\n"
	signed := b64(strings.Fields(signature)[2])
	if !ed25519.Verify(public[1:], []byte(text), signed[4:]) {
		t.Fatal("the signature of the head is not valid")
	}
	lines := strings.Split(text, "\n")
	size := must[uint64](t)(strconv.ParseUint(lines[1], 10, 64))
	for _, e := range in.Proof.Entries {
		h := e.Leaf
		if e.Text != "" {
			own := sha256.Sum256(slices.Concat([]byte{0}, e.Salt, []byte(e.Text)))
			if string(own[:]) != string(e.Leaf) {
				t.Errorf("entry %d: its leaf is another", e.Number)
			}
		}
		// RFC 9162 section 2.1.3.2.
		fn, sn := e.Number, size-1
		for _, p := range e.Path {
			var sum [32]byte
			if fn&1 == 1 || fn == sn {
				sum = sha256.Sum256(slices.Concat([]byte{1}, p, h))
				for fn&1 == 0 && fn != 0 {
					fn, sn = fn>>1, sn>>1
				}
			} else {
				sum = sha256.Sum256(slices.Concat([]byte{1}, h, p))
			}
			h, fn, sn = sum[:], fn>>1, sn>>1
		}
		if sn != 0 || base64.StdEncoding.EncodeToString(h) != lines[2] {
			t.Errorf("entry %d does not stand in the tree", e.Number)
		}
	}
}
