package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"pecgate/relay/providersim"
)

// check compares the ledgers with what the running, settled gateway shows. An
// error says that the store could not be read at all.
func (w *world) check(ctx context.Context) (counts, error) {
	j := &judge{w: w, sent: map[string]int{}}
	j.c.Refused = w.ledger.refusals()
	j.provider()
	for _, p := range people() {
		all, err := w.read(ctx, p)
		if err != nil {
			return j.c, err
		}
		j.view(p, all)
	}
	return j.c, j.outbound(ctx)
}

// settleAndCheck is both, and what could not be read counts as wrong.
func (w *world) settleAndCheck(ctx context.Context) (counts, error) {
	c, err := w.settle(ctx)
	if err != nil {
		return c, err
	}
	found, err := w.check(ctx)
	c.add(found)
	if err != nil && ctx.Err() == nil {
		c.fault(&c.Wrong, "the store cannot be read: %v", err)
		return c, nil
	}
	return c, err
}

// judge holds what one check has read.
type judge struct {
	w    *world
	c    counts
	took map[string][]providersim.Submission // what the provider was given, by Message-ID without brackets
	sent map[string]int                      // whole copies in the folders of the sender, by Message-ID
}

// provider reads the provider's ledger: all that it was given is whole and ours.
func (j *judge) provider() {
	j.took = map[string][]providersim.Submission{}
	for _, s := range j.w.provider.Ledger() {
		j.c.Taken++
		id := unbracket(s.MessageID)
		j.took[id] = append(j.took[id], s)
		m := j.w.ledger.find(id)
		switch {
		case m == nil:
			j.c.fault(&j.c.Wrong, "the provider was given %s, which nobody submitted", id)
		case bodySum(s.Raw) != m.Body:
			j.c.fault(&j.c.Torn, "the provider was given %s with other bytes than were submitted", id)
		case s.From != m.From.box || !slices.Equal(s.Recipients, []string{m.To}):
			j.c.fault(&j.c.WrongOwner, "the provider was given %s from %s to %v", id, s.From, s.Recipients)
		}
		if len(j.took[id]) == 2 {
			j.c.fault(&j.c.Twice, "%s was handed over twice", id)
		}
	}
}

// anomalies is the folder of what is no certified mail, and of messages whose
// bytes were stored when the gateway was killed, but not yet their record: they
// were promised to nobody, come again from their client or the provider, and
// stand there for the administrator, who here is the mailbox's one member. That
// they stand there does not count as being delivered.
const anomalies = "Anomalie"

// derived tells whether a folder shows what the gateway has made of messages
// that stand elsewhere as they arrived.
func derived(folder string) bool { return folder == "Contenuti" || folder == "Esiti" }

// archived tells whether a folder shows a second time, by day, what stands in
// others.
func archived(folder string) bool { return strings.HasPrefix(folder, "Archivio/") }

// view judges everything that one person sees.
func (j *judge) view(p person, all []seen) {
	mine, foreign := map[string]int{}, map[string]bool{} // SHA-256 of what arrived; how often it is shown
	odd := map[string]bool{}                             // what belongs among the anomalies
	names := map[string]string{}                         // of my mail, by its own Message-ID
	others := map[string]bool{}                          // Message-IDs of what arrived for others
	for _, e := range j.w.provider.Emitted() {
		if e.Mailbox == p.box {
			mine[e.SHA256] = 0
			names[unbracket(field(e.Raw, "Message-ID"))] = e.SHA256
			odd[e.SHA256] = e.Kind == providersim.Anomaly || e.Kind == providersim.Injected
		} else {
			foreign[e.SHA256] = true
			others[unbracket(field(e.Raw, "Message-ID"))] = true
		}
	}
	left, err := j.w.provider.Folder(p.box, inbox)
	if err != nil {
		j.c.fault(&j.c.Wrong, "the provider has no mailbox %s any more", p.box)
	}
	j.c.Cleared += len(mine) - len(left)
	torn := map[string]bool{}
	for _, s := range all {
		where := fmt.Sprintf("%s, folder %s, UID %d", p.login, s.folder, s.uid)
		j.sameUID(p, s)
		m := j.w.ledger.find(s.id)
		_, isMine := mine[s.sum]
		switch {
		case derived(s.folder):
			if others[s.id] && names[s.id] == "" {
				j.c.fault(&j.c.WrongOwner, "%s: made of what arrived for somebody else", where)
			}
		case s.folder == anomalies && (isMine && !odd[s.sum] || m != nil && m.From == p && m.Body == s.body):
			j.c.Recovered++
		case archived(s.folder) && (isMine || m != nil && m.From == p && m.Body == s.body):
			// once more, and as it is
		case isMine:
			if mine[s.sum]++; mine[s.sum] == 2 {
				j.c.fault(&j.c.Twice, "%s: a message that arrived once is stored twice", where)
			}
		case foreign[s.sum]:
			j.c.fault(&j.c.WrongOwner, "%s: arrived for somebody else", where)
		case m != nil && m.From != p:
			j.c.fault(&j.c.WrongOwner, "%s: submitted by somebody else", where)
		case m != nil && s.body != m.Body:
			j.c.fault(&j.c.Torn, "%s: %s has other bytes than were submitted", where, s.id)
		case m != nil:
			if j.sent[s.id]++; j.sent[s.id] == 2 {
				j.c.fault(&j.c.Twice, "%s: %s is stored twice", where, s.id)
			}
			if t := j.took[s.id]; len(t) > 0 && t[0].SHA256 != s.sum {
				j.c.fault(&j.c.Torn, "%s: %s was handed over with other bytes than are stored", where, s.id)
			}
		case names[s.id] != "":
			torn[names[s.id]] = true
			j.c.fault(&j.c.InboundTorn, "%s: %s is not as it arrived", where, s.id)
		case s.from != gatewayAddress:
			j.c.fault(&j.c.Wrong, "%s: a message that nobody sent (%s)", where, s.subject)
		}
	}
	for sum, n := range mine {
		j.c.Arrived++
		if n == 0 && !torn[sum] {
			j.c.fault(&j.c.InboundLost, "a message that arrived for %s is nowhere (SHA-256 %.12s)", p.box, sum)
		}
	}
}

// sameUID holds a folder to its promise that a UID never names another message.
func (j *judge) sameUID(p person, s seen) {
	k := fmt.Sprintf("%s/%s/%d/%d", p.login, s.folder, s.validity, s.uid)
	if before, ok := j.w.uids[k]; ok && before != s.sum {
		j.c.fault(&j.c.Wrong, "%s, folder %s: UID %d names another message than before", p.login, s.folder, s.uid)
	}
	j.w.uids[k] = s.sum
}

// outbound holds the gateway to each 250.
func (j *judge) outbound(ctx context.Context) error {
	for _, m := range j.w.ledger.all() {
		promised := j.w.ledger.isPromised(m.ID)
		taken := len(j.took[m.ID]) > 0
		if promised {
			j.c.Promised++
		}
		switch {
		case promised && j.sent[m.ID] == 0:
			j.c.fault(&j.c.False250, "250 was said for %s, and its sender does not have it", m.ID)
		case taken && j.sent[m.ID] == 0:
			j.c.fault(&j.c.Wrong, "%s was handed over, and its sender does not have it", m.ID)
		}
		if taken || !promised {
			continue
		}
		s, err := j.w.shown(ctx, m.ID)
		switch {
		case errors.Is(err, errUnknown):
			j.c.fault(&j.c.Lost, "250 was said for %s, and nobody knows it", m.ID)
		case err != nil:
			return err
		case s.State == "uncertain", s.State == "held" && s.Reason == "uncertain":
			j.c.Uncertain++
		case s.State == "queued", s.State == "attempting", s.State == "held":
		default:
			j.c.fault(&j.c.Lost, "250 was said for %s, it is %s, and the provider does not have it", m.ID, s.State)
		}
	}
	return nil
}
