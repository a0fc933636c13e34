package relay

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"pecgate/mailbox"
	"pecgate/mailbox/events"
	"pecgate/relay/fetch"
)

// spot is where a message stands at the provider: in a folder under its UID, or
// by POP3 under its unique-id.
type spot struct {
	folder        string
	validity, uid uint32
	id            string // of POP3; empty: IMAP
}

func spotOf(it fetch.Item) spot {
	return spot{folder: it.Folder, validity: it.UIDValidity, uid: it.UID, id: it.ID}
}

func (p spot) at() events.At { return events.At{Folder: p.folder, UID: p.uid, UIDL: p.id} }

func (p spot) String() string {
	if p.id != "" {
		return fmt.Sprintf("message %q", p.id)
	}
	return fmt.Sprintf("message %d of %s", p.uid, p.folder)
}

// facts are what an audit line says of the place.
func (p spot) facts() map[string]string {
	if p.id != "" {
		return map[string]string{"uidl": p.id}
	}
	return map[string]string{"folder": p.folder, "uid": fmt.Sprint(p.uid), "uidvalidity": fmt.Sprint(p.validity)}
}

// standing is a message of ours as it stands at the provider, as far as we know.
type standing struct {
	Message mailbox.MessageID `json:"message,omitempty"` // ours; 0: not fetched yet
	Size    int64             `json:"size"`              // as the provider lists it
	Since   time.Time         `json:"since,omitzero"`    // when our copy came to be
	Receipt bool              `json:"receipt,omitempty"`
	History bool              `json:"history,omitempty"` // stood there at first contact; kept until it is fetched
	// Before, with History: it is none if it came later, since the provider only gave
	// new ids to what stood there.
	Before time.Time `json:"before,omitzero"`
	Asked  int       `json:"asked,omitempty"` // how often its deletion was asked for
	// Doubt: something about it is not as it should be, so it is never deleted.
	Doubt bool `json:"doubt,omitempty"`
}

// The prefixes of where what stands at the provider is kept.

func maildropPrefix(box string) string { return "u/" + strings.ToLower(box) + "/" }

func foldersPrefix(box, folder string) string {
	return fmt.Sprintf("d/%s/%s/", strings.ToLower(box), folder)
}

func folderPrefix(box, folder string, validity uint32) string {
	return foldersPrefix(box, folder) + fmt.Sprint(validity) + "/"
}

// standingKey is where it is kept that a message stands at a spot.
func (p spot) standingKey(box string) string {
	if p.id != "" {
		return maildropPrefix(box) + p.id
	}
	return fmt.Sprintf("%s%010d", folderPrefix(box, p.folder, p.validity), p.uid)
}

// below is the spot of a key below a prefix of p's folder.
func (p spot) below(prefix, k string) (spot, error) {
	rest := strings.TrimPrefix(k, prefix)
	if p.folder == "" {
		p.id = rest
		return p, nil
	}
	uid, err := strconv.ParseUint(rest, 10, 32)
	p.uid = uint32(uid)
	return p, err
}

// stand notes that a message stands at a spot. A doubt about it stays.
func stand(tx *mailbox.Tx, box string, p spot, st standing) error {
	var old standing
	sp, k := tx.Space(room), p.standingKey(box)
	if err := sp.Get(k, &old); err != nil && !errors.Is(err, mailbox.ErrNotFound) {
		return err
	}
	st.Doubt = st.Doubt || old.Doubt
	return sp.Put(k, st)
}

// scanStanding calls fn for what stands below a prefix, behind the key after
// (empty: from the first), until it returns false.
func scanStanding(tx *mailbox.Tx, prefix, after string, fn func(k string, st standing) (bool, error)) error {
	from := prefix
	if after != "" {
		from = after + "\x00"
	}
	return tx.Space(room).ScanFrom(prefix, from, func(k string, raw []byte) (bool, error) {
		var st standing
		if err := json.Unmarshal(raw, &st); err != nil {
			return false, fmt.Errorf("record of a message at the provider: %w", err)
		}
		return fn(k, st)
	})
}
