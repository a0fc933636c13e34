package policy

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid" // random policies against a model
)

// The model knows the rules in another shape: it asks of every line whether it denies, and grants only what at least one line
// gives and none takes away.

func modelRights(p *Policy, login, box string, now time.Time) (r Rights, lines int) {
	if modelCount(p.Users, func(u User) bool { return strings.EqualFold(u.Login, login) }) != 1 ||
		modelCount(p.Mailboxes, func(m Mailbox) bool { return strings.EqualFold(m.Address, box) }) != 1 {
		return Rights{}, 0
	}
	denied := map[string]bool{}
	for _, m := range p.Mailboxes {
		if !strings.EqualFold(m.Address, box) {
			continue
		}
		for _, l := range m.Members {
			if !strings.EqualFold(l.User, login) {
				continue
			}
			lines++
			past := !l.Expires.IsZero() && !l.Expires.After(now)
			for word, given := range map[string]bool{"send": l.Send, "receive": l.Receive, "anomalies": l.Anomalies,
				"compose": l.Compose, "delete": l.Delete} {
				if past || !given {
					denied[word] = true
				}
			}
		}
	}
	if lines == 0 {
		return Rights{}, 0
	}
	r = Rights{!denied["send"], !denied["receive"], !denied["anomalies"], !denied["compose"], !denied["delete"]}
	if denied["send"] && denied["receive"] && denied["anomalies"] && denied["compose"] {
		r.Delete = false
	}
	return r, lines
}

func modelAllows(p *Policy, s Submission) bool {
	if s.Identity.Box != "" && !strings.EqualFold(s.Identity.Box, s.ReversePath) || !strings.EqualFold(s.From, s.ReversePath) {
		return false
	}
	r, _ := modelRights(p, s.Identity.User, s.From, s.Now)
	if !r.Send || len(s.Recipients) == 0 {
		return false
	}
	for _, m := range p.Mailboxes {
		if !strings.EqualFold(m.Address, s.From) {
			continue
		}
		sum := int64(0)
		for range s.Recipients {
			sum += s.Size
		}
		if !m.Active || m.Recipients > 0 && len(s.Recipients) > m.Recipients || m.Product > 0 && sum > m.Product ||
			m.PINRequired && (!s.PINGiven || !s.PINRight) {
			return false
		}
	}
	return true
}

func modelCount[T any](list []T, is func(T) bool) (n int) {
	for _, x := range list {
		if is(x) {
			n++
		}
	}
	return n
}

func drawInstant(t *rapid.T, name string) time.Time {
	return time.Unix(int64(rapid.IntRange(0, 3).Draw(t, name)), 0)
}

func drawPolicy(t *rapid.T) *Policy {
	logins, boxes := rapid.SampledFrom([]string{"a", "b", "B", "c"}), rapid.SampledFrom([]string{"x@p.it", "y@p.it", "Y@p.it", "z@p.it"})
	yes := rapid.Bool()
	p := new(Policy)
	for range rapid.IntRange(0, 4).Draw(t, "users") {
		p.Users = append(p.Users, User{Login: logins.Draw(t, "login")})
	}
	for range rapid.IntRange(0, 4).Draw(t, "mailboxes") {
		m := Mailbox{Address: boxes.Draw(t, "address"), Active: rapid.IntRange(0, 3).Draw(t, "active") > 0, PINRequired: yes.Draw(t, "pin"),
			Recipients: rapid.IntRange(0, 3).Draw(t, "recipients"), Product: int64(rapid.IntRange(0, 6).Draw(t, "product"))}
		for range rapid.IntRange(0, 4).Draw(t, "members") {
			l := Member{User: logins.Draw(t, "user"), Send: yes.Draw(t, "send"), Receive: yes.Draw(t, "receive"),
				Anomalies: yes.Draw(t, "anomalies"), Compose: yes.Draw(t, "compose"), Delete: yes.Draw(t, "delete")}
			if yes.Draw(t, "expires") {
				l.Expires = drawInstant(t, "expiry")
			}
			m.Members = append(m.Members, l)
		}
		p.Mailboxes = append(p.Mailboxes, m)
	}
	return p
}

// G13: deny wins, and no line means no access, on random policies with doubled lines, users and mailboxes.
func TestG13_Model(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawPolicy(t)
		boxes := rapid.SampledFrom([]string{"x@p.it", "y@p.it", "Y@P.IT", "z@p.it", "w@p.it"})
		login := rapid.SampledFrom([]string{"a", "b", "c", "d", "A"}).Draw(t, "who")
		box, now := boxes.Draw(t, "box"), drawInstant(t, "now")

		want, lines := modelRights(p, login, box, now)
		got := p.Rights(login, box, now)
		if got != want {
			t.Fatalf("rights of %s on %s: %+v, model %+v", login, box, got, want)
		}
		if lines == 0 && got != (Rights{}) {
			t.Fatal("access without a line")
		}
		listed := false
		for _, m := range p.Boxes(login, now) {
			listed = listed || same(m.Address, box)
		}
		if listed != want.Any() {
			t.Fatalf("listed %v, model %v", listed, want.Any())
		}

		s := Submission{Identity: Identity{User: login}, ReversePath: box, From: box, Now: now,
			Size: int64(rapid.IntRange(0, 4).Draw(t, "size")), PINGiven: rapid.Bool().Draw(t, "given"), PINRight: rapid.Bool().Draw(t, "right")}
		if rapid.IntRange(0, 3).Draw(t, "other from") == 0 {
			s.From = boxes.Draw(t, "from")
		}
		if rapid.IntRange(0, 3).Draw(t, "bound") == 0 {
			s.Identity.Box = lower(boxes.Draw(t, "own box"))
		}
		for range rapid.IntRange(0, 3).Draw(t, "to") {
			s.Recipients = append(s.Recipients, "r@d.it")
		}
		v := p.Decide(s)
		if v.Allow != modelAllows(p, s) {
			t.Fatalf("%+v: verdict %+v, model %v", s, v, !v.Allow)
		}
		if v.Allow != (v.Code == 250) || v.Allow != (v.Reason == Allowed) {
			t.Fatalf("verdict contradicts itself: %+v", v)
		}
		if early := p.DecideSender(s.Identity, s.ReversePath, now); v.Allow && !early.Allow {
			t.Fatal("refused at MAIL, allowed in the end")
		}
	})
}
