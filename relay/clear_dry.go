package relay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"pecgate/mailbox"
	"pecgate/policy"
)

// Copies is what provider_copy does with a mailbox as it stands now.
type Copies struct {
	Mailbox  string     `json:"mailbox"`
	Messages string     `json:"messages"` // the rule: keep, delete, or an age
	Receipts string     `json:"receipts"` // that of receipts
	Since    *time.Time `json:"since"`    // of the rule; null: no round has seen it yet
	Even     bool       `json:"even"`     // the clock has gone on evenly for long enough to delete by it
	PerRound int        `json:"per_round"`
	Standing int        `json:"standing"` // messages of ours at the provider, as far as the gateway knows
	Kept     int        `json:"kept"`     // of these, for good: something about them is doubtful
	Due      int        `json:"due"`      // of these, to be deleted in the next rounds
	DueBytes int64      `json:"due_bytes"`
	Sooner   string     `json:"sooner"` // why receipts go before their time: bulk, room, or ""
	List     []DueCopy  `json:"list"`   // the first thousand that are due
}

// DueCopy is a copy that the next rounds delete if it is still what was fetched.
type DueCopy struct {
	Folder  string    `json:"folder,omitempty"`
	UID     uint32    `json:"uid,omitempty"`
	UIDL    string    `json:"uidl,omitempty"` // by POP3, in place of the two
	Receipt bool      `json:"receipt"`
	Since   time.Time `json:"since"` // our copy came to be
	Size    int64     `json:"size"`
	MsgID   string    `json:"msgid"`
	SHA256  string    `json:"sha256"`
}

// words is the rule as policy.yaml has it. String is not: the records hold that.
func (r CopyRule) words() string {
	if r.Delete && r.After > 0 {
		return policy.Term(r.After)
	}
	return r.String()
}

// listedCopies is how many Copies lists.
const listedCopies = 1000

// Copies tells what the rules of a mailbox would delete at its provider now, and
// deletes nothing. Errors: *Refusal, and those of the store.
func (s *Service) Copies(ctx context.Context, box string) (out Copies, err error) {
	box = strings.ToLower(box)
	if !slices.ContainsFunc(s.opt.Accounts(), func(a Account) bool { return strings.EqualFold(a.Box, box) }) {
		return out, refuse("%s is no mailbox of the policy", box)
	}
	acc := s.account(box)
	err = s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
		now := tx.Now()
		out = Copies{Mailbox: box, Messages: acc.Copy.words(), Receipts: acc.CopyReceipts.words(), PerRound: copiesPerRound, List: []DueCopy{}}
		var c clearing
		err = tx.Space(room).Get(clearingKey(box), &c)
		switch {
		case err != nil && !errors.Is(err, mailbox.ErrNotFound):
			return err
		case err != nil || c.Rule != acc.copyRule():
			c = clearing{Since: now} // as the next round begins it
		default:
			out.Since = &c.Since
		}
		c.even = c.EvenClock.Look(now, time.UTC) // on our copy of the note
		out.Even = c.even
		if c.sooner, err = acc.sooner(tx); err != nil {
			return err
		}
		out.Sooner = c.sooner
		for _, prefix := range []string{"d/" + box + "/", maildropPrefix(box)} {
			err := scanStanding(tx, prefix, "", func(k string, st standing) (bool, error) {
				out.Standing++
				if st.Doubt {
					out.Kept++
				}
				if !c.due(acc, st, now) {
					return true, nil
				}
				out.Due++
				out.DueBytes += st.Size
				if len(out.List) == listedCopies {
					return true, nil
				}
				d, err := dueCopy(tx, strings.TrimPrefix(k, prefix), prefix[0] == 'u', st)
				out.List = append(out.List, d)
				return true, err
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return out, err
}

// dueCopy describes the copy that stands under a key, without the prefix of its
// mailbox.
func dueCopy(tx *mailbox.Tx, k string, pop3 bool, st standing) (DueCopy, error) {
	d := DueCopy{Receipt: st.Receipt, Since: st.Since, Size: st.Size}
	if pop3 {
		d.UIDL = k
	} else if i := strings.LastIndexByte(k, '/'); i > 0 {
		uid, err := strconv.ParseUint(k[i+1:], 10, 32)
		if err != nil {
			return d, fmt.Errorf("record of a message at the provider: %w", err)
		}
		d.UID = uint32(uid)
		d.Folder = k[:max(0, strings.LastIndexByte(k[:i], '/'))]
	}
	m, err := tx.Message(st.Message)
	if errors.Is(err, mailbox.ErrNotFound) {
		return d, nil // it stays: nothing of ours is there to compare with
	}
	if err != nil {
		return d, err
	}
	d.MsgID, d.SHA256 = plain(m.MessageID, 200), m.SHA256()
	return d, nil
}
