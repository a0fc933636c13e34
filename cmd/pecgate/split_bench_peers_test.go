//go:build peers

package main

import (
	"errors"
	"fmt"
	"net/smtp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pecgate/relay"
	"pecgate/relay/providersim"
	"pecgate/relay/submit"
	"pecgate/relay/submit/postfixtest"
)

// BenchmarkSplitOfAThousand sends one message to 1,000 recipients through a mailbox
// that splits always, until all were handed over and the 2,000 receipts are fetched,
// verified, tied and in the folders; then the same 1,000 messages go to the same
// provider by a Postfix, in turn. Both have one connection, and the provider takes
// what comes and makes the same receipts. Figures: messages/s of each way by the
// provider's own ledger, from its first to its last, that of ours until the last
// receipt is there, and the ratio of the first two.
func BenchmarkSplitOfAThousand(b *testing.B) {
	const n = 1000
	message := splitToMany(n)
	var ours, theirs, whole time.Duration
	for b.Loop() {
		h := newHouseAt(b, providersim.Options{External: message.to}, mailboxText(boxA, false, "    split: always\n", "mario"), mailboxText(boxB, false, "", "lucia"))
		h.start()
		began := time.Now()
		r := h.send("mario", "mariomario", boxA, message.to, message.text)
		if r.Class != submit.HandedOver {
			b.Fatalf("%+v", r)
		}
		words := strings.Fields(r.Text)
		accepted := func(s relay.Shown) int { return s.Batch.Accepted + s.Batch.Delivered }
		h.receipts(words[len(words)-1], 2*n, accepted)
		for _, f := range []string{"Ricevute/Accettazione", "Ricevute/Consegna"} {
			if got := len(h.folder("mario", treeA+f)); got != n {
				b.Fatalf("%d messages in %s", got, f)
			}
		}
		whole += time.Since(began)
		h.stop()
		ledger := h.provider.Ledger()
		ours += handOverTime(b, ledger, n)
		p := postfixtest.Start(b, postfixtest.Options{Next: postfixtest.Next{
			Addr: strings.Replace(h.provider.SMTPAddr(), "127.0.0.1", "localhost", 1), CA: h.provider.CAPEM(), Login: boxA, Password: "provider-a", Connections: 1,
		}})
		if err := feed(p.Addr("smtp"), ledger); err != nil {
			b.Fatal(err)
		}
		p.Release(b)
		for have := 0; have < n; {
			h.until("Postfix goes on", func() bool {
				now := len(h.provider.Ledger()) - n
				ok := now >= min(n, have+10)
				if ok {
					have = now
				}
				return ok
			})
		}
		theirs += handOverTime(b, h.provider.Ledger()[n:], n)
		p.Stop(b)
	}
	rate := func(d time.Duration) float64 { return float64(n*b.N) / d.Seconds() }
	b.ReportMetric(rate(ours), "msgs/s")
	b.ReportMetric(rate(whole), "whole-msgs/s")
	b.ReportMetric(rate(theirs), "postfix-msgs/s")
	b.ReportMetric(theirs.Seconds()/ours.Seconds(), "ratio")
}

// toMany is a message and whom it is for.
type toMany struct {
	to   []string
	text string
}

// splitToMany is one of 10 KB to n people of other providers.
func splitToMany(n int) (m toMany) {
	for i := range n {
		m.to = append(m.to, fmt.Sprintf("u%04d@pec.altri.example", i))
	}
	m.text = mail(boxA, m.to[0], "Circolare", "circolare@alfa.example") + strings.Repeat("Si trasmette in allegato quanto richiesto con la nota del giorno.\r\n", 150)
	return m
}

// receipts waits until so many have told of a batch; some have to come each minute.
// It asks seldom: what it asks for lists every recipient.
func (h *house) receipts(id string, want int, count func(relay.Shown) int) {
	h.t.Helper()
	have := 0
	for end := time.Now().Add(time.Minute); have < want; time.Sleep(time.Second / 2) {
		s, err := h.shown(id)
		if err != nil {
			h.t.Fatal(err)
		}
		if n := count(s); n > have {
			have, end = n, time.Now().Add(time.Minute)
		}
		if time.Now().After(end) {
			h.t.Fatalf("after a minute still %d receipts of %d: %+v", have, want, s.Batch)
		}
	}
}

// handOverTime is how long the provider took to get n messages.
func handOverTime(b *testing.B, ledger []providersim.Submission, n int) time.Duration {
	b.Helper()
	if len(ledger) != n {
		b.Fatalf("the provider got %d messages", len(ledger))
	}
	return ledger[n-1].At.Sub(ledger[0].At)
}

// feed gives messages to an SMTP server without TLS, several at a time.
func feed(addr string, all []providersim.Submission) error {
	const clients = 4
	errs := make([]error, clients)
	var done sync.WaitGroup
	for i, part := range slices.Collect(slices.Chunk(all, (len(all)+clients-1)/clients)) {
		done.Go(func() { errs[i] = feedOn(addr, part) })
	}
	done.Wait()
	return errors.Join(errs...)
}

func feedOn(addr string, all []providersim.Submission) error {
	c, err := smtp.Dial(addr)
	if err != nil {
		return err
	}
	defer c.Close() // after QUIT it is closed
	for _, m := range all {
		if err := errors.Join(c.Mail(m.From), c.Rcpt(m.Recipients[0])); err != nil {
			return err
		}
		d, err := c.Data()
		if err != nil {
			return err
		}
		if _, err := d.Write(m.Raw); err != nil {
			return err
		}
		if err := d.Close(); err != nil {
			return err
		}
	}
	return c.Quit()
}
