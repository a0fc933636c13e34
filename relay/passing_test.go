package relay

import (
	"errors"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pecgate/mailbox"
	"pecgate/relay/dsn"
	"pecgate/relay/forward"
	"pecgate/relay/submit/smarthosttest"
)

// Ordinary mail that passes through is in nobody's folder, keeps its return path, and
// what fails comes back to its sender as a notification; a null sender, and who asked
// for none, hears nothing.
func TestPassingIsToldToItsSender(t *testing.T) {
	i := newIntake(t)
	i.withMail()
	host := smarthosttest.New(t)
	host.Answer = func(to string) string {
		if strings.HasPrefix(to, "no") {
			return "550 5.1.1 nobody here"
		}
		return ""
	}
	name, port, err := net.SplitHostPort(host.Addr())
	if err != nil {
		t.Fatal(err)
	}
	i.s.opt.Smarthost.Host = name
	if i.s.opt.Smarthost.Port, err = strconv.Atoi(port); err != nil {
		t.Fatal(err)
	}
	i.s.opt.Address = "pecgate@gateway.example"
	const text = "From: mario@example.org\r\nSubject: =?utf-8?Q?citt=C3=A0?=\r\nMessage-ID: <1@ex>\r\n\r\nciao\r\n"
	pass := func(from string, to ...forward.Addressee) error {
		t.Helper()
		in, err := i.store.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(in, text); err != nil {
			t.Fatal(err)
		}
		return i.s.Pass(t.Context(), in, Passage{Relay: "exchange", Remote: "192.0.2.10", From: from, EnvID: "E1", To: to})
	}
	if pass("", forward.Addressee{Address: testBox}) == nil || pass(testBox, forward.Addressee{Address: "a@x.example"}) == nil {
		t.Error("ordinary mail of or to a PEC mailbox was taken")
	}
	for n, from := range []string{"mario@example.org", "", "mario@example.org"} {
		notify := []string{"FAILURE", "", "NEVER"}[n]
		err := pass(from, forward.Addressee{Address: "yes@x.example", Notify: "SUCCESS"}, forward.Addressee{Address: "no@x.example", Notify: notify, Original: "rfc822;No@x.example"})
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			if all, err := Forwards(t.Context(), i.store, 10); err != nil || len(all) != 1 || all[0].Kind != "passing" {
				t.Fatalf("%+v, %v", all, err)
			}
		}
		if _, err := i.s.forwarder().Round(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	got := host.All()
	var froms []string
	var reports []smarthosttest.Received
	for _, m := range got {
		froms = append(froms, m.From)
		if strings.Contains(m.Data, "multipart/report") {
			reports = append(reports, m)
		}
	}
	slices.Sort(froms)
	if len(got) != 5 || len(reports) != 2 {
		t.Fatalf("%d messages, %d reports: %q", len(got), len(reports), froms)
	}
	for n, m := range reports {
		if !strings.HasPrefix(m.From, "MAIL FROM:<>") || m.To != "mario@example.org" {
			t.Errorf("a report from %q to %q", m.From, m.To)
		}
		_, raw, _ := strings.Cut(m.Data, "\r\nFrom: ")
		r, err := dsn.Read(strings.NewReader("From: "+raw), int64(len(raw)+6))
		if err != nil {
			t.Fatalf("%v\n%s", err, m.Data)
		}
		want := []dsn.Action{dsn.Relayed, dsn.Failed}
		if n == 1 {
			want = want[:1] // the other asked for nothing
		}
		var have []dsn.Action
		for _, to := range r.Recipients {
			have = append(have, to.Action)
		}
		slices.Sort(have)
		slices.Sort(want)
		if !slices.Equal(have, want) || r.EnvID != "E1" || strings.Contains(r.Subject, "PEC") {
			t.Errorf("%v, want %v; %+v", have, want, r)
		}
	}
	if inbox := i.inbox("capo"); len(inbox) != 0 {
		t.Errorf("the administrator was told %q", inbox)
	}
	err = i.store.View(t.Context(), func(tx *mailbox.Tx) error {
		return tx.ScanMessages(0, func(m *mailbox.Message) (bool, error) {
			if m.Transit {
				t.Errorf("message %d is there yet", m.ID)
			}
			return true, nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	i.s.opt.Smarthost = nil
	if err := pass("mario@example.org", forward.Addressee{Address: "a@x.example"}); !errors.Is(err, ErrNoSmarthost) {
		t.Errorf("without a smarthost: %v", err)
	}
}

// The notification of a delay says until when it is tried, and is no failure.
func TestPassingDelayNotification(t *testing.T) {
	i := newIntake(t)
	i.s.opt.Address, i.s.opt.Hello = "pecgate@gateway.example", "gateway.example"
	u := forward.Undelivered{Item: forward.Item{ID: "p1", Queued: i.store.Now(), Envelope: &forward.Envelope{From: "mario@example.org", EnvID: "E1", Reports: 1}}, Header: []byte("Subject: ciao\r\n\r\n")}
	end := forward.End{Addressee: forward.Addressee{Address: "a@x.example", Notify: "DELAY"}, Delayed: true, Code: 451, Enhanced: "4.2.1", Text: "later"}
	raw, err := i.s.bounce(i.store.Now(), u, []forward.End{end}, 1).Bytes()
	if err != nil {
		t.Fatal(err)
	}
	r, err := dsn.Read(strings.NewReader(string(raw)), int64(len(raw)))
	if err != nil {
		t.Fatal(err)
	}
	if to := r.Recipients[0]; to.Action != dsn.Delayed || to.Status != "4.2.1" || to.Until.Sub(u.Item.Queued).Round(time.Hour) != forward.GiveUp || !end.Asks() {
		t.Errorf("%+v", to)
	}
	if end.Notify = "FAILURE"; end.Asks() {
		t.Error("who did not ask is told")
	}
}
