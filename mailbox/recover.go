package mailbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"pecgate/mailbox/mime"
	"pecgate/mailbox/segment"
)

// Recovered is the direction of a message whose bytes were found without a
// record: a stop came between the two. Nobody was promised it, but it is never
// lost. It is no message that arrived: the provider's copy is fetched again and
// filed for its readers as if this one were not there.
const Recovered Direction = "recovered"

// Found says what Recover did.
type Found struct {
	Looked  int // messages whose bytes stand in the segments
	Filed   int // made recovered messages
	Waiting int // nobody is known to file them for: they are found again
	Doubles int // stand twice with one origin, and have a record
	Dropped int // the gateway wrote them and makes them anew
}

// Bounds of what Recover remembers between looking and filing.
const (
	maxOrphans      = 10000
	maxOrphanOrigin = 16 << 20 // bytes of their sidecars
)

// orphan is bytes that no record named when they were met.
type orphan struct {
	ref, copy segment.Ref
	origin    []byte
	at        time.Time
}

// errEnough ends a walk that has found as much as is remembered.
var errEnough = errors.New("mailbox: enough")

// Recover finishes removals that a stop has interrupted, then looks at all
// stored bytes and makes a message of those that have no record: in the folder
// of anomalies of the mailbox that their origin names, for the administrator
// alone. admin says who that is for a mailbox ("" for what belongs to none, and
// filed into the administrator's own INBOX); "" as answer means nobody yet.
//
// It runs beside everything else, once after each Open. It may be ended and
// called again at any time: what it has filed has a record. Messages that are
// between bytes and record are waited for.
func (s *Store) Recover(ctx context.Context, admin func(box string) (login string)) (Found, error) {
	var found Found
	if err := s.finishRemovals(ctx); err != nil {
		return found, err
	}
	waiting := map[[16]byte]bool{}
	for {
		looked := 0
		orphans, full, err := s.orphans(ctx, waiting, &looked)
		found.Looked = looked
		if err != nil && !errors.Is(err, segment.ErrCorrupt) {
			return found, fmt.Errorf("look for bytes without a record: %w", err)
		}
		damage := err
		if err := s.flight.landed(ctx); err != nil {
			return found, err
		}
		for i := range orphans {
			if err := s.fileOrphan(ctx, &orphans[i], admin, &found, waiting); err != nil {
				return found, fmt.Errorf("recover a message: %w", err)
			}
		}
		if !full {
			return found, damage // of the segments; everything readable was looked at
		}
	}
}

func placeID(ref segment.Ref) (id [16]byte) {
	copy(id[:], placeKey(ref)[len("mb/"):])
	return id
}

// orphans walks the segments for bytes without a record, but for those in
// passed. full: there may be more.
func (s *Store) orphans(ctx context.Context, passed map[[16]byte]bool, looked *int) (out []orphan, full bool, err error) {
	var entries []segment.Entry
	origins := 0
	judge := func() error {
		err := s.View(ctx, func(tx *Tx) error {
			for _, e := range entries {
				known, err := tx.accounted(e.Ref, e.Copy)
				if err != nil {
					return err
				}
				if !known && !passed[placeID(e.Ref)] {
					out = append(out, orphan{ref: e.Ref, copy: e.Copy, origin: e.Sidecar, at: e.Time})
					origins += len(e.Sidecar)
				}
			}
			return nil
		})
		entries = entries[:0]
		if err == nil && (len(out) >= maxOrphans || origins >= maxOrphanOrigin) {
			err = errEnough
		}
		return err
	}
	err = s.bytes.Walk(ctx, func(e segment.Entry) error {
		*looked++
		if e.Removed {
			return nil
		}
		if entries = append(entries, e); len(entries) < batch {
			return nil
		}
		return judge()
	})
	if err == nil || errors.Is(err, segment.ErrCorrupt) {
		err = errors.Join(err, judge())
	}
	if errors.Is(err, errEnough) {
		return out, true, nil
	}
	return out, false, err
}

// accounted tells whether a record, or a removal under way, names a message at
// one of its places.
func (tx *Tx) accounted(ref, copied segment.Ref) (bool, error) {
	for _, r := range []segment.Ref{ref, copied} {
		if r.Segment == 0 {
			continue
		}
		ids, err := tx.named(r)
		if err != nil || len(ids) > 0 {
			return len(ids) > 0, err
		}
		if doomed, err := tx.has(doomedKey(r)); err != nil || doomed {
			return doomed, err
		}
	}
	return false, nil
}

// Ends of the transaction that files an orphan.
var (
	errAccounted = errors.New("mailbox: it has a record")
	errDouble    = errors.New("mailbox: it stands elsewhere, with a record")
)

// fileOrphan makes a recovered message of an orphan, unless it has got a record.
func (s *Store) fileOrphan(ctx context.Context, o *orphan, admin func(string) string, found *Found, waiting map[[16]byte]bool) error {
	var origin Origin
	why := "bytes without a record"
	if err := json.Unmarshal(o.origin, &origin); err != nil {
		origin, why = Origin{}, "bytes without a record; their origin cannot be read"
	}
	if origin.At.IsZero() {
		origin.At = o.at.UTC()
	}
	if origin.generated() {
		found.Dropped++
		return s.dropOrphan(ctx, o)
	}
	login := admin(strings.ToLower(origin.Box))
	if login == "" {
		waiting[placeID(o.ref)] = true
		found.Waiting++
		return nil
	}
	st, err := s.again(o.ref, origin)
	if errors.Is(err, segment.ErrNotFound) || errors.Is(err, segment.ErrCorrupt) {
		// Gone since, or damaged: the check of the segments tells of the latter.
		waiting[placeID(o.ref)] = true
		found.Waiting++
		return nil
	}
	if err != nil {
		return err
	}
	defer st.Close() // read-only handle: nothing to lose
	_, err = s.record(ctx, st, func(tx *Tx, m *Message) error {
		if known, err := tx.accountedBefore(m.ID, o); err != nil {
			return err
		} else if known {
			return errAccounted
		}
		if double, err := tx.double(m); err != nil {
			return err
		} else if double {
			return errDouble
		}
		who, err := tx.EnsurePerson(login)
		if err != nil {
			return err
		}
		k := FolderKey{Box: m.Box, Role: RoleAnomalies}
		if m.Box == "" {
			k = FolderKey{Owner: who, Role: RoleInbox}
		}
		m.Was, m.Direction, m.Reason = origin.Direction, Recovered, why
		err = tx.Audit(AuditLine{Actor: "store", Event: "recovered", Box: m.Box, Subject: m.Submission, Reason: why, More: map[string]string{"sha256": m.SHA256()}})
		if err != nil {
			return err
		}
		_, _, err = tx.File(k, m, Filing{Audience: who, Private: true})
		return err
	})
	switch {
	case errors.Is(err, errAccounted):
		return nil
	case errors.Is(err, errDouble):
		waiting[placeID(o.ref)] = true
		found.Doubles++
		return nil
	case err != nil:
		return err
	}
	found.Filed++
	return nil
}

// dropOrphan notes an orphan that the gateway wrote itself for removal: whoever
// asks for the next one of its kind writes it from the records.
func (s *Store) dropOrphan(ctx context.Context, o *orphan) error {
	ref, err := o.ref.MarshalBinary()
	if err != nil {
		return err
	}
	return s.Update(ctx, func(tx *Tx) error {
		if known, err := tx.accounted(o.ref, o.copy); err != nil || known {
			return err
		}
		return tx.w.Put(doomedKey(o.ref), ref)
	})
}

// again is a message whose bytes are durable already.
func (s *Store) again(ref segment.Ref, origin Origin) (*Stored, error) {
	r, err := s.bytes.Open(ref)
	if err != nil {
		return nil, err
	}
	ix, err := mime.Parse(r, ref.Size, mime.Limits{})
	if err != nil {
		return nil, joinClose(err, r)
	}
	fields, err := makeFields(r, ix)
	if err != nil {
		return nil, joinClose(err, r)
	}
	return &Stored{s: s, Origin: origin, Ref: ref, Index: ix, reader: r, fields: fields}, nil
}

// accountedBefore is accounted without the record that is being made.
func (tx *Tx) accountedBefore(id MessageID, o *orphan) (bool, error) {
	ids, err := tx.named(o.ref)
	if err != nil {
		return false, err
	}
	for _, other := range ids {
		if other != id {
			return true, nil
		}
	}
	if doomed, err := tx.has(doomedKey(o.ref)); err != nil || doomed {
		return doomed, err
	}
	if o.copy.Segment == 0 {
		return false, nil
	}
	return tx.accounted(o.copy, segment.Ref{})
}

// double tells whether another record has the same bytes of the same origin: a
// message that a sweep has copied, and whose first place nothing says is left
// over any more.
func (tx *Tx) double(m *Message) (bool, error) {
	ids, err := tx.ByContent(m.Ref.Sum)
	if err != nil {
		return false, err
	}
	for _, id := range ids {
		if id == m.ID {
			continue
		}
		other, err := tx.Message(id)
		if err != nil {
			return false, err
		}
		same := other.Direction == m.Direction || other.Was == m.Direction
		if same && other.Arrived.Equal(m.Arrived) && strings.EqualFold(other.Box, m.Box) {
			return true, nil
		}
	}
	return false, nil
}
