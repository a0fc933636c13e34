package mailbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// What people do in folders, as audit lines: who read a message first, who took
// one away. The lines are durable with the change, those of reading also
// without one.

type peerKey struct{}

// WithPeer names the address, without port, from which the person acts whose
// calls get this context. The audit lines bear it.
func WithPeer(ctx context.Context, address string) context.Context {
	return context.WithValue(ctx, peerKey{}, address)
}

func peer(ctx context.Context) string {
	address, _ := ctx.Value(peerKey{}).(string)
	return address
}

// actor is the login of a person, for audit lines.
func (tx *Tx) actor(p Person) (string, error) {
	login, err := tx.Login(p)
	if errors.Is(err, ErrNotFound) {
		return fmt.Sprintf("person %d", p), nil
	}
	return login, err
}

// auditRemovals tells what a person took out of a folder; own is the result for
// those that are gone from a folder of their own.
func (tx *Tx) auditRemovals(ctx context.Context, f *folder, p Person, went *removals, own string) error {
	return errors.Join(
		tx.auditDeletion(ctx, f, p, own, went.own),
		tx.auditDeletion(ctx, f, p, "hidden", went.hidden), // for the others it stays
		tx.auditDeletion(ctx, f, p, "removed for all", went.forAll))
}

// auditDeletion tells that a person took messages out of a folder: expunged,
// hidden, moved, or gone with the folder.
func (tx *Tx) auditDeletion(ctx context.Context, f *folder, p Person, result string, ids []MessageID) error {
	if len(ids) == 0 {
		return nil
	}
	actor, err := tx.actor(p)
	if err != nil {
		return err
	}
	l := AuditLine{
		Actor: actor, Event: "deletion", Box: f.Key.Box, Result: result, From: peer(ctx),
		More: map[string]string{
			"folder": string(f.Key.Role), "folder_id": strconv.FormatUint(uint64(f.ID), 10),
			"messages": numbers(ids), "count": strconv.Itoa(len(ids)),
		},
	}
	if len(ids) == 1 {
		m, err := tx.Message(ids[0])
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		if err == nil {
			l.Subject = m.Submission
		}
	}
	return tx.Audit(l)
}

// numbers writes message numbers in order: "3-17,20". A batch of them
// fits into an audit line; those of a whole folder may be cut.
func numbers(ids []MessageID) string {
	ids = slices.Compact(slices.Sorted(slices.Values(ids)))
	var b strings.Builder
	for i := 0; i < len(ids); {
		j := i
		for j+1 < len(ids) && ids[j+1] == ids[j]+1 {
			j++
		}
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprint(&b, uint64(ids[i]))
		if j > i {
			fmt.Fprintf(&b, "-%d", uint64(ids[j]))
		}
		i = j + 1
	}
	return b.String()
}

// toBeRead tells whether it is worth a line that a person reads a message: one
// of a PEC mailbox that the person did not write and has not read before.
func (tx *Tx) toBeRead(p Person, id MessageID) (*Message, error) {
	known, err := tx.has(key("mr", id, p))
	if err != nil || known {
		return nil, err
	}
	m, err := tx.Message(id)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil || m.Box == "" || m.Direction == Own || m.Author == p {
		return nil, err
	}
	return m, nil
}

// auditReading tells, once for each person and message, that the person read
// it.
func (tx *Tx) auditReading(ctx context.Context, p Person, id MessageID) error {
	m, err := tx.toBeRead(p, id)
	if err != nil || m == nil {
		return err
	}
	actor, err := tx.actor(p)
	if err != nil {
		return err
	}
	if err := tx.w.Put(key("mr", id, p), nil); err != nil {
		return err
	}
	return tx.Audit(AuditLine{
		Actor: actor, Event: "reading", Box: m.Box, Subject: m.Submission, Result: "first", From: peer(ctx),
		More: map[string]string{"message": strconv.FormatUint(uint64(id), 10), "sha256": m.SHA256()},
	})
}

// NoteReading has the audit log tell that a person reads messages, before their
// bytes are given out. What was told before, or needs not be told, costs one
// look into the records. Where nothing can be written, ErrNoSpace included, the
// next reading tells it.
func (s *Store) NoteReading(ctx context.Context, p Person, ids []MessageID) error {
	var first []MessageID
	err := s.View(ctx, func(tx *Tx) error {
		first = first[:0]
		for _, id := range ids {
			m, err := tx.toBeRead(p, id)
			if err != nil {
				return err
			}
			if m != nil {
				first = append(first, id)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for part := range slices.Chunk(first, batch) {
		err := s.Update(ctx, func(tx *Tx) error {
			for _, id := range part {
				if err := tx.auditReading(ctx, p, id); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
