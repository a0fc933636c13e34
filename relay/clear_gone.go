package relay

import (
	"cmp"
	"errors"

	"time"

	"pecgate/mailbox"
)

// GoneByRule is what provider_copy has deleted at a provider while it said one thing.
type GoneByRule struct {
	Rule     string    `json:"rule"`     // as policy.yaml writes it, for messages and for receipts
	First    time.Time `json:"first"`    // the first of these deletions
	Last     time.Time `json:"last"`     // the last
	Messages int       `json:"messages"` // receipts aside
	Receipts int       `json:"receipts"`
}

// rulesKept is of how many rules a mailbox's record says what they deleted; those before
// are in the audit log.
const rulesKept = 8

// noteGoneByRule counts a copy that went by the rule, and returns the rule.
func noteGoneByRule(tx *mailbox.Tx, box string, receipt bool) (string, error) {
	var c clearing
	if err := tx.Space(room).Get(clearingKey(box), &c); err != nil && !errors.Is(err, mailbox.ErrNotFound) {
		return "", err
	}
	rule, now := cmp.Or(c.Words, c.Rule), tx.Now().UTC()
	if n := len(c.Gone); n == 0 || c.Gone[n-1].Rule != rule {
		c.Gone = append(c.Gone[max(0, n-rulesKept+1):], GoneByRule{Rule: rule, First: now})
	}
	g := &c.Gone[len(c.Gone)-1]
	g.Last = now
	if receipt {
		g.Receipts++
	} else {
		g.Messages++
	}
	return rule, tx.Space(room).Put(clearingKey(box), c)
}

// goneByRule is what was deleted by the rules of a mailbox, as far back as it is kept.
func goneByRule(tx *mailbox.Tx, box string) ([]GoneByRule, error) {
	var c clearing
	if err := tx.Space(room).Get(clearingKey(box), &c); err != nil && !errors.Is(err, mailbox.ErrNotFound) {
		return nil, err
	}
	if c.Gone == nil {
		c.Gone = []GoneByRule{}
	}
	return c.Gone, nil
}
