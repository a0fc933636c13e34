package mailbox

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"pecgate/mailbox/audit"
	"pecgate/mailbox/events"
	"pecgate/mailbox/kv"
	"pecgate/mailbox/segment"
)

// FsckOptions says how far a check of the whole store goes.
type FsckOptions struct {
	Deep     bool                    // every message is read and hashed
	Repair   bool                    // what is safe is put right: see FsckReport
	Progress func(thousandths int64) // of the whole work; nil: nobody is told
}

// Trouble is what kind of thing a check has found. Further ones are those of
// the segments (segment.Problem).
type Trouble string

// The first group is damage, the second is harmless.
const (
	BadRecord    Trouble = "record that cannot be read"
	BadKey       Trouble = "key that is malformed"
	NoRecords    Trouble = "records that cannot be opened"
	NoSegments   Trouble = "segments that cannot be opened"
	NoFile       Trouble = "segment that records name and that is missing"
	NoBytes      Trouble = "message whose bytes are not where its record says"
	RemovedBytes Trouble = "message whose bytes are marked as removed"
	DoomedBytes  Trouble = "removal noted for the bytes of a message that is there"
	MissingKey   Trouble = "record without its index key"
	Dangling     Trouble = "index key that points to nothing"
	NoMessage    Trouble = "folder entry without its message"
	BadEntry     Trouble = "folder entry that contradicts its message"
	NoFolder     Trouble = "folder name without its folder"
	BadPerson    Trouble = "login and person that do not name each other"
	LowCounter   Trouble = "counter below what was given"
	BadUsage     Trouble = "counters of a mailbox that differ from its messages"
	OutOfFeed    Trouble = "change outside of the bounds of its feed"
	RegisterGap  Trouble = "register number that is missing"
	BadRegister  Trouble = "register number that its message does not bear"
	NoHold       Trouble = "mark of a legal hold that is not there"
	BadAudit     Trouble = "audit log"

	NoRecord     Trouble = "bytes without a record, of which the next start makes a recovered message"
	LeftOver     Trouble = "left over of an entry or folder that is gone"
	GoneMessage  Trouble = "note of another room about a message that is gone"
	UnknownKind  Trouble = "records of a kind that is not known"
	NotRecounted Trouble = "counters of mailboxes were not compared, index keys are wrong"
)

// Harmless says whether nothing is lost or damaged.
func (t Trouble) Harmless() bool {
	switch t {
	case NoRecord, LeftOver, GoneMessage, UnknownKind, NotRecounted:
		return true
	}
	return segment.Problem(t).Harmless()
}

// FsckFinding is one thing a check has to say. It holds no byte of a message.
// JSON keys are stable.
type FsckFinding struct {
	What     Trouble `json:"what"`
	Where    string  `json:"where"`
	Detail   string  `json:"detail,omitempty"`
	Harmless bool    `json:"harmless"`
	Repaired bool    `json:"repaired"`
}

// FsckCount is how often one kind of thing was found, and put right.
type FsckCount struct {
	Found    int64 `json:"found"`
	Repaired int64 `json:"repaired"`
}

// maxFindings is how many findings a report lists; all are counted.
const maxFindings = 1000

// FsckReport is what a check of the whole store found. JSON keys are stable.
//
// A repair raises or recomputes counters and takes away index keys that point
// to nothing, and a note of a removal that a record contradicts. It never
// touches bytes, the record of a message, a folder's entry or the audit log.
// Where lost or damaged bytes keep the store from opening, it lets it open
// without them: it adds files and changes none, and what is lost is still told.
type FsckReport struct {
	Segments int                   `json:"segments"`
	Messages int64                 `json:"messages"` // records of messages
	Bytes    int64                 `json:"bytes"`    // of the messages in the segments
	Records  int64                 `json:"records"`  // of all kinds that were looked at
	Audit    int64                 `json:"audit_entries"`
	Orphans  int64                 `json:"without_record"` // messages in the segments that no record names
	Deep     bool                  `json:"deep"`
	Damage   int64                 `json:"damage"`   // findings that are not harmless
	Harmless int64                 `json:"harmless"` // the others
	Repaired int64                 `json:"repaired"` // findings of both sorts that were put right
	Left     int64                 `json:"left"`     // damage that was not
	Counts   map[Trouble]FsckCount `json:"counts"`
	Findings []*FsckFinding        `json:"findings"` // damage first; the first 1,000

	harmless []*FsckFinding // until the end
}

// OK tells that nothing is damaged, any more.
func (r *FsckReport) OK() bool { return r.Left == 0 }

func (r *FsckReport) find(what Trouble, where, detail string) *FsckFinding {
	f := &FsckFinding{What: what, Where: where, Detail: detail, Harmless: what.Harmless()}
	c := r.Counts[what]
	c.Found++
	r.Counts[what] = c
	list := &r.Findings
	if f.Harmless {
		r.Harmless++
		list = &r.harmless
	} else {
		r.Damage++
		r.Left++
	}
	if len(*list) < maxFindings {
		*list = append(*list, f)
	}
	return f
}

func (r *FsckReport) repaired(f *FsckFinding) {
	c := r.Counts[f.What]
	c.Repaired++
	r.Counts[f.What] = c
	f.Repaired = true
	r.Repaired++
	if !f.Harmless {
		r.Left--
	}
}

// Fsck checks the whole store below o.Dir, which nobody has open: segments,
// records, how they fit together, and the audit log. It does not do what Open
// does: unfinished writes stay, nothing is brought to a new format, nothing is
// recovered. Damage is in the report, also where it would keep Open from
// opening. An error is one of reading or of ctx, or segment.ErrInUse or
// kv.ErrInUse.
//
// Memory is bounded by the number of folders and mailboxes.
func Fsck(ctx context.Context, o Options, how FsckOptions) (_ *FsckReport, err error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Events == nil {
		o.Events = events.Discard()
	}
	if o.Zone == nil {
		o.Zone = time.UTC
	}
	if o.Free == nil {
		o.Free = func() (DiskFree, error) { return diskFree(o.Dir) }
	}
	// The record store writes a little when it is opened, and dies on a full disk.
	if d, err := o.Free(); err != nil {
		return nil, err
	} else if d.Bytes < o.MinFree {
		return nil, noSpace(DiskSpace{Free: d.Bytes, Floor: o.MinFree})
	}
	o.MinFree = 0 // nobody is accepted from here on
	if _, err := os.Stat(filepath.Join(o.Dir, "records")); err != nil {
		return nil, fmt.Errorf("check the store: %w", err) // else it would be made
	}
	if how.Progress == nil {
		how.Progress = func(int64) {}
	}
	x := &fsck{
		ctx: ctx, o: how, r: &FsckReport{Deep: how.Deep, Counts: map[Trouble]FsckCount{}, Findings: []*FsckFinding{}},
		s: &Store{opt: o, failed: make(chan error, 1)}, top: map[string]uint64{}, named: map[FolderID]bool{}, low: map[FolderID]bool{},
	}
	disk := newFrozen(filepath.Join(o.Dir, "segments"))
	if err := disk.hold(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("check the segments: %w", err)
	}
	defer func() { err = errors.Join(err, disk.free()) }()
	records, err := openRecords(o, false)
	switch {
	case errors.Is(err, kv.ErrCorrupt):
		x.r.find(NoRecords, "records", err.Error())
	case err != nil:
		return nil, err
	default:
		x.s.records = records
		defer func() { err = errors.Join(err, records.Close()) }()
		if err := x.format(); err != nil {
			return nil, err
		}
	}
	if err := x.segments(disk); err != nil {
		return nil, err
	}
	if x.s.records != nil {
		if x.s.bytes != nil {
			defer func() { err = errors.Join(err, x.s.bytes.Close()) }()
		}
		for _, step := range []func() error{x.orphans, x.records, x.recount, x.auditLog} {
			if err := step(); err != nil {
				return nil, err
			}
		}
	}
	room := maxFindings - len(x.r.Findings)
	x.r.Findings = append(x.r.Findings, x.r.harmless[:min(room, len(x.r.harmless))]...)
	how.Progress(1000)
	return x.r, nil
}

// fsck is one check under way.
type fsck struct {
	ctx context.Context
	o   FsckOptions
	r   *FsckReport
	s   *Store // made here, without what Open does; records and bytes may be nil

	tx    *Tx   // the state that is being looked at
	fixes []fix // of what was found in it

	done   int               // kinds of records that were looked at
	named  map[FolderID]bool // folders that a name leads to
	low    map[FolderID]bool // folders whose counters were reported
	run    folderRun
	reg    registerRun
	top    map[string]uint64 // the highest number seen, by the name of its counter
	unsure bool              // keys by which mailboxes are recounted are wrong
}

// fix puts a finding right.
type fix struct {
	finding *FsckFinding
	do      func(*Tx) error
}

// find reports; with a fix it is put right if that is wanted.
func (x *fsck) find(what Trouble, where, detail string, do func(*Tx) error) {
	f := x.r.find(what, where, detail)
	if do != nil && x.o.Repair {
		x.fixes = append(x.fixes, fix{f, do})
	}
}

// gone is the fix that takes a key away.
func gone(k []byte) func(*Tx) error {
	k = append([]byte(nil), k...)
	return func(tx *Tx) error { return tx.w.Delete(k) }
}

// view calls fn with x.tx set, then puts right what it found.
func (x *fsck) view(fn func() error) error {
	err := x.s.View(x.ctx, func(tx *Tx) error {
		x.tx = tx
		return fn()
	})
	x.tx = nil
	if err != nil || len(x.fixes) == 0 {
		return err
	}
	err = x.s.Update(x.ctx, func(tx *Tx) error {
		for _, f := range x.fixes {
			if err := f.do(tx); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("repair: %w", err)
	}
	for _, f := range x.fixes {
		x.r.repaired(f.finding)
	}
	x.fixes = x.fixes[:0]
	return nil
}

// fsckChunk is how many records are looked at in one state.
const fsckChunk = 5000

// scan calls look for all keys of a prefix, in pieces, so that what is found
// is put right in bounded transactions.
func (x *fsck) scan(prefix []byte, look func(k, v []byte) error) error {
	var from []byte
	for more := true; more; {
		more = false
		err := x.view(func() error {
			n := 0
			return x.tx.r.Scan(prefix, from, func(k, v []byte) (bool, error) {
				if n++; n > fsckChunk || len(x.fixes) >= batch {
					from, more = append([]byte(nil), k...), true
					return false, nil
				}
				x.r.Records++
				return true, look(k, v)
			})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// format refuses records of another format, as Open does.
func (x *fsck) format() error {
	return x.view(func() error {
		have, err := x.tx.number("plan")
		if err == nil && have < plan {
			err = ErrOlder
		}
		return err
	})
}

// recount compares the counters of all mailboxes.
func (x *fsck) recount() error {
	if x.unsure {
		x.find(NotRecounted, "mailboxes", "", nil)
		return nil
	}
	wrong, err := x.s.Recount(x.ctx)
	if err != nil {
		return fmt.Errorf("recount: %w", err)
	}
	for len(wrong) > 0 {
		n := min(batch, len(wrong))
		err := x.view(func() error {
			for _, w := range wrong[:n] {
				detail := fmt.Sprintf("%d messages and %d bytes instead of %d and %d", w.Counted.Messages, w.Counted.Bytes, w.Correct.Messages, w.Correct.Bytes)
				x.find(BadUsage, mailboxName(w.Box), detail, func(tx *Tx) error {
					b := binary.BigEndian.AppendUint64(nil, uint64(w.Correct.Messages))
					return tx.w.Put(key("q", strings.ToLower(w.Box)), binary.BigEndian.AppendUint64(b, uint64(w.Correct.Bytes)))
				})
			}
			return nil
		})
		if err != nil {
			return err
		}
		wrong = wrong[n:]
	}
	return nil
}

func mailboxName(box string) string {
	if box == "" {
		return "what belongs to no mailbox"
	}
	return "mailbox " + box
}

// auditLog checks the audit log. It makes no key where there is none.
func (x *fsck) auditLog() error {
	file := filepath.Join(x.s.opt.Dir, auditKey)
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		x.r.find(BadAudit, auditKey, "the key is missing, the log was not checked")
		return nil
	}
	k, err := audit.OpenKey(file, "pecgate")
	if errors.Is(err, audit.ErrKey) {
		x.r.find(BadAudit, auditKey, err.Error())
		return nil
	}
	if err != nil {
		return fmt.Errorf("check the audit log: %w", err)
	}
	x.s.audit, err = audit.New(audit.Options{Prefix: []byte("a/"), Key: k, File: filepath.Join(x.s.opt.Dir, auditHeads), Now: x.s.opt.Now})
	if err != nil {
		return fmt.Errorf("check the audit log: %w", err)
	}
	report, err := x.s.VerifyAudit(x.ctx, func(done, total int64) { x.o.Progress(auditFrom + (1000-auditFrom)*done/max(total, 1)) })
	if err != nil {
		return fmt.Errorf("check the audit log: %w", err)
	}
	x.r.Audit = report.Size
	for _, n := range report.Faults {
		x.r.find(BadAudit, fmt.Sprintf("line %d", n.Entry), n.What)
	}
	if more := report.Faulty - int64(len(report.Faults)); more > 0 {
		x.r.find(BadAudit, "further lines", fmt.Sprintf("%d more faults: see `pecgate audit verify`", more))
	}
	return nil
}

// Where the parts of the work begin, in thousandths.
const (
	orphansFrom = 500
	recordsFrom = 600
	auditFrom   = 950
)
