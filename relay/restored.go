package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"pecgate/mailbox"
	"pecgate/mailbox/kv"
	"pecgate/mailbox/planted"
)

// restoredPage is how many submissions one look at a restored store takes.
const restoredPage = 500

// Restored does what has to be done once after the records were put back from a
// backup or made anew, before anything is sent or fetched; at any other time it
// does nothing. Records of a backup call unsent what may have left since:
//
//   - messages whose bytes are there and that the records do not know are filed;
//   - what is known of submissions that were made anew counts as told to the groupware
//     servers that they came from (historyTold);
//   - whatever waits to be sent is held (restored), until a receipt tells or a
//     person decides;
//   - what the provider said of its room, and what held mailboxes back, is forgotten:
//     it is asked and found again. A refused login stays refused, so that no wrong
//     password is sent once more;
//   - how far the mailboxes were fetched is forgotten, so that everything at the
//     provider is read again. What is there already is known by its content;
//     receipts are tied as always, and move what is held;
//   - every administrator is told, once.
//
// It goes in bounded transactions and may be cut off: the next call goes on.
func (s *Service) Restored(ctx context.Context) error {
	var at time.Time
	var pending bool
	err := s.opt.Store.View(ctx, func(tx *mailbox.Tx) (err error) {
		at, pending, err = tx.Restored()
		return err
	})
	if err != nil || !pending {
		return err
	}
	if err := s.restored(ctx, at); err != nil {
		return fmt.Errorf("after the restore of the store: %w", err)
	}
	return nil
}

func (s *Service) restored(ctx context.Context, at time.Time) error {
	if s.opt.Reader != nil {
		done, err := s.opt.Store.Refile(ctx, s.Look, nil)
		if err != nil {
			return err
		}
		for _, d := range done.Damage {
			s.opt.Events.Fault("store", "", errors.New(d))
		}
	}
	if err := s.historyTold(ctx); err != nil {
		return err
	}
	held, err := s.holdAll(ctx)
	if err != nil {
		return err
	}
	for _, prefix := range []string{"c/", "a/", "d/", "u/", "halt/", "quota/"} {
		if err := s.forget(ctx, prefix); err != nil {
			return err
		}
	}
	if err := s.tellRestored(ctx, at, held); err != nil {
		return err
	}
	total := 0
	for _, n := range held {
		total += n
	}
	s.opt.Events.Restored(at, total)
	return s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
		err := tx.Audit(mailbox.AuditLine{
			Actor: "relay", Event: "restored", Result: "held", Reason: "what a backup calls unsent may have left since",
			More: map[string]string{"submissions": fmt.Sprint(total)},
		})
		return errors.Join(err, tx.RestoredDone())
	})
}

// holdAll holds whatever waits to be sent, and returns how many submissions are
// held for that reason, by mailbox.
func (s *Service) holdAll(ctx context.Context) (map[string]int, error) {
	held := map[string]int{}
	if planted.Is(planted.RestoredResends) {
		return held, nil
	}
	for from := "s/"; from != ""; {
		var ids []string
		next, here := "", map[string]int{}
		err := s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
			ids, next, here = nil, "", map[string]int{}
			looked := 0
			return tx.Space(room).ScanFrom("s/", from, func(k string, raw []byte) (bool, error) {
				if looked++; looked > restoredPage {
					next = k
					return false, nil
				}
				var sub Submission
				if err := json.Unmarshal(raw, &sub); err != nil {
					return false, fmt.Errorf("submission %s: %w", strings.TrimPrefix(k, "s/"), err)
				}
				if sub.restorable() {
					ids = append(ids, sub.ID)
				}
				switch {
				case sub.batch() && sub.toMake(), sub.batch() && sub.Rest == Held && sub.RestReason == ReasonRestored:
					here[sub.Box] += sub.unmade()
				case sub.batch():
				case sub.State.waiting() || sub.State == Held && sub.StateReason == ReasonRestored:
					here[sub.Box]++
				}
				return true, nil
			})
		})
		if err != nil {
			return nil, err
		}
		if err := s.holdSome(ctx, ids); err != nil {
			return nil, err
		}
		for box, n := range here {
			held[box] += n
		}
		from = next
	}
	return held, nil
}

// restorable tells whether a restore changes a submission.
func (s *Submission) restorable() bool {
	if s.batch() && (s.unmade() == 0 || !s.Rest.open()) {
		return false // all that is to be held are its messages
	}
	return s.State.waiting() || !s.Doubt && (s.State == Held || s.State == ToApprove)
}

func (s *Service) holdSome(ctx context.Context, ids []string) error {
	for size := 20; len(ids) > 0; {
		part := ids[:min(size, len(ids))]
		err := s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
			for _, id := range part {
				sub, err := load(tx, id)
				if err != nil {
					return fmt.Errorf("submission %s: %w", id, err)
				}
				if err := s.holdOne(tx, sub); err != nil {
					return fmt.Errorf("submission %s: %w", id, err)
				}
			}
			return nil
		})
		if errors.Is(err, kv.ErrTooBig) && len(part) > 1 {
			size = len(part) / 2
			continue
		}
		if err != nil {
			return err
		}
		ids = ids[len(part):]
	}
	return nil
}

func (s *Service) holdOne(tx *mailbox.Tx, sub *Submission) error {
	if !sub.restorable() {
		return nil
	}
	sub.Fence++ // a lease of before is worth nothing
	if sub.State.waiting() {
		if err := s.step(tx, sub, Held, ReasonRestored, "the store was restored: it may have left since the backup"); err != nil {
			return err
		}
		return save(tx, sub, nil)
	}
	// It waits for a person, who may have released it since the backup.
	sub.Doubt = true
	if err := happened(tx, sub, "restored", "the store was restored: it may have been released, and have left, since the backup"); err != nil {
		return err
	}
	return errors.Join(sub.show(tx), save(tx, sub, nil))
}

// forget takes the relay's records of a prefix away.
func (s *Service) forget(ctx context.Context, prefix string) error {
	for more := true; more; {
		err := s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
			var keys []string
			err := tx.Space(room).Scan(prefix, func(k string, _ []byte) (bool, error) {
				keys = append(keys, k)
				return len(keys) < 500, nil
			})
			more = len(keys) == 500
			for _, k := range keys {
				err = errors.Join(err, tx.Space(room).Delete(k))
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// tellRestored files a notice for each administrator, each once.
func (s *Service) tellRestored(ctx context.Context, at time.Time, held map[string]int) error {
	admins := map[string][]string{} // mailboxes by login
	for _, a := range s.opt.Accounts() {
		if a.Admin != "" && (a.Active || held[strings.ToLower(a.Box)] > 0) {
			admins[a.Admin] = append(admins[a.Admin], strings.ToLower(a.Box))
		}
	}
	for _, login := range slices.Sorted(maps.Keys(admins)) {
		k := "told/restored/" + login
		err := restoredNotice(login, at, admins[login], held, s.opt).file(ctx, s.opt.Store, func(tx *mailbox.Tx) (bool, error) {
			var told time.Time
			if err := tx.Space(room).Get(k, &told); err != nil && !errors.Is(err, mailbox.ErrNotFound) {
				return false, err
			}
			if told.Equal(at) {
				return false, nil
			}
			return true, tx.Space(room).Put(k, at)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// restoredNotice tells an administrator what is held and what to do.
func restoredNotice(login string, at time.Time, boxes []string, held map[string]int, o Options) *notice {
	total, list := 0, ""
	for _, box := range slices.Sorted(slices.Values(boxes)) {
		total += held[box]
		list += fmt.Sprintf("%s: %d\n", box, held[box])
	}
	it := fmt.Sprintf("L'archivio del gateway è stato ripristinato. I messaggi che nella copia risultavano ancora da inviare possono essere partiti dopo: "+
		"%d messaggi sono trattenuti, e nessuno di questi parte da solo. Tutto ciò che è ancora presso il gestore viene letto di nuovo: le ricevute trovate chiariscono da sole quali messaggi sono partiti.\n\n"+
		"Che cosa fare: attendere che ogni casella sia stata letta (pecgate status). `pecgate queue list --state held` mostra ciò che resta. "+
		"Per ciascuno guardare nella webmail del gestore se è partito, poi `pecgate queue retry ID` per inviarlo o `pecgate queue cancel --may-have-left ID` per rinunciare.", total)
	en := fmt.Sprintf("The store of the gateway was restored. What the backup calls unsent may have left after the backup: "+
		"%d messages are on hold, and none of them leaves by itself. Everything that is still at the provider is read again: receipts that are found settle the messages that have left.\n\n"+
		"What to do: wait until every mailbox was read (pecgate status). `pecgate queue list --state held` shows what is left. "+
		"For each look into the provider's webmail whether it has left, then `pecgate queue retry ID` to send it or `pecgate queue cancel --may-have-left ID` to give it up.", total)
	subject, text := fmt.Sprintf("Archivio ripristinato: %d PEC trattenute", total), it+"\n\n"+en
	if o.Language == "en" {
		subject, text = fmt.Sprintf("Store restored: %d PEC on hold", total), en+"\n\n"+it
	}
	return &notice{
		from: o.Address, subject: subject, text: text + "\n\n" + list, user: login, box: boxes[0],
		name: fmt.Sprintf("restored.%d", at.Unix()), at: o.here(),
	}
}
