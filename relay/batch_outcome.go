package relay

import (
	"encoding/json"
	"fmt"
	"strings"

	"pecgate/mailbox"
	"pecgate/mailbox/pec"
)

// batchTells is tells for a batch. Its number of changes stands for all that a
// report tells of its messages.
func (s *Submission) batchTells() told {
	to, t := s.places(), s.Tally
	open := to[whereQueued] + to[whereHeld] + to[whereUncertain] + to[whereSent] + to[whereAccepted] + to[whereLate]
	return told{
		Accepted: t.States[Accepted] == t.Messages, Ended: open == 0, Failed: to[whereFailed], Late: to[whereLate],
		Doubt:  to[whereUncertain]+to[whereHeld]+to[whereCancelled]+to[whereGivenUp] > 0,
		Digest: fmt.Sprintf("batch %s %d", s.State, t.Rev),
	}
}

// batchHeadline sums a batch up: the key of its words.
func (s *Submission) batchHeadline() string {
	to := s.places()
	n := s.Tally.Recipients
	left := n - to[whereQueued] - to[whereHeld] - to[whereCancelled] - to[whereGivenUp]
	switch {
	case to[whereQueued] > 0 && left > 0:
		return "batch-sending"
	case to[whereQueued] > 0:
		return string(Queued)
	case to[whereHeld] > 0 && left > 0:
		return "batch-held"
	case to[whereUncertain] > 0:
		return string(Uncertain)
	case to[whereGivenUp] > 0 && left > 0:
		return "batch-given-up"
	case to[whereGivenUp] > 0:
		return "cancelled-uncertain"
	case to[whereCancelled] > 0 && left > 0:
		return "batch-stopped"
	case to[whereFailed] == n:
		return "failed"
	case to[whereFailed] > 0 && to[whereSent]+to[whereAccepted]+to[whereLate] > 0:
		return "failing"
	case to[whereFailed] > 0:
		return "some-failed"
	case to[whereLate] > 0:
		return "late"
	case to[whereSent] > 0:
		return string(HandedOver)
	case to[whereDelivered] > 0 && to[whereAccepted] > 0:
		return "some"
	case to[whereDelivered] > 0 && to[whereOutside] > 0:
		return "delivered-certified"
	case to[whereDelivered] > 0:
		return "delivered"
	case to[whereOutside] == n:
		return "accepted-ordinary"
	case to[whereAccepted] > 0:
		return string(Accepted)
	}
	return ""
}

// placesText lists how many recipients of a batch stand where.
func (o *outcomeReport) placesText() string {
	to := o.sub.places()
	var out []string
	for _, p := range []where{whereQueued, whereHeld, whereUncertain, whereSent, whereAccepted, whereDelivered, whereOutside, whereLate, whereFailed, whereCancelled, whereGivenUp} {
		if n := to[p]; n > 0 {
			out = append(out, fmt.Sprintf("%s %d", o.words.places[p], n))
		}
	}
	return strings.Join(out, ", ")
}

// whereOfLine is where a recipient of a report's submission stands, for a batch.
func (s *Submission) whereOfLine(r Recipient) where {
	if r.Of == "" {
		return whereOf(s.Rest, r.State, s.Doubt)
	}
	return whereOf(r.Of, r.State, r.Lost)
}

// maxAnswers bounds for how many messages of a batch a report looks up what the
// provider said instead of taking them.
const maxAnswers = maxLines

// batchDeciding is deciding for a batch: by the number of the recipient in it. What
// is known of a message as a whole stands at each of its recipients.
func batchDeciding(tx *mailbox.Tx, b *Submission) (map[int]lastReceipt, error) {
	out := map[int]lastReceipt{}
	prefix, seen := "x/"+b.ID+"-", 0
	err := tx.Space(room).Scan(prefix, func(k string, raw []byte) (bool, error) {
		seen++
		id, rest, _ := strings.Cut(k[len("x/"):], "/")
		_, n, ok := batchOf(id)
		if !ok || n > b.Tally.Messages {
			return true, nil
		}
		from, to := b.span(n)
		var ref ReceiptRef
		if err := json.Unmarshal(raw, &ref); err != nil {
			return false, err
		}
		var at int
		if _, err := fmt.Sscanf(rest, "%d/", &at); err == nil && !strings.HasPrefix(rest, "-") {
			from, to = from+at, from+at+1
		}
		for i := from; i < to && i < len(b.Recipients); i++ {
			r := b.Recipients[i]
			counts := b.decided(i, ref)
			if strings.HasPrefix(rest, "-") {
				counts = r.Of == NotAccepted && ref.Kind == pec.NonAcceptance || r.Of == Accepted && r.State == Waiting && ref.Kind == pec.Acceptance
			}
			if old, ok := out[i]; counts && (!ok || ref.At.Before(old.At)) {
				out[i] = lastReceipt{At: ref.At, Error: ref.Error}
			}
		}
		return seen < maxRefs, nil
	})
	if err != nil {
		return nil, err
	}
	asked := 0
	for n := 1; n <= b.Tally.Messages && asked < maxAnswers; n++ {
		from, to := b.span(n)
		if b.Recipients[from].Of != NotAccepted || out[from].Error != "" {
			continue
		}
		asked++
		words, err := answerOf(tx, &Submission{ID: childID(b.ID, n), State: NotAccepted}, nil)
		if err != nil {
			return nil, err
		}
		for i := from; i < to; i++ {
			out[i] = lastReceipt{At: out[i].At, Error: words}
		}
	}
	return out, nil
}

// handedOverAgain says of which recipients of a batch the message was handed over a
// second time, or went out twice; by their number in it. nil where none was.
func (b *Submission) handedOverAgain(tx *mailbox.Tx, w reportWords) (map[int]string, error) {
	if !b.batch() || !b.Tally.ToldResent && !b.Tally.ToldTwice {
		return nil, nil
	}
	out := map[int]string{}
	err := eachChild(tx, b.ID, 1, func(c *Submission) bool {
		words := ""
		switch {
		case c.Twice != "":
			words = w.twiceTo
		case !c.Resent.IsZero():
			words = w.resentTo
		default:
			return true
		}
		from, to := b.span(c.Number)
		for i := from; i < min(to, len(b.Recipients)); i++ {
			out[i] = words
		}
		return true
	})
	return out, err
}

// decidingOf is deciding or, for a batch, batchDeciding.
func decidingOf(tx *mailbox.Tx, s *Submission) (map[int]lastReceipt, error) {
	if s.batch() {
		return batchDeciding(tx, s)
	}
	return deciding(tx, s)
}

func batchPlacesItalian() map[where]string {
	return map[where]string{
		whereQueued: "in attesa di invio", whereHeld: "in sospeso", whereUncertain: "incerta", whereSent: "inviata",
		whereAccepted: "accettata", whereDelivered: "consegnata", whereOutside: "posta ordinaria", whereLate: "in ritardo",
		whereFailed: "non consegnata", whereCancelled: "annullata, non inviata",
		whereGivenUp: "non più inviata da qui, forse già partita",
	}
}

func batchPlacesEnglish() map[where]string {
	return map[where]string{
		whereQueued: "waiting to be sent", whereHeld: "on hold", whereUncertain: "uncertain", whereSent: "sent",
		whereAccepted: "accepted", whereDelivered: "delivered", whereOutside: "ordinary mail", whereLate: "overdue",
		whereFailed: "not delivered", whereCancelled: "cancelled, not sent",
		whereGivenUp: "no longer sent from here, may have left",
	}
}
