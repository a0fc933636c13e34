package mailbox

import (
	"context"
	"encoding/binary"
	"errors"

	"pecgate/mailbox/kv"
)

// Signatures calls fn for each of the entries that has a signature, by its
// number among places, in their order. The signature is valid only during the
// call. What it says is no right to see the entry: whoever goes on asks for
// that (Entries).
func (s *Store) Signatures(ctx context.Context, places []Place, fn func(i int, words Signature)) error {
	return s.beside(ctx, wireWords, places, func(i int, b []byte) { fn(i, Signature(b)) })
}

// Envelopes is Signatures for the ENVELOPE of entries.
func (s *Store) Envelopes(ctx context.Context, places []Place, fn func(i int, envelope []byte)) error {
	return s.beside(ctx, wireEnvelope, places, fn)
}

// beside calls fn for records that stand beside entries.
func (s *Store) beside(ctx context.Context, prefix string, places []Place, fn func(i int, b []byte)) error {
	return s.View(ctx, func(tx *Tx) error {
		for from := 0; from < len(places); {
			if err := ctx.Err(); err != nil {
				return err
			}
			to := from + 1
			for to < len(places) && places[to].Folder == places[from].Folder && places[to].UID > places[to-1].UID {
				to++
			}
			// Dense ranges are read by scan, single ones by Get.
			run, err := places[from:to], error(nil)
			if span := uint64(run[len(run)-1].UID-run[0].UID) + 1; len(run) > 8 && span < 4*uint64(len(run)) {
				err = tx.scanBeside(prefix, run, from, fn)
			} else {
				err = tx.getBeside(prefix, run, from, fn)
			}
			if err != nil {
				return err
			}
			from = to
		}
		return nil
	})
}

func (tx *Tx) scanBeside(prefix string, run []Place, base int, fn func(int, []byte)) error {
	at := 0
	return tx.r.Scan(key(prefix, run[0].Folder), key(prefix, run[0].Folder, run[0].UID), func(k, b []byte) (bool, error) {
		uid := UID(tailUint32(k))
		for at < len(run) && run[at].UID < uid {
			at++
		}
		if at == len(run) {
			return false, nil
		}
		if run[at].UID == uid {
			fn(base+at, b)
		}
		return true, nil
	})
}

func (tx *Tx) getBeside(prefix string, run []Place, base int, fn func(int, []byte)) error {
	for i, p := range run {
		b, err := tx.r.Get(key(prefix, p.Folder, p.UID))
		if errors.Is(err, kv.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		fn(base+i, b)
	}
	return nil
}

// Signed is an entry whose signature was made after it was filed.
type Signed struct {
	Place   Place
	Message MessageID // that it was read of
	Words   Signature
}

// signBytes bounds the signatures of one transaction.
const signBytes = 512 << 10

// Sign keeps signatures of entries that have none. An entry that is gone, or is
// of another message, is passed over.
func (s *Store) Sign(ctx context.Context, list []Signed) error {
	for len(list) > 0 {
		n, size := 0, 0
		for n < len(list) && n < 2*batch && size < signBytes {
			size += len(list[n].Words)
			n++
		}
		part := list[:n]
		err := s.Update(ctx, func(tx *Tx) error {
			for _, e := range part {
				b, err := tx.r.Get(key("e", e.Place.Folder, e.Place.UID))
				if errors.Is(err, kv.ErrNotFound) || err == nil && (len(b) < 8 || MessageID(binary.BigEndian.Uint64(b)) != e.Message) {
					continue
				}
				if err == nil {
					err = tx.w.Put(key(wireWords, e.Place.Folder, e.Place.UID), e.Words)
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		list = list[n:]
	}
	return nil
}
