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
	"pecgate/relay/fetch"
)

// Room at the provider. A submission brings receipts back into the mailbox: the
// acceptance, and one for each recipient, which in its complete form carries the
// whole original. Where the mailbox has no room for them they are lost, so the
// submission waits as queued (room) until there is some; another that fits goes
// meanwhile. What needs more than there is in all is held (room_never.go). What is not
// known never holds anything back.
//
//	quota/<mailbox>        how full it is, as the provider told last
//	expect/<mailbox>/<id>  receipts that are to come for what is under way (room_sum.go)

const (
	// receiptOverhead is what a receipt takes besides the original: text, daticert.xml
	// and signature with its certificates.
	receiptOverhead = 16 << 10
	// briefMost is what a brief receipt has of the original, its attachments being
	// hashes there.
	briefMost = 32 << 10
	// roomLook is when a submission without room is looked at again.
	roomLook = 30 * time.Second
	// roomBelieved is how long the provider's word about its room counts.
	roomBelieved = time.Hour
	// roomOverHours is for how long it counts at most, however short the hours are.
	roomOverHours = 7 * 24 * time.Hour
	// expectFor is how long receipts are waited for: the last is due after 24 hours.
	expectFor = 48 * time.Hour
)

// The alarms of a mailbox's room: of what waits, about its sender or "" for the
// administrator; and of a share that is passed, about its per cent.
const (
	kindRoom  = "room"
	kindQuota = "quota"
)

// quotaNote is how full a mailbox is at its provider.
type quotaNote struct {
	Used  int64     `json:"used"`
	Limit int64     `json:"limit"`
	At    time.Time `json:"at"`
}

func quotaKey(box string) string { return "quota/" + strings.ToLower(box) }

// expected are receipts that are to come for one submission.
type expected struct {
	Acceptance bool      `json:"acceptance,omitempty"`
	Receipts   int       `json:"receipts,omitempty"`
	Size       int64     `json:"size"` // of the original
	At         time.Time `json:"at"`
}

func expectKey(box, id string) string { return "expect/" + strings.ToLower(box) + "/" + id }

// bytes is the room that they take, for a kind of receipts.
func (e expected) bytes(kind string) int64 {
	var n int64
	if e.Acceptance {
		n = receiptOverhead
	}
	return n + int64(e.Receipts)*receiptSize(kind, e.Size)
}

// receiptSize is the room that a delivery receipt of a message takes.
func receiptSize(kind string, size int64) int64 {
	switch kind {
	case "synthetic":
		size = 0
	case "brief":
		size = min(size, briefMost)
	}
	return receiptOverhead + size
}

// awaited are the receipts that a submission will bring, or of what is under way
// still has to.
func (s *Submission) awaited() expected {
	e := expected{Size: s.Size, Acceptance: s.State != Accepted && s.State != NotAccepted && s.State != Cancelled, At: s.HandedOver}
	if s.State == NotAccepted || s.State == Cancelled {
		return e
	}
	for _, r := range s.Recipients {
		if r.State == Waiting || r.State == Late {
			e.Receipts++
		}
	}
	return e
}

// noteExpected keeps what receipts are to come for a submission, as it is saved.
func noteExpected(tx *mailbox.Tx, s *Submission) error {
	k := expectKey(s.Box, s.ID)
	var old expected
	err := tx.Space(room).Get(k, &old)
	if err != nil && !errors.Is(err, mailbox.ErrNotFound) {
		return err
	}
	there := err == nil
	var e expected
	if s.State == Attempting || s.State == Uncertain || s.State == HandedOver || s.State == Accepted {
		e = s.awaited()
	}
	switch {
	case s.batch(), s.Recovered != "", !e.Acceptance && e.Receipts == 0, !e.At.IsZero() && tx.Now().Sub(e.At) >= expectFor:
		if !there {
			return nil
		}
		if err := tx.Space(room).Delete(k); err != nil {
			return err
		}
		return changeSum(tx, s.Box, old, expected{})
	case e.At.IsZero():
		e.At = tx.Now().UTC()
	}
	if there && old.Acceptance == e.Acceptance && old.Receipts == e.Receipts {
		return nil
	}
	if err := tx.Space(room).Put(k, e); err != nil {
		return err
	}
	return changeSum(tx, s.Box, old, e)
}

// shortage is a submission that has no room at the provider.
type shortage struct {
	sub               *Submission
	need, free, limit int64 // bytes; free after the receipts under way
	used              int64
	never             bool // it needs more than the mailbox has in all
}

// roomKnown tells whether the provider's word about its room still counts. Outside the
// hours of receiving nobody asks for it: only the time within them makes it old.
func (s *Service) roomKnown(tx *mailbox.Tx, a Account, q quotaNote) bool {
	now, most := tx.Now(), max(roomBelieved, 3*a.Every)
	since := now.Sub(q.At)
	if since > most && since < roomOverHours {
		since = a.Hours.Receive.openFor(q.At.In(s.opt.Location), now.In(s.opt.Location))
	}
	return since >= 0 && since <= most
}

// noRoom tells what room a submission lacks; nil: it may go.
func (s *Service) noRoom(tx *mailbox.Tx, sub *Submission) (*shortage, error) {
	acc := s.account(sub.Box)
	if acc.WhenFullSend {
		return nil, nil
	}
	var q quotaNote
	err := tx.Space(room).Get(quotaKey(sub.Box), &q)
	if errors.Is(err, mailbox.ErrNotFound) {
		return nil, nil
	}
	if err != nil || q.Limit <= 0 || !s.roomKnown(tx, acc, q) {
		return nil, err
	}
	if sub.Size == 0 { // of an earlier release
		m, err := tx.Message(sub.Message)
		if errors.Is(err, mailbox.ErrNotFound) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		sub.Size = m.Ref.Size
	}
	need, free := sub.awaited().bytes(acc.Receipt), int64(0)
	if need > q.Limit {
		if any, err := anyRoom(tx, sub); err != nil || any {
			return nil, err
		}
		return &shortage{sub: sub, need: need, used: q.Used, limit: q.Limit, never: true}, nil
	}
	for _, after := range []time.Duration{recountEvery, recountSoon} {
		under, err := outstanding(tx, sub.Box, acc.Receipt, after)
		if err != nil {
			return nil, err
		}
		if free = max(0, q.Limit-q.Used-under); need <= free {
			return nil, nil
		}
	}
	return &shortage{sub: sub, need: need, free: free, used: q.Used, limit: q.Limit}, nil
}

// waitForRoom has a submission wait, and tells of it in its story once.
func (s *Service) waitForRoom(tx *mailbox.Tx, lack *shortage) error {
	sub := lack.sub
	next := &due{At: tx.Now().UTC().Add(roomLook)}
	if sub.StateReason == ReasonRoom {
		return putLine(tx, sub, next) // what is looked at often is not written anew each time
	}
	if err := s.step(tx, sub, Queued, ReasonRoom, lack.text()); err != nil {
		return err
	}
	return save(tx, sub, next)
}

// waitForRoomBatch has a batch wait whose next message has no room.
func waitForRoomBatch(tx *mailbox.Tx, b *Submission, lack *shortage) error {
	if b.RestReason != ReasonRoom {
		b.StateReason, b.RestReason = ReasonRoom, ReasonRoom
		if err := happened(tx, b, string(ReasonRoom), lack.text()); err != nil {
			return err
		}
		err := tx.Audit(mailbox.AuditLine{Actor: "relay", Event: "state", Box: b.Box, Subject: b.ID, Result: string(Queued), Reason: string(ReasonRoom)})
		if err != nil {
			return err
		}
		if err := putHead(tx, b); err != nil {
			return err
		}
	}
	return putLine(tx, b, &due{At: tx.Now().UTC().Add(roomLook)})
}

func (l *shortage) text() string {
	if l.never {
		return fmt.Sprintf("its receipts can never fit the mailbox at the provider: they need %.1f MiB, it has %.1f MiB in all; `queue retry` sends it all the same", mebi(l.need), mebi(l.limit))
	}
	return fmt.Sprintf("no room at the provider for its receipts: they need %.1f MiB, free are %.1f of %.1f MiB", mebi(l.need), mebi(l.free), mebi(l.limit))
}

// tellRoom tells the administrator and the sender, once each while it lasts. What has
// no room ever is held.
func (s *Service) tellRoom(ctx context.Context, l *shortage) error {
	if l.never {
		return s.holdForRoom(ctx, l)
	}
	a := alarm{
		box: l.sub.Box, kind: kindRoom, to: s.adminOf(l.sub.Box), detail: fmt.Sprintf("servono / needed: %.1f MiB; liberi / free: %.1f MiB (%.1f MiB)", mebi(l.need), mebi(l.free), mebi(l.limit)),
		subjectIT: "Casella PEC piena presso il gestore, l'invio attende: " + l.sub.Box,
		subjectEN: "The PEC mailbox is full at the provider: sending waits: " + l.sub.Box,
		it: "Nella casella presso il gestore non c'è spazio per le ricevute dei messaggi da inviare: andrebbero perse. I messaggi restano in coda e partono da soli appena c'è spazio.\n\n" +
			"Cosa fare: liberare spazio con la webmail del gestore, o far cancellare al gateway le copie che ha già (provider_copy), o chiedere più spazio al gestore.",
		en: "The mailbox at the provider has no room for the receipts of what is to be sent: they would be lost. The messages stay queued and leave by themselves as soon as there is room.\n\n" +
			"What to do: make room with the provider's webmail, or have the gateway delete the copies that it has already (provider_copy), or ask the provider for more.",
	}
	err := s.raise(ctx, a)
	to, err2 := s.senderOf(ctx, l.sub)
	if err2 != nil || slices.ContainsFunc(to, func(p addressee) bool {
		return p.person == 0 && len(a.to) > 0 && strings.EqualFold(p.user, a.to[0].user)
	}) {
		return errors.Join(err, err2) // the administrator was told
	}
	a.about, a.to, a.sub = l.sub.User, to, l.sub
	a.it = "Nella casella presso il gestore non c'è spazio per le ricevute di questo messaggio: resta in coda e parte da solo appena c'è spazio. L'amministratore della casella è avvisato. Non inviarlo di nuovo."
	a.en = "The mailbox at the provider has no room for the receipts of this message: it stays queued and leaves by itself as soon as there is room. The administrator of the mailbox was told. Do not send it again."
	return errors.Join(err, s.raise(ctx, a))
}

// occupied keeps what the provider tells of its room, and tells of what is passed
// or over.
func (s *Service) occupied(ctx context.Context, w *worker, q fetch.Quota) error {
	w.occupied(q)
	box := w.acc.Box
	var waits, drop, write bool
	var now time.Time
	var stand []string
	err := s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
		waits, stand = false, nil
		var old quotaNote
		err := tx.Space(room).Get(quotaKey(box), &old)
		if err != nil && !errors.Is(err, mailbox.ErrNotFound) {
			return err
		}
		now = tx.Now().UTC()
		drop = !q.Known && err == nil
		write = q.Known && (old.Used != q.Used || old.Limit != q.Limit || now.Before(old.At) || now.Sub(old.At) > roomBelieved/6)
		prefix := alarmsOf(box, kindRoom)
		err = tx.Space(room).Scan(prefix, func(k string, _ []byte) (bool, error) {
			stand = append(stand, strings.TrimPrefix(k, prefix))
			return true, nil
		})
		if err != nil || len(stand) == 0 {
			return err
		}
		return tx.Space(room).Scan(queueBox(box), func(k string, _ []byte) (bool, error) {
			sub, err := headOf(tx, strings.TrimPrefix(k[strings.LastIndexByte(k, '/')+1:], "~"))
			if errors.Is(err, ErrNotFound) {
				return true, nil
			}
			waits = waits || err == nil && sub.StateReason == ReasonRoom
			return !waits, err
		})
	})
	if err == nil && (drop || write) {
		err = s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
			if drop {
				return tx.Space(room).Delete(quotaKey(box))
			}
			return tx.Space(room).Put(quotaKey(box), quotaNote{Used: q.Used, Limit: q.Limit, At: now})
		})
	}
	if err != nil {
		return err
	}
	if !waits {
		for _, about := range stand {
			err = errors.Join(err, s.ended(ctx, box, kindRoom, about))
		}
	}
	for _, limit := range w.acc.QuotaWarnings {
		err = errors.Join(err, s.tellQuota(ctx, box, q, limit))
	}
	return err
}

// tellQuota tells once that a share of the room is used, and ends that when less
// is: two per cent less, so that it does not come and go.
func (s *Service) tellQuota(ctx context.Context, box string, q fetch.Quota, limit int) error {
	about := strconv.Itoa(limit)
	share := 0.0
	if q.Known && q.Limit > 0 {
		share = float64(q.Used) / float64(q.Limit) * 100
	}
	switch {
	case share >= float64(limit):
	case share < float64(limit)-2:
		return s.ended(ctx, box, kindQuota, about)
	default:
		return nil
	}
	return s.raise(ctx, alarm{
		box: box, kind: kindQuota, about: about, to: s.adminOf(box), quiet: 24 * time.Hour,
		subjectIT: fmt.Sprintf("La casella PEC è piena oltre il %d %% presso il gestore: %s", limit, box),
		subjectEN: fmt.Sprintf("The PEC mailbox is more than %d %% full at the provider: %s", limit, box),
		it: "Quando è piena, PEC e ricevute in arrivo vanno perse e non si può inviare. Cosa fare: liberare spazio con la webmail del gestore, " +
			"o far cancellare al gateway le copie che ha già (provider_copy; `pecgate provider copies " + box + "` mostra quali).",
		en: "When it is full, PEC and receipts that arrive are lost and nothing can be sent. What to do: make room with the provider's webmail, " +
			"or have the gateway delete the copies that it has already (provider_copy; `pecgate provider copies " + box + "` shows which).",
		detail: fmt.Sprintf("%.1f / %.1f MiB (%.0f %%)", mebi(q.Used), mebi(q.Limit), share),
	})
}

// quotaOf is what is known of a mailbox's room: what the provider tells, within
// what the policy says there is; used is what stands there where the provider
// does not tell.
func (a Account) quotaOf(told fetch.Quota, used func() (int64, error)) (fetch.Quota, error) {
	switch {
	case a.ProviderQuota <= 0:
		return told, nil
	case told.Known:
		told.Limit = min(told.Limit, a.ProviderQuota)
		return told, nil
	}
	n, err := used()
	return fetch.Quota{Used: n, Limit: a.ProviderQuota, Known: err == nil}, err
}

// standingBytes is the size of what stands at the provider in the folders that
// are fetched, as far as it was.
func (s *Service) standingBytes(ctx context.Context, box string) (n int64, err error) {
	err = s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
		n = 0
		return scanStanding(tx, "d/"+strings.ToLower(box)+"/", "", func(_ string, st standing) (bool, error) { n += st.Size; return true, nil })
	})
	return n, err
}
