package relay

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"pecgate/mailbox"
	"pecgate/relay/submit"
)

// TestBatchStory: the story of a batch has the first and the last hand-over, what went
// wrong with which message, and the ends, each once; and is bounded.
func TestBatchStory(t *testing.T) {
	i := newIntake(t)
	i.putBatch(SplitAlways, 0, numbered(4)...)
	i.handOver()
	lost := i.uncertain()
	bad := i.next()
	i.end(bad, submit.Result{Class: submit.Permanent, Stage: submit.StageRcpt, Code: 550, Err: errors.New("550")})
	i.handOver()
	accept := func(n int, to RecipientState) {
		t.Helper()
		i.update(func(tx *mailbox.Tx) error {
			c, err := load(tx, childID(batchID, n))
			if err != nil {
				return err
			}
			c.State, c.StateReason = Accepted, ""
			if to != "" {
				c.Recipients[0].Told = to
			}
			c.derive()
			return save(tx, c, nil)
		})
	}
	for n, to := range map[int]RecipientState{1: "", 2: Delivered, 4: Delivered} {
		accept(n, to)
	}
	accept(1, Delivered)
	story := i.storyOf(batchID)
	for want, times := range map[string]int{
		"handed-over: the first of 4 messages\n":                                    1,
		"uncertain: message " + lost.ID + ", to " + numbered(4)[1] + "\n":           1,
		"held: message " + lost.ID + ", to " + numbered(4)[1] + " (uncertain)\n":    1,
		"not-accepted: message " + bad.ID + ", to " + numbered(4)[2] + " (refused)": 1,
		"acceptance: of 3 of 4 messages: no other is waited for\n":                  1,
		", although it was held": 1,
		"delivery: ":             0, // one has none
	} {
		if n := strings.Count(story, want); n != times {
			t.Errorf("%q stands there %d times:\n%s", want, n, story)
		}
	}
	many := newIntake(t)
	many.putBatch(SplitAlways, 0, numbered(batchStory+20)...)
	for range batchStory + 20 {
		many.end(many.next(), submit.Result{Class: submit.Permanent, Stage: submit.StageRcpt, Code: 550, Err: fmt.Errorf("550")})
	}
	if n := len(many.shown(batchID).Events); n > batchStory+2 || n < batchStory {
		t.Errorf("%d lines", n)
	}
}
