package pec

import (
	"strings"
	"testing"
	"time"
)

func TestAbout(t *testing.T) {
	sent := func() Sent {
		return Sent{Box: ourBox, MsgID: strings.Trim(ourID, "<>"), Recipients: []string{"Altro@pec.beta.example", theirBox}, At: signTime.Add(-time.Second)}
	}
	delivery := func() *Report {
		return &Report{Kind: Delivery, Verdict: Valid, MsgID: ourID, Identifier: pecID, Sender: ourBox, Recipient: "<PROTOCOLLO@PEC.beta.example>", SignedAt: signTime}
	}
	acceptance := func() *Report {
		r := delivery()
		r.Kind, r.Recipient = Acceptance, ""
		r.Recipients = []Recipient{{Address: "nessuno@x"}, {Address: "altro@PEC.beta.example"}}
		return r
	}
	inner := &Inner{MessageID: "<" + pecID + ">", ClientID: ourID}
	for name, c := range map[string]struct {
		r    *Report
		edit func(*Report, *Sent)
		want string // recipient; "-" for none
	}{
		"delivery":                        {delivery(), func(*Report, *Sent) {}, theirBox},
		"acceptance":                      {acceptance(), func(*Report, *Sent) {}, ""},
		"another case everywhere":         {delivery(), func(r *Report, _ *Sent) { r.MsgID = strings.ToUpper(ourID); r.Sender = strings.ToUpper(ourBox) }, theirBox},
		"folded, escaped id":              {delivery(), func(r *Report, _ *Sent) { r.MsgID = " &lt;pg.01J1ZK8T\r\n\t@pec.alfa.example&gt; " }, theirBox},
		"percent signs":                   {delivery(), func(r *Report, _ *Sent) { r.MsgID = "%3Cpg.01J1ZK8T%40pec.alfa.example%3E" }, theirBox},
		"another msgid":                   {delivery(), func(r *Report, _ *Sent) { r.MsgID = "<x@y>" }, "-"},
		"another msgid, our identifier":   {delivery(), func(r *Report, s *Sent) { r.MsgID, s.Identifier = "<x@y>", pecID }, theirBox},
		"no msgid":                        {delivery(), func(r *Report, _ *Sent) { r.MsgID = "" }, "-"},
		"no msgid, our identifier":        {delivery(), func(r *Report, s *Sent) { r.MsgID, s.Identifier = "", "<"+strings.ToUpper(pecID)+">" }, theirBox},
		"no msgid, another identifier":    {delivery(), func(r *Report, s *Sent) { r.MsgID, s.Identifier = "", "x@y" }, "-"},
		"no ids at all":                   {delivery(), func(r *Report, s *Sent) { r.MsgID, r.Identifier, s.MsgID = "", "", "" }, "-"},
		"no msgid, but the original":      {delivery(), func(r *Report, _ *Sent) { r.MsgID, r.Inner = "", inner }, theirBox},
		"an original of something else":   {delivery(), func(r *Report, _ *Sent) { r.MsgID, r.Inner = "", &Inner{MessageID: "<x@y>", ClientID: ourID} }, "-"},
		"the original never beats msgid":  {delivery(), func(r *Report, _ *Sent) { r.MsgID, r.Inner = "<x@y>", inner }, "-"},
		"another sender":                  {delivery(), func(r *Report, _ *Sent) { r.Sender = "x@y" }, "-"},
		"another recipient":               {delivery(), func(r *Report, _ *Sent) { r.Recipient = "x@y" }, "-"},
		"acceptance for others":           {acceptance(), func(r *Report, _ *Sent) { r.Recipients = r.Recipients[:1] }, "-"},
		"acceptance without msgid":        {acceptance(), func(r *Report, s *Sent) { r.MsgID, s.Identifier = "", pecID }, ""},
		"an envelope":                     {delivery(), func(r *Report, _ *Sent) { r.Kind = Transport }, "-"},
		"not believed":                    {delivery(), func(r *Report, _ *Sent) { r.Verdict = Unverifiable }, "-"},
		"relayed":                         {delivery(), func(r *Report, _ *Sent) { r.Relayed = true }, "-"},
		"a clock that is slow":            {delivery(), func(_ *Report, s *Sent) { s.At = signTime.Add(23 * time.Hour) }, theirBox},
		"of before the submission":        {delivery(), func(_ *Report, s *Sent) { s.At = signTime.Add(25 * time.Hour) }, "-"},
		"of before, by daticert.xml":      {delivery(), func(r *Report, s *Sent) { r.SignedAt, r.At, s.At = time.Time{}, signTime, signTime.Add(25*time.Hour) }, "-"},
		"long after":                      {delivery(), func(_ *Report, s *Sent) { s.At = signTime.Add(-1000 * time.Hour) }, theirBox},
		"a submission of an unknown time": {delivery(), func(_ *Report, s *Sent) { s.At = time.Time{} }, theirBox},
	} {
		t.Run(name, func(t *testing.T) {
			s := sent()
			c.edit(c.r, &s)
			got, ok := c.r.About(s)
			if !ok {
				got = "-"
			}
			if got != c.want {
				t.Errorf("about %q, want %q", got, c.want)
			}
		})
	}
}

// TestKeys: equal keys are what SameAddress and SameID call the same.
func TestKeys(t *testing.T) {
	addresses := []string{"a@b", "A@B", " <a@B> ", "\u212a@b", "k@b", "", "<>"}
	for _, a := range addresses {
		for _, b := range addresses {
			if same := AddressKey(a) == AddressKey(b) && AddressKey(a) != ""; same != SameAddress(a, b) {
				t.Errorf("%q and %q: %t", a, b, same)
			}
		}
	}
	ids := []string{"a@b", "<A@b>", "&lt;a@\r\n b&gt;", "x", ""}
	for _, a := range ids {
		for _, b := range ids {
			if same := IDKey(a) == IDKey(b) && IDKey(a) != ""; same != SameID(a, b) {
				t.Errorf("%q and %q: %t", a, b, same)
			}
		}
	}
}
