package mailbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"

	"pecgate/mailbox/kv"
	"pecgate/mailbox/segment"
)

// Look reads what a message without a record is, outside of any transaction;
// several run at once. What it returns files the message in the transaction
// that makes its record: it may fill the message's fields, and may be called
// again. nil says that nobody knows where the message belongs: it stays without
// a record, and Recover shows it to the administrator.
type Look func(ctx context.Context, st *Stored) (file func(*Tx, *Message) error, err error)

// Refiled says what Refile did. JSON keys are stable.
type Refiled struct {
	Messages int64               `json:"messages"` // in the segments, removed ones not counted
	Removed  int64               `json:"removed"`  // removed ones, whose bytes are still there
	Filed    map[Direction]int64 `json:"filed"`    // got a record
	Doubles  int64               `json:"doubles"`  // stand twice with one origin: one record is enough
	Left     int64               `json:"left"`     // without a record still: the next start shows them to the administrator
	Damage   []string            `json:"damage"`   // places that cannot be read, or hold other bytes than their name says; the first 100
	Damaged  int64               `json:"damaged"`  // how many
}

func (r *Refiled) damage(format string, args ...any) {
	if r.Damaged++; len(r.Damage) < 100 {
		r.Damage = append(r.Damage, fmt.Sprintf(format, args...))
	}
}

// refileChunk is how many messages are read side by side, ahead of the
// transactions that record them.
const refileChunk = 80

// refilePart is how many messages one transaction records at first: 15 to 25
// keys each, of which it takes 1,000. It becomes less where that is too much.
const refilePart = 40

// refiling is one Refile under way.
type refiling struct {
	s    *Store
	look Look
	part int // how many messages one transaction records
	out  Refiled
}

// Refile makes a record of every message in the segments that has none, where
// look says how: submissions first, then what people put there, then what
// arrived, each in the order of arrival. A message whose bytes are not those of
// its name is told and left out. Nobody else may write to the store meanwhile.
//
// It may be ended and called again at any time: what it has filed has a record.
// progress, which may be nil, is told how many of how many messages are behind.
func (s *Store) Refile(ctx context.Context, look Look, progress func(done, total int64)) (Refiled, error) {
	w := &refiling{s: s, look: look, part: refilePart, out: Refiled{Filed: map[Direction]int64{}, Damage: []string{}}}
	err := w.run(ctx, progress)
	return w.out, err
}

func (w *refiling) run(ctx context.Context, progress func(done, total int64)) error {
	s := w.s
	if progress == nil {
		progress = func(int64, int64) {}
	}
	if err := s.finishRemovals(ctx); err != nil {
		return err
	}
	if err := s.clearList(ctx); err != nil {
		return err
	}
	total, err := w.listMissing(ctx)
	if err != nil {
		return fmt.Errorf("look for messages without a record: %w", err)
	}
	done, last := int64(0), ""
	for {
		next, err := s.nextListed(ctx, last, refileChunk)
		if err != nil {
			return fmt.Errorf("read the list of messages: %w", err)
		}
		if len(next) == 0 {
			break
		}
		if err := w.refile(ctx, next); err != nil {
			return fmt.Errorf("file messages: %w", err)
		}
		last = next[len(next)-1].line
		done += int64(len(next))
		progress(done, total)
	}
	return s.clearList(ctx)
}

// listMissing lists what has no record and returns how many that are.
func (w *refiling) listMissing(ctx context.Context) (total int64, err error) {
	s, out := w.s, &w.out
	list := listWriter{s: s}
	var entries []segment.Entry
	judge := func() error {
		var missing []listed
		err := s.View(ctx, func(tx *Tx) error {
			missing = missing[:0]
			for _, e := range entries {
				known, err := tx.accounted(e.Ref, e.Copy)
				if err != nil {
					return err
				}
				if known {
					continue
				}
				l := listed{Ref: e.Ref, At: e.Time.UTC(), Origin: e.Sidecar}
				if e.Copy.Segment != 0 {
					l.Copy = &e.Copy
				}
				missing = append(missing, l)
			}
			return nil
		})
		entries = entries[:0]
		for _, l := range missing {
			if err == nil {
				err = list.add(ctx, l)
			}
		}
		total += int64(len(missing))
		return err
	}
	err = s.bytes.Walk(ctx, func(e segment.Entry) error {
		if e.Removed {
			out.Removed++
			return nil
		}
		out.Messages++
		if entries = append(entries, e); len(entries) < batch {
			return nil
		}
		return judge()
	})
	if errors.Is(err, segment.ErrCorrupt) {
		for _, one := range eachOf(err) {
			out.damage("%v", one)
		}
		err = nil
	}
	if err == nil {
		err = judge()
	}
	if err == nil {
		err = list.flush(ctx)
	}
	return total, err
}

// eachOf takes joined errors apart.
func eachOf(err error) []error {
	if many, ok := err.(interface{ Unwrap() []error }); ok && strings.Contains(err.Error(), "\n") {
		return many.Unwrap()
	}
	return []error{err}
}

// ready is a message that was read and can be recorded.
type ready struct {
	l    *listed
	st   *Stored
	file func(*Tx, *Message) error
	err  error
}

// refile reads some messages side by side and records them in their order.
func (w *refiling) refile(ctx context.Context, some []listed) error {
	s, out := w.s, &w.out
	all := make([]ready, len(some))
	var readers sync.WaitGroup
	turn := make(chan struct{}, max(runtime.GOMAXPROCS(0), 2))
	for i := range some {
		turn <- struct{}{}
		readers.Go(func() {
			defer func() { <-turn }()
			all[i] = s.makeReady(ctx, &some[i], w.look)
		})
	}
	readers.Wait()
	defer func() {
		for _, r := range all {
			if r.st != nil {
				_ = r.st.Close() // read-only handle: nothing to lose
			}
		}
	}()
	good := all[:0:0]
	for _, r := range all {
		switch {
		case r.err != nil && (ctx.Err() != nil || s.Broken() != nil):
			return r.err
		case r.err != nil: // of this message alone
			out.damage("segment %d at offset %d: %v", r.l.Ref.Segment, r.l.Ref.Offset, r.err)
			out.Left++
		case r.file == nil:
			out.Left++
		default:
			good = append(good, r)
		}
	}
	for len(good) > 0 {
		part := good[:min(w.part, len(good))]
		filed, doubles := map[Direction]int64{}, int64(0)
		err := s.Update(ctx, func(tx *Tx) error {
			clear(filed)
			doubles = 0
			for _, r := range part {
				switch done, err := tx.refile(r); {
				case err != nil:
					return fmt.Errorf("segment %d at offset %d: %w", r.l.Ref.Segment, r.l.Ref.Offset, err)
				case done:
					filed[r.st.Origin.Direction]++
				default:
					doubles++
				}
			}
			return nil
		})
		if errors.Is(err, kv.ErrTooBig) {
			if len(part) > 1 {
				w.part = len(part) / 2
				continue
			}
			// No transaction can take it.
			out.damage("segment %d at offset %d: %v", part[0].l.Ref.Segment, part[0].l.Ref.Offset, err)
			out.Left++
			good = good[1:]
			continue
		}
		if err != nil {
			return err
		}
		for d, n := range filed {
			out.Filed[d] += n
		}
		out.Doubles += doubles
		good = good[len(part):]
	}
	return nil
}

// makeReady reads one message.
func (s *Store) makeReady(ctx context.Context, l *listed, look Look) ready {
	r := ready{l: l}
	var origin Origin
	if json.Unmarshal(l.Origin, &origin) != nil {
		return r // nobody knows anything of it
	}
	if origin.At.IsZero() {
		origin.At = l.At
	}
	if r.err = s.bytes.Verify(ctx, l.Ref); r.err != nil {
		return r
	}
	if r.st, r.err = s.again(l.Ref, origin); r.err != nil {
		r.st = nil
		return r
	}
	if origin.Direction == Own && !origin.generated() {
		r.file = refileOwn(r.st)
	} else {
		r.file, r.err = look(ctx, r.st)
	}
	return r
}

// refile records one message; false where it has a record or is one twice.
func (tx *Tx) refile(r ready) (bool, error) {
	var copied segment.Ref
	if r.l.Copy != nil {
		copied = *r.l.Copy
	}
	if known, err := tx.accounted(r.l.Ref, copied); err != nil || known {
		return false, err
	}
	o := r.st.Origin
	double, err := tx.double(&Message{Ref: r.l.Ref, Direction: o.Direction, Arrived: o.At, Box: o.Box})
	if err != nil || double {
		return false, err
	}
	_, err = tx.record(r.st, r.file)
	return err == nil, err
}

// refileOwn files what a person's client put into a folder, or a notice, where
// the origin says: what the person did with it afterwards is not known.
func refileOwn(st *Stored) func(*Tx, *Message) error {
	o := st.Origin
	if o.User == "" {
		return nil
	}
	return func(tx *Tx, m *Message) error {
		p, err := tx.EnsurePerson(o.User)
		if err != nil {
			return err
		}
		m.Author = p
		c, err := tx.OwnCopy(p, m.MessageID)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		if o.Folder != "" && m.MessageID != "" && c.Submitted {
			return nil // the sent copy stands for it
		}
		k := FolderKey{Box: o.Box, Owner: p, Role: Role(o.Folder), Name: o.Name}
		switch k.Role {
		case "":
			k.Role = RoleInbox // notices
		case RoleDrafts, RoleTrash:
		case RoleCustom:
			if k.Name == "" {
				k.Role = RoleInbox // as it was when names were not kept
			}
		case RoleInbox, RoleSent, RoleAcceptance, RoleOrdinaryAcceptance, RoleDelivery, RoleErrors, RoleAnomalies, RoleOutcomes:
			if k.Box != "" {
				k.Owner = 0 // in a shared folder, and seen by this person only
			}
		default:
			k.Role = RoleInbox
		}
		if k.Role == RoleInbox && k.Owner != 0 {
			k.Box, k.Name = "", ""
		}
		fid, uid, err := tx.File(k, m, Filing{Audience: p, Private: k.Shared(), For: p, Flags: []string{`\Seen`}})
		if err != nil || o.Folder == "" {
			return err
		}
		return tx.noteAppended(p, m.MessageID, Place{Folder: fid, UID: uid})
	}
}

// FileRecovered shows a message to one person alone, as Recover does: in the
// folder of anomalies of its mailbox, or in the person's INBOX where it belongs
// to none.
func (tx *Tx) FileRecovered(m *Message, who Person, why string) error {
	m.Was, m.Direction, m.Reason = m.Direction, Recovered, why
	k := FolderKey{Box: m.Box, Role: RoleAnomalies}
	if m.Box == "" {
		k = FolderKey{Owner: who, Role: RoleInbox}
	}
	_, _, err := tx.File(k, m, Filing{Audience: who, Private: true})
	return err
}
