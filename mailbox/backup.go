package mailbox

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"pecgate/mailbox/backup"
	"pecgate/mailbox/kv"
	"pecgate/mailbox/segment"
)

// backupRuns is the record n/ backups: by what the store knows the runs that
// its backup folders name. A store that was put back to an earlier state does
// not know the later ones.
type backupRuns struct {
	Store string      `json:"store"` // a random number; another one after a restore
	Runs  []backupRun `json:"runs"`  // the newest last
}

type backupRun struct {
	Token string    `json:"token"`
	At    time.Time `json:"at"`
}

// maxBackupRuns is how many are remembered. A folder that was not written to
// for longer gets everything again.
const maxBackupRuns = 400

// Backup sends a state of the store that is not older than the call to w, as
// backup.Folder takes it: what have names is left out. It runs beside everything
// else but sweeps, which wait. by says who asked: Actor and From of the audit
// line.
//
// First the heads of the audit log, then the records, then the messages: each
// may know more than the one before, and bytes without a record become a
// recovered message. audit.key is not sent, and nothing that is not in the store.
//
// Whoever takes the stream is told of an error in it; errors that it may not see
// in full go to the caller alone.
func (s *Store) Backup(ctx context.Context, w io.Writer, have backup.Have, by AuditLine) error {
	out, err := backup.NewSender(w)
	if err != nil {
		return err
	}
	if err := s.backup(ctx, out, have, by); err != nil {
		text := "its log says why"
		if errors.Is(err, backup.ErrOther) || errors.Is(err, ErrNoSpace) {
			text = err.Error()
		} else if ctx.Err() != nil {
			text = "it is stopping"
		}
		_ = out.Fault(text) // the reader may be gone
		return fmt.Errorf("backup: %w", s.watch(err))
	}
	return nil
}

// BackupTo is Backup into a folder, by the process that has the store open.
func (s *Store) BackupTo(ctx context.Context, f *backup.Folder, by AuditLine) (*backup.Report, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r, w := io.Pipe()
	sent := make(chan error, 1)
	go func() {
		err := s.Backup(ctx, w, f.Have(), by)
		sent <- errors.Join(err, w.CloseWithError(err))
	}()
	report, err := f.Take(ctx, r)
	cancel() // whoever does not take any more gets no more
	_ = r.CloseWithError(context.Canceled)
	serr := <-sent
	if err != nil && serr != nil && !errors.Is(serr, context.Canceled) {
		err = serr // the cause: what arrived is what was left of it
	}
	if nerr := s.BackedUp(context.WithoutCancel(ctx), by, report); err == nil {
		err = nerr
	}
	return report, err
}

func (s *Store) backup(ctx context.Context, out *backup.Sender, have backup.Have, by AuditLine) error {
	// Bytes that the state to be copied names stay where they are.
	s.copying.RLock()
	defer s.copying.RUnlock()
	held, err := s.bytes.Hold(ctx)
	if err != nil {
		return err
	}
	defer held.Release()
	begin, err := s.beginBackup(ctx, have, by)
	if err != nil {
		return err
	}
	if begin.Anew {
		have = backup.Have{}
	}
	had := map[uint64]int64{}
	for _, e := range have.Segments {
		had[e.Segment] = e.Size
	}
	extents, err := held.Extents()
	if err != nil {
		return err
	}
	for _, e := range extents {
		begin.Bytes += max(0, e.Size-had[e.Segment])
	}
	if err := out.Begin(begin); err != nil {
		return err
	}
	if err := s.sendAudit(out); err != nil {
		return err
	}
	if err := s.sendRecords(ctx, out, have.Since); err != nil {
		return err
	}
	// Anew: every record that was sent has its bytes in these.
	if extents, err = held.Extents(); err != nil {
		return err
	}
	sent := extents[:0]
	for _, e := range extents {
		there, err := sendSegment(ctx, out, held, e, had[e.Segment])
		if err != nil {
			return err
		}
		if there {
			sent = append(sent, e)
		}
	}
	return out.End(backup.End{Segments: sent})
}

// beginBackup notes the run in the records, so that the state that is copied
// has it.
func (s *Store) beginBackup(ctx context.Context, have backup.Have, by AuditLine) (backup.Begin, error) {
	token := randomName()
	var begin backup.Begin
	err := s.Update(ctx, func(tx *Tx) error {
		known, err := tx.backupRuns()
		if err != nil {
			return err
		}
		if known.Store == "" {
			known.Store = randomName()
		}
		if have.Store != "" && have.Store != known.Store {
			return backup.ErrOther
		}
		begin = backup.Begin{Store: known.Store, Token: token, At: tx.now.UTC().Truncate(time.Second)}
		begin.Anew = have.Store != "" && !slices.ContainsFunc(known.Runs, func(r backupRun) bool { return r.Token == have.Token })
		known.Runs = append(known.Runs, backupRun{token, begin.At})
		known.Runs = known.Runs[max(0, len(known.Runs)-maxBackupRuns):]
		if err := tx.putJSON(key("n", "backups"), known); err != nil {
			return err
		}
		by.Event, by.Result, by.Subject = "backup", "begun", token
		return tx.Audit(by)
	})
	return begin, err
}

func (tx *Tx) backupRuns() (known backupRuns, err error) {
	if err = tx.getJSON(key("n", "backups"), &known); errors.Is(err, ErrNotFound) {
		err = nil
	}
	return known, err
}

func randomName() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// BackedUp writes the end of a run into the audit log: the sum of its manifest,
// or that it failed.
func (s *Store) BackedUp(ctx context.Context, by AuditLine, r *backup.Report) error {
	by.Event, by.Result = "backup", "failed"
	if r != nil {
		by.Result = "done"
		by.More = map[string]string{"folder": r.Folder, "run": fmt.Sprint(r.Run), "sha256": r.Manifest, "whole": fmt.Sprint(r.Whole)}
	}
	return s.Update(ctx, func(tx *Tx) error { return tx.Audit(by) })
}

// sendAudit sends what checks the audit log from outside of it. Its key stays.
func (s *Store) sendAudit(out *backup.Sender) error {
	for _, f := range []struct{ kind, file string }{{backup.KindKeys, auditKey + ".pub"}, {backup.KindHeads, auditHeads}} {
		b, err := os.ReadFile(filepath.Join(s.opt.Dir, f.file))
		if err != nil {
			return fmt.Errorf("copy the audit log's %s: %w", f.kind, err)
		}
		if err := out.Part(backup.Head{Kind: f.kind}); err != nil {
			return err
		}
		if _, err := out.Write(b); err != nil {
			return err
		}
		if err := out.EndPart(0); err != nil {
			return err
		}
	}
	return nil
}

// sendRecords sends the records that were written after a position, or all.
func (s *Store) sendRecords(ctx context.Context, out *backup.Sender, since uint64) error {
	part := &lazyPart{out: out, head: backup.Head{Kind: backup.KindRecords, Since: since}}
	next, err := s.records.Backup(ctx, part, since)
	if errors.Is(err, kv.ErrSince) && !part.begun {
		part.head.Since = 0
		next, err = s.records.Backup(ctx, part, 0)
	}
	if err != nil {
		return fmt.Errorf("copy the records: %w", err)
	}
	return out.EndPart(next)
}

// lazyPart begins its part with the first byte.
type lazyPart struct {
	out   *backup.Sender
	head  backup.Head
	begun bool
}

func (p *lazyPart) Write(b []byte) (int, error) {
	if !p.begun {
		p.begun = true
		if err := p.out.Part(p.head); err != nil {
			return 0, err
		}
	}
	return p.out.Write(b)
}

// sendSegment sends what of a segment is not there yet; there is false when it
// went meanwhile: then nothing in the state names it.
func sendSegment(ctx context.Context, out *backup.Sender, held *segment.Held, e segment.Extent, from int64) (there bool, err error) {
	if from == e.Size {
		return true, nil
	}
	if from > e.Size {
		from = 0 // it is not the one that was copied
	}
	f, err := held.Open(e.Segment)
	if errors.Is(err, segment.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := out.Part(backup.Head{Kind: backup.KindSegment, Segment: e.Segment, From: from}); err != nil {
		return false, err
	}
	buf := make([]byte, 256<<10)
	for off := from; off < e.Size; {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		n, err := f.ReadAt(buf[:min(int64(len(buf)), e.Size-off)], off)
		if n == 0 {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return false, fmt.Errorf("copy segment %d at offset %d: %w", e.Segment, off, err)
		}
		if _, err := out.Write(buf[:n]); err != nil {
			return false, err
		}
		off += int64(n)
	}
	return true, out.EndPart(0)
}

// CheckBackup reads a backup and says what is wrong with it, without restoring
// it. Where its content can be read (src.Readable), every message that a record
// names must be in it with the bytes of its SHA-256.
func CheckBackup(ctx context.Context, src *backup.Source) (*backup.Checked, error) {
	return src.Check(ctx, func(k, v []byte) (ref segment.Ref, ok bool, err error) {
		if len(k) != len("m/")+8 || string(k[:2]) != "m/" {
			return ref, false, nil
		}
		var m Message
		err = json.Unmarshal(v, &m)
		return m.Ref, true, err
	})
}
