package mailbox

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"         // the records of format 0 are badger's alone
	"github.com/dgraph-io/badger/v4/options" // as format 0 set it

	"pecgate/mailbox/mime"
	"pecgate/mailbox/segment"
)

// former writes a store of format 0, with the key plan and the settings of that
// time and none of the code that writes a store today, but for the segments,
// whose form is the same.
type former struct {
	t       *testing.T
	dir     string
	now     time.Time
	db      *badger.DB
	records map[string]string // all that was written
	commit  map[string]string // waits for the next commit

	bytes   map[uint64][sha256.Size]byte // by message
	audit   []AuditLine
	folders map[string]*formerFolder
}

type formerFolder struct {
	ID          uint64         `json:"id"`
	Key         map[string]any `json:"key"`
	UIDValidity uint32         `json:"uidvalidity"`
	UIDNext     uint32         `json:"uidnext"`
	ModSeq      uint64         `json:"modseq"`
	Made        time.Time      `json:"made"`
}

func newFormer(t *testing.T) *former {
	t.Helper()
	w := &former{
		t: t, dir: t.TempDir(), now: time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC),
		records: map[string]string{}, commit: map[string]string{},
		bytes: map[uint64][sha256.Size]byte{}, folders: map[string]*formerFolder{},
	}
	db, err := badger.Open(badger.DefaultOptions(filepath.Join(w.dir, "records")).
		WithSyncWrites(true).
		WithMemTableSize(16 << 20).
		WithNumMemtables(3).
		WithBlockCacheSize(32 << 20).
		WithIndexCacheSize(16 << 20).
		WithNumCompactors(2).
		WithValueLogFileSize(64 << 20).
		WithMetricsEnabled(false).
		WithDetectConflicts(true).
		WithChecksumVerificationMode(options.OnBlockRead).
		WithLogger(nil))
	if err != nil {
		t.Fatal(err)
	}
	w.db = db
	return w
}

// k writes a key as format 0 does: numbers big-endian, strings with a NUL.
func k(prefix string, parts ...any) string {
	b := []byte(prefix + "/")
	for _, p := range parts {
		switch v := p.(type) {
		case uint64:
			b = binary.BigEndian.AppendUint64(b, v)
		case uint32:
			b = binary.BigEndian.AppendUint32(b, v)
		case [sha256.Size]byte:
			b = append(b, v[:]...)
		case string:
			b = append(append(b, v...), 0)
		default:
			panic(fmt.Sprintf("%T in a key", p))
		}
	}
	return string(b)
}

func (w *former) put(key, value string) {
	w.records[key], w.commit[key] = value, value
	if len(w.commit) > 500 {
		w.flush()
	}
}

func (w *former) json(key string, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		w.t.Fatal(err)
	}
	w.put(key, string(b))
}

func (w *former) flush() {
	tx := w.db.NewTransaction(true)
	defer tx.Discard()
	for k, v := range w.commit {
		if err := tx.Set([]byte(k), []byte(v)); err != nil {
			w.t.Fatal(err)
		}
	}
	clear(w.commit)
	if err := tx.Commit(); err != nil {
		w.t.Fatal(err)
	}
}

// next raises a counter.
func (w *former) next(name string) uint64 {
	n := uint64(1)
	if old, ok := w.records[k("n", name)]; ok {
		n += binary.BigEndian.Uint64([]byte(old))
	}
	w.put(k("n", name), string(binary.BigEndian.AppendUint64(nil, n)))
	return n
}

func (w *former) person(login string) uint32 {
	p := uint32(w.next("person"))
	w.put(k("p", login), string(binary.BigEndian.AppendUint32(nil, p)))
	w.put(k("pi", p), login)
	return p
}

func (w *former) folder(box string, owner uint32, role, name string) *formerFolder {
	id := k("fk", box, owner, role, name)
	if f := w.folders[id]; f != nil {
		return f
	}
	n := w.next("folder")
	f := &formerFolder{ID: n, UIDValidity: uint32(w.now.Unix()) + uint32(n), UIDNext: 1, ModSeq: 1, Made: w.now,
		Key: map[string]any{"role": role}}
	for key, v := range map[string]any{"box": box, "name": name} {
		if v != "" {
			f.Key[key] = v
		}
	}
	if owner != 0 {
		f.Key["owner"] = owner
	}
	w.folders[id] = f
	w.put(id, string(binary.BigEndian.AppendUint64(nil, n)))
	w.put(k("n", "uidvalidity"), string(binary.BigEndian.AppendUint32(nil, f.UIDValidity)))
	w.json(k("f", f.ID), f)
	return f
}

// change raises the folder's number and writes its feed.
func (w *former) change(f *formerFolder, uid uint32, kind byte, person uint32) {
	f.ModSeq++
	b := binary.BigEndian.AppendUint32([]byte{kind}, uid)
	w.put(k("c", f.ID, f.ModSeq), string(binary.BigEndian.AppendUint32(b, person)))
}

// file makes an entry of 37 bytes.
func (w *former) file(f *formerFolder, message, size uint64, ix *mime.Index, audience uint32, bits byte) uint32 {
	uid := f.UIDNext
	f.UIDNext++
	w.change(f, uid, 1, 0)
	e := binary.BigEndian.AppendUint64(nil, message)
	e = binary.BigEndian.AppendUint64(e, f.ModSeq)
	e = binary.BigEndian.AppendUint32(e, audience)
	e = append(e, bits)
	e = binary.BigEndian.AppendUint64(e, size)
	e = binary.BigEndian.AppendUint64(e, uint64(w.now.Unix()))
	w.put(k("e", f.ID, uid), string(e))
	w.put(k("xe", f.ID, uid), string(ix.Envelope))
	w.put(k("xs", f.ID, uid), string(ix.BodyStructure))
	w.put(k("xb", f.ID, uid), string(ix.Body))
	w.put(k("mp", message, f.ID, uid), "")
	w.json(k("f", f.ID), f)
	return uid
}

func (w *former) auditLine(l AuditLine) {
	l.At = w.now
	w.audit = append(w.audit, l)
	w.json(k("a", w.next("audit")), l)
}

// formerMessage is one message to be written.
type formerMessage struct {
	box, direction, raw, msgid string
	author                     uint32
	ref                        segment.Ref
	ix                         *mime.Index
}

// store makes the bytes durable, many at once.
func (w *former) store(all []*formerMessage) {
	s, err := segment.Open(segment.Options{Dir: filepath.Join(w.dir, "segments")})
	if err != nil {
		w.t.Fatal(err)
	}
	var wg sync.WaitGroup
	turn := make(chan *formerMessage)
	var mu sync.Mutex
	for range 32 {
		wg.Go(func() {
			for m := range turn {
				if err := m.store(w.t, s); err != nil {
					mu.Lock()
					w.t.Error(err)
					mu.Unlock()
				}
			}
		})
	}
	for _, m := range all {
		turn <- m
	}
	close(turn)
	wg.Wait()
	if err := s.Close(); err != nil || w.t.Failed() {
		w.t.Fatal(err)
	}
}

func (m *formerMessage) store(t *testing.T, s *segment.Store) error {
	in, err := s.Begin(t.Context())
	if err != nil {
		return err
	}
	if _, err := io.WriteString(in, m.raw); err != nil {
		return err
	}
	if m.ref, err = in.Commit(t.Context(), fmt.Appendf(nil, `{"mailbox":%q,"direction":%q,"at":"2026-11-02T09:00:00Z"}`, m.box, m.direction)); err != nil {
		return err
	}
	m.ix, err = mime.Parse(strings.NewReader(m.raw), int64(len(m.raw)), mime.Limits{})
	return err
}

// record writes a message's own keys.
func (w *former) record(m *formerMessage) uint64 {
	n := w.next("message")
	ref, err := m.ref.MarshalText()
	offsets, err2 := m.ix.MarshalBinary()
	if err := errors.Join(err, err2); err != nil {
		w.t.Fatal(err)
	}
	w.json(k("m", n), struct {
		ID        uint64    `json:"id"`
		Ref       string    `json:"ref"`
		Box       string    `json:"box,omitempty"`
		Direction string    `json:"direction"`
		Author    uint32    `json:"author,omitempty"`
		MessageID string    `json:"msgid,omitempty"`
		Arrived   time.Time `json:"arrived"`
		Date      time.Time `json:"date"`
	}{n, string(ref), m.box, m.direction, m.author, m.msgid, w.now, w.now})
	w.put(k("mi", n), string(offsets))
	w.put(k("mh", m.ref.Sum, n), "")
	if m.msgid != "" {
		w.put(k("ms", m.box, m.msgid, n), "")
	}
	w.bytes[n] = m.ref.Sum
	return n
}

// fill writes a store with something of every kind that format 0 knew.
func (w *former) fill(messages, lines int) {
	const one, two = "protocollo@pec.example", "ufficio@pec.example"
	mario, lucia := w.person("mario"), w.person("lucia")
	all := make([]*formerMessage, messages)
	for i := range all {
		m := &formerMessage{box: []string{one, two}[i%2], direction: "in", raw: text(fmt.Sprint("former", i))}
		m.msgid = fmt.Sprintf("former%d@pec.example", i)
		switch {
		case i%10 == 3:
			m.direction, m.author = "out", mario
		case i%10 == 7:
			m.direction, m.author, m.box, m.msgid = "own", lucia, "", ""
			m.raw = "Subject: a draft without an id\r\n\r\n" + fmt.Sprint(i) + "\r\n"
		case i == 40:
			m.raw += strings.Repeat("large ", 300_000)
		}
		all[i] = m
	}
	w.store(all)
	doomed := w.folder(one, lucia, "custom", "away")
	for i, m := range all {
		w.now = w.now.Add(7 * time.Minute)
		n := w.record(m)
		switch m.direction {
		case "out":
			uid := w.file(w.folder(m.box, 0, "sent", ""), n, uint64(m.ref.Size), m.ix, mario, 1)
			w.file(w.folder("", mario, "sent", ""), n, uint64(m.ref.Size), m.ix, mario, 0)
			w.json(k("gc", w.folder(m.box, 0, "sent", "").ID, uid), []string{"$PecAccepted"})
			w.json(k("mo", mario, m.msgid), map[string]any{"submitted": true, "message": n,
				"places": []map[string]any{{"folder": w.folder(m.box, 0, "sent", "").ID, "uid": uid}}})
		case "own":
			w.file(w.folder("", lucia, "drafts", ""), n, uint64(m.ref.Size), m.ix, lucia, 3)
		default:
			in := w.folder(m.box, 0, "inbox", "")
			uid := w.file(in, n, uint64(m.ref.Size), m.ix, 0, 0)
			if i%4 == 0 {
				w.put(k("gp", in.ID, lucia, uid), "\x01")
				w.change(in, uid, 2, lucia)
			}
			if i%8 == 0 {
				w.file(w.folder(m.box, lucia, "custom", "pratiche/2026"), n, uint64(m.ref.Size), m.ix, lucia, 0)
				w.put(k("h", in.ID, mario, uid), "")
				w.change(in, uid, 4, mario)
			}
			w.json(k("f", in.ID), in)
		}
		if i == 20 { // left over of a folder that went
			w.put(k("mp", n, doomed.ID+1000, uint32(1)), "")
		}
		if i == 30 { // bytes that two records name
			w.record(&formerMessage{box: m.box, direction: "in", raw: m.raw, msgid: m.msgid, ref: m.ref, ix: m.ix})
		}
	}
	in := w.folder(one, 0, "inbox", "")
	w.put(k("v", in.ID, lucia), string(binary.BigEndian.AppendUint32([]byte{1}, in.UIDValidity)))
	w.put(k("su", lucia, "PEC/"+one), "1")
	w.put(k("r", "relay")+"c/"+one, `{"uidvalidity":7,"uid":1000}`)
	for i := range lines {
		w.auditLine(AuditLine{Actor: "mario", Event: fmt.Sprint("line-", i), Box: one, Result: "done", From: "192.0.2.1",
			More: map[string]string{"pin": "right"}})
	}
	w.flush()
	if err := w.db.Close(); err != nil {
		w.t.Fatal(err)
	}
}
