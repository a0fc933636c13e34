package mailbox

import (
	"encoding/json"
	"time"
)

// AuditLine is one line of who did what: no content, no secret. It is durable
// with the change that it tells of.
type AuditLine struct {
	At      time.Time         `json:"at"`
	Actor   string            `json:"actor,omitempty"` // login, or the room that acted
	Event   string            `json:"event"`
	Box     string            `json:"mailbox,omitempty"`
	Subject string            `json:"subject,omitempty"` // the submission or message it is about
	Result  string            `json:"result,omitempty"`
	Reason  string            `json:"reason,omitempty"`
	From    string            `json:"from,omitempty"` // address of the peer
	More    map[string]string `json:"more,omitempty"`
}

// Audit appends a line.
func (tx *Tx) Audit(l AuditLine) error {
	n, err := tx.next("audit")
	if err != nil {
		return err
	}
	l.At = tx.now.UTC()
	return tx.putJSON(key("a", n), l)
}

// AuditTail calls fn for the newest lines, newest first, until it returns
// false.
func (tx *Tx) AuditTail(fn func(n uint64, l AuditLine) bool) error {
	return tx.r.ScanBack(key("a"), func(k, v []byte) (bool, error) {
		var l AuditLine
		if err := json.Unmarshal(v, &l); err != nil {
			return false, err
		}
		return fn(tailUint64(k), l), nil
	})
}
