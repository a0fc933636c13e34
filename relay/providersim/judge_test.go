package providersim

import "testing"

// TestJudgeIsTheProvider: what Judge says of a message is what becomes of it
// when it is sent.
func TestJudgeIsTheProvider(t *testing.T) {
	p := start(t, nil)
	accepted, refused := 0, 0
	for _, tt := range []struct {
		name string
		raw  string
		ok   bool
	}{
		{"good", ordinary(bob, "Reply-To: B <b@x.example>", "X-TipoRicevuta: Breve"), true},
		{"another From", message("From: "+bob, "To: "+bob), false},
		{"two From", message("From: "+alice, "From: "+alice, "To: "+bob), false},
		{"two in From", message("From: "+alice+", "+bob, "To: "+bob), false},
		{"From with a blank", message("From : "+alice, "To: "+bob), true}, // as lenient as some are
		{"no To", message("From: "+alice, "Cc: "+bob), false},
		{"blind", message("From: "+alice, "To: "+remote), false},
		{"Bcc", ordinary(bob, "Bcc: "+remote), false},
		{"header that ends early", "From: " + alice + "\r\nno field\r\nTo: " + bob + "\r\n\r\nx\r\n", false},
	} {
		j := Judge([]byte(tt.raw), alice, []string{bob}, 0)
		if (j.Fault == "") != tt.ok {
			t.Errorf("%s: judged %+v", tt.name, j)
		}
		submit(t, p, tt.raw, bob)
		settle(t, p)
		if tt.ok {
			accepted++
		} else {
			refused++
		}
		if a, r := len(of(p.Emitted(), Acceptance)), len(of(p.Emitted(), NonAcceptance)); a != accepted || r != refused {
			t.Fatalf("%s: %d acceptances and %d refusals so far, want %d and %d", tt.name, a, r, accepted, refused)
		}
	}
	raw := []byte(ordinary(bob, "Reply-To: B <b@x.example>", "X-TipoRicevuta: Breve"))
	j := Judge(raw, alice, []string{bob}, int64(len(raw)))
	if j.Fault != "" || len(j.From) != 1 || j.From[0] != alice || len(j.Named) != 1 || j.Named[0] != bob ||
		j.MessageID != "<pg.1@pec.alfa.example>" || j.AnswersTo != "b@x.example" || j.ReceiptFor != "breve" {
		t.Errorf("%+v", j)
	}
	if j := Judge(raw, alice, []string{bob}, int64(len(raw))-1); j.Fault == "" {
		t.Error("a size beyond the limit is good")
	}
}
