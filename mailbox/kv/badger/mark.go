package badger

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"pecgate/mailbox/kv"
)

// storeID tells one store from another, and a restored one from its origin.
type storeID [16]byte

// mark is how far a store has come: the number of its commits, and the hash
// that chains them all.
type mark struct {
	seq   uint64
	chain [sha256.Size]byte
}

// genesis is the mark of a store without commits.
func genesis(id storeID) mark {
	return mark{chain: sha256.Sum256(append([]byte("pecgate records\x00"), id[:]...))}
}

// next is the mark after one more commit. The items are in ascending order of
// their keys.
func (m mark) next(items []item) mark {
	h := sha256.New()
	h.Write(m.chain[:])
	n := mark{seq: m.seq + 1}
	head := binary.BigEndian.AppendUint64(nil, n.seq)
	for _, i := range items {
		head = binary.BigEndian.AppendUint32(head, uint32(len(i.key)))
		head = append(head, i.key...)
		kind := byte('p')
		if i.deleted {
			kind = 'd'
		}
		head = append(head, kind)
		head = binary.BigEndian.AppendUint32(head, uint32(len(i.value)))
		h.Write(head)
		h.Write(i.value)
		head = head[:0]
	}
	h.Write(head)
	h.Sum(n.chain[:0])
	return n
}

// own begins the keys this package keeps for itself. They are behind all
// others: each commit writes chainKey, so badger holds many versions of it, and
// no scan should have to step over them.
const own = "\xff\xff\xff\xff\xff\xff\xff\xff"

const (
	chainKey   = own + "chain"   // in each commit: the hash of its mark
	restoreKey = own + "restore" // there while a restore is not finished
	adoptedKey = own + "adopted" // in the commit that took a folder over, see adopt
)

// badgersOwn begins the keys badger keeps for itself.
const badgersOwn = "!badger!"

func checkKey(key []byte) error {
	switch {
	case len(key) == 0 || bytes.HasPrefix(key, []byte(badgersOwn)) || bytes.HasPrefix(key, []byte(own)):
		return fmt.Errorf("key of %d bytes: %w", len(key), kv.ErrKey)
	case len(key) > kv.MaxKey:
		return fmt.Errorf("key of %d bytes: %w", len(key), kv.ErrTooBig)
	}
	return nil
}
