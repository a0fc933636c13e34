package relay

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"pecgate/mailbox"
)

// ErrOtherKey says that a key stands for a submission of which something else was asked.
var ErrOtherKey = errors.New("relay: the key stands for another submission")

// Key is what an application calls a submission, so that it can ask for the same again
// when it did not hear the answer.
type Key struct {
	Name string // of the application, with what it chose; empty: none
	Sum  string // digest of all that was asked
}

// keyed is its record: "ak/" and the digest of the name. It is written with the
// submission, and stays as long as that: it never sends a second time, however late the
// application asks and whatever the clock says.
type keyed struct {
	ID  string `json:"id"`
	Sum string `json:"sum"`
}

func keyOf(name string) string {
	sum := sha256.Sum256([]byte(name))
	return "ak/" + hex.EncodeToString(sum[:])
}

// Submitted returns the id of the submission that has a key, "" where there is none.
// ErrOtherKey where something else was asked then.
func Submitted(tx *mailbox.Tx, k Key) (string, error) {
	if k.Name == "" {
		return "", nil
	}
	var r keyed
	err := tx.Space(room).Get(keyOf(k.Name), &r)
	switch {
	case errors.Is(err, mailbox.ErrNotFound):
		return "", nil
	case err != nil:
		return "", err
	case r.Sum != k.Sum:
		return "", fmt.Errorf("%w: message %s", ErrOtherKey, r.ID)
	}
	return r.ID, nil
}

// noteKey has a key stand for a submission.
func noteKey(tx *mailbox.Tx, k Key, id string) error {
	if k.Name == "" {
		return nil
	}
	return tx.Space(room).Put(keyOf(k.Name), keyed{ID: id, Sum: k.Sum})
}
