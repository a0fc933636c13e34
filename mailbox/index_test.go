package mailbox

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pecgate/mailbox/mime"
)

// signed makes the signature of a message.
func signed(t testing.TB, raw []byte) Signature {
	t.Helper()
	ix, err := mime.Parse(bytes.NewReader(raw), int64(len(raw)), mime.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := MakeSignature(bytes.NewReader(raw), ix)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// admits fails if a signature denies a string that a search would find.
func admits(t testing.TB, raw []byte, s Signature, rng *rand.Rand) {
	t.Helper()
	ix, err := mime.Parse(bytes.NewReader(raw), int64(len(raw)), mime.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	x := mime.Texts{R: bytes.NewReader(raw), Overlap: 100, Piece: func(b []byte) bool {
		for range 5 {
			from := rng.IntN(len(b) + 1)
			to := from + rng.IntN(min(len(b)-from, 60)+1)
			if part := string(b[from:to]); !s.MayHold(GramsOf(part)) {
				t.Fatalf("%q is denied", part)
			}
		}
		return true
	}}
	if err := x.Header(&ix.Root); err != nil {
		t.Fatal(err)
	}
	if err := x.Body(&ix.Root); err != nil {
		t.Fatal(err)
	}
}

// office is a message of some size with words of a number's own.
func office(n, words int) []byte {
	rng := rand.New(rand.NewPCG(uint64(n), 3))
	var b strings.Builder
	fmt.Fprintf(&b, "From: a%d@pec.example\r\nSubject: =?utf-8?q?pratica_=C3=A8_%d?=\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n", n, n)
	for range words {
		for range 2 + rng.IntN(8) {
			b.WriteString([]string{"a", "è", "r", "t", "l", "o", "n", "s", "i", "c", "p", "z"}[rng.IntN(12)])
		}
		b.WriteByte(' ')
	}
	b.WriteString("\r\n--b--\r\n")
	return []byte(b.String())
}

// A signature never denies what is there.
func TestSignatureDeniesNothingThatIsThere(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 200 {
		raw := office(i, rng.IntN(1+i*i))
		admits(t, raw, signed(t, raw), rng)
	}
	// A word that lies across the end of a block of text.
	const word = "ZQXJKVWQ"
	for before := 64<<10 - len(word); before <= 64<<10; before++ {
		raw := []byte("Content-Type: text/plain\r\n\r\n" + strings.Repeat(" ", before) + word + strings.Repeat(" ", 100))
		if !signed(t, raw).MayHold(GramsOf(word)) {
			t.Errorf("%q behind %d bytes is denied", word, before)
		}
	}
	dir := filepath.Join("..", "testdata", "hostile", "mime")
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range list {
		raw, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		admits(t, raw, signed(t, raw), rng)
	}
}

// It denies nearly everything else, in a small part of the message's size.
func TestSignatureDeniesTheRest(t *testing.T) {
	raw := append(office(1, 150), bytes.Repeat([]byte("x"), 20_000)...)
	s := signed(t, raw)
	if len(s) > 600 || len(s)*100 > 3*len(raw) {
		t.Errorf("%d bytes for a message of %d", len(s), len(raw))
	}
	may := 0
	for i := range 1000 {
		if s.MayHold(GramsOf(mime.Fold(fmt.Sprintf("parola%dquk%d", i, i*7919)))) {
			may++
		}
	}
	if may > 20 {
		t.Errorf("%d of 1000 strings that are not there may be", may)
	}
	if !s.MayHold(GramsOf("X")) || !s.MayHold(nil) || !Signature(nil).MayHold(GramsOf("QUALCOSA")) {
		t.Error("what says nothing denies something")
	}
	large := []byte("Subject: a\r\n\r\n" + strings.Repeat("parola ", maxIndexed/7+1))
	if s := signed(t, large); !s.MayHold(GramsOf("QUALCOSA")) || !s.Summarised() || len(s) > 10 {
		t.Errorf("a message with too much text: %d bytes", len(s))
	}
	for _, damaged := range []Signature{{}, {signatureForm}, {signatureForm, 0}, {signatureForm + 1, 0, 0, 0}} {
		if !damaged.MayHold(GramsOf("QUALCOSA")) || damaged.Summarised() {
			t.Errorf("%v is believed", damaged)
		}
	}
}

// FuzzSignature: whatever the message is, a search finds what it holds.
func FuzzSignature(f *testing.F) {
	f.Add(office(1, 20), uint64(1))
	f.Add([]byte("Content-Type: text/html\r\n\r\n&egrave;&amp;"), uint64(2))
	f.Fuzz(func(t *testing.T, raw []byte, seed uint64) {
		admits(t, raw, signed(t, raw), rand.New(rand.NewPCG(seed, 1)))
	})
}

// Signatures go with their entries: filed, copied, removed, cleared.
func TestSignaturesFollowEntries(t *testing.T) {
	s := open(t, t.TempDir())
	ctx := context.Background()
	have := func(f FolderID, uids ...UID) (n int) {
		t.Helper()
		var places []Place
		for _, u := range uids {
			places = append(places, Place{Folder: f, UID: u})
		}
		if err := s.Signatures(ctx, places, func(int, Signature) { n++ }); err != nil {
			t.Fatal(err)
		}
		return n
	}
	all := func() (n int) {
		t.Helper()
		err := s.View(ctx, func(tx *Tx) error {
			return tx.r.Scan([]byte(wireWords+"/"), nil, func(_, _ []byte) (bool, error) { n++; return true, nil })
		})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	who, err := s.Person(ctx, "mario")
	if err != nil {
		t.Fatal(err)
	}
	var folder FolderID
	for i := range 12 {
		st := storeOnly(t, s, string(office(i, 30)), Origin{Box: "a@b.example", Direction: In})
		_, err := s.Record(ctx, st, func(tx *Tx, m *Message) error {
			f, _, err := tx.File(FolderKey{Box: "a@b.example", Role: RoleInbox}, m, Filing{})
			folder = f
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if n := have(folder, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13); n != 12 {
		t.Errorf("%d signatures by scan", n)
	}
	if n := have(folder, 3, 900, 4); n != 2 {
		t.Errorf("%d signatures one by one", n)
	}
	own := FolderKey{Owner: who, Role: RoleCustom, Name: "mie"}
	if err := s.CreateFolder(ctx, own); err != nil {
		t.Fatal(err)
	}
	done, err := s.Copy(ctx, folder, Viewer{Person: who}, []UID{1, 2, 3}, own)
	if err != nil {
		t.Fatal(err)
	}
	mine, err := s.EnsureFolder(ctx, own)
	if err != nil {
		t.Fatal(err)
	}
	if n := have(mine, done.To...); n != 3 || all() != 15 {
		t.Errorf("%d signatures of copies, %d in all", n, all())
	}
	if _, err := s.Remove(ctx, mine, Viewer{Person: who}, done.To[:1]); err != nil {
		t.Fatal(err)
	}
	if n := all(); n != 14 {
		t.Errorf("%d signatures after a removal", n)
	}
	if err := s.DeleteFolder(ctx, own); err != nil {
		t.Fatal(err)
	}
	if n := all(); n != 12 {
		t.Errorf("%d signatures after a folder went", n)
	}

	// One that is missing is made by whoever reads the message, for that message
	// only.
	err = s.Update(ctx, func(tx *Tx) error { return tx.w.Delete(key(wireWords, folder, UID(5))) })
	if err != nil {
		t.Fatal(err)
	}
	var five Message
	err = s.View(ctx, func(tx *Tx) error {
		e, err := tx.entry(folder, 5)
		five.ID = e.Message
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	words := signed(t, office(4, 30))
	wrong := []Signed{{Place{folder, 5}, five.ID + 1, words}, {Place{folder, 77}, five.ID, words}}
	if err := s.Sign(ctx, wrong); err != nil || all() != 11 {
		t.Errorf("%d signatures after wrong ones, %v", all(), err)
	}
	if err := s.Sign(ctx, append(wrong, Signed{Place{folder, 5}, five.ID, words})); err != nil || all() != 12 {
		t.Errorf("%d signatures after the right one, %v", all(), err)
	}
}

func BenchmarkSignature(b *testing.B) {
	raw := append(office(1, 400), bytes.Repeat([]byte("x"), 20_000)...)
	ix, err := mime.Parse(bytes.NewReader(raw), int64(len(raw)), mime.Limits{})
	if err != nil {
		b.Fatal(err)
	}
	b.Run("parse", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := mime.Parse(bytes.NewReader(raw), int64(len(raw)), mime.Limits{}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("signature", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := MakeSignature(bytes.NewReader(raw), ix); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// TestSignatureHoldsTheEnvelope: a search compares an address as the ENVELOPE
// writes it before it reads the field.
func TestSignatureHoldsTheEnvelope(t *testing.T) {
	raw := []byte("From: \"Rossi \\(Ufficio\\)\" <m.rossi@pec.example>\r\nTo: <user-from (c)@ (c) domain.example>\r\nSubject: x\r\n\r\ny\r\n")
	ix, err := mime.Parse(bytes.NewReader(raw), int64(len(raw)), mime.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := MakeSignature(bytes.NewReader(raw), ix)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"from", "to"} {
		shown, ok := mime.EnvelopeField(ix.Envelope, name)
		if !ok || len(GramsOf(string(shown))) < 5 || !s.MayHold(GramsOf(string(shown))) {
			t.Errorf("%q is denied", shown)
		}
	}
	if s.MayHold(GramsOf("verbale di consegna")) {
		t.Error("everything may be in it")
	}
}
