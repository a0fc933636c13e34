package dsn

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files anew; read the difference before it is kept")

func at(hour, minute int) time.Time {
	return time.Date(2026, 11, 20, hour, minute, 0, 0, time.FixedZone("", 3600))
}

// reports are one report for each kind of end.
func reports() map[string]*Report {
	base := func(to ...Recipient) *Report {
		return &Report{
			From: "pecgate@gw.example", FromName: "pecgate", To: "mario.rossi@example.org", Date: at(10, 30),
			MessageID: "dsn.1@gw.example", Refers: []string{"CLIENT-1@exchange.example"}, Loop: "pecgate@gw.example",
			Reporter: "gw.example", EnvID: "env+1 a", Arrived: at(10, 0), Recipients: to, Title: "Offerta n. 7: è pronta",
			Headers: []byte("From: Mario <mario.rossi@example.org>\r\nSubject: Offerta n. 7\r\nMessage-ID: <CLIENT-1@exchange.example>\r\n"),
		}
	}
	refused := base(Recipient{
		Original: Address{Type: "rfc822", Addr: "Info@pec.example"}, Final: Address{Addr: "info@pec.example"}, Action: Failed, Status: "5.7.1",
		Remote: "smtps.pec.example", DiagType: "smtp", Diagnostic: "550 5.7.1 mittente non autorizzato: perché\r\nAction: delivered", At: at(10, 1), Said: "550 5.7.1 mittente non autorizzato: perché\r\nx",
	}, Recipient{Final: Address{Addr: "altro@pec.example"}, Action: Failed, Status: "5.7.1"})
	refused.Said, refused.SaidEN = []string{"Il gestore non ha accettato il messaggio: nessun destinatario lo ha ricevuto."}, []string{"The provider did not take the message: no recipient has received it."}
	delivered := base(Recipient{
		Final: Address{Addr: "info@pec.example"}, Action: Delivered, Status: "2.1.5", LogID: "opec1.20261120103000.00001.1.1@pec.example", At: at(10, 20),
	}, Recipient{Final: Address{Addr: "ordinaria@example.org"}, Action: Relayed, Status: "2.1.9"})
	delivered.English = true
	late := base(Recipient{Final: Address{Addr: "info@pec.example"}, Action: Delayed, Status: "4.4.7", Until: at(23, 0), DiagType: "x-pec", Diagnostic: "preavviso di mancata consegna"})
	late.Headers = nil
	foreign := base(Recipient{Original: Address{Type: "utf-8", Addr: "città@pec.example"}, Final: Address{Addr: "città@pec.example"}, Action: Failed, Status: "5.1.1"})
	foreign.Full, foreign.Headers = []byte("Subject: x\r\n\r\nbody\r\n"), nil
	return map[string]*Report{"refused": refused, "delivered": delivered, "delayed": late, "utf8": foreign}
}

func TestReportsAreWritten(t *testing.T) {
	for name, r := range reports() {
		t.Run(name, func(t *testing.T) {
			got, err := r.Bytes()
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("..", "..", "testdata", "golden", "dsn", name+".eml")
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("the report is\n%s\nwant\n%s", got, want)
			}
			for line := range bytes.Lines(got) {
				if !bytes.HasSuffix(line, []byte("\r\n")) || len(line) > 1000 || bytes.ContainsFunc(line, func(r rune) bool { return r >= 0x7f }) {
					t.Errorf("line %q", line)
				}
			}
		})
	}
}

// What was written is read back, but for the texts for people.
func TestReportsAreReadBack(t *testing.T) {
	for name, r := range reports() {
		t.Run(name, func(t *testing.T) {
			b, err := r.Bytes()
			if err != nil {
				t.Fatal(err)
			}
			got, err := Read(bytes.NewReader(b), int64(len(b)))
			if err != nil {
				t.Fatal(err)
			}
			if got.Returned() == "" && len(r.Headers) > 0 {
				t.Error("the returned header names no Message-ID")
			}
			if got.EnvID != r.EnvID || got.Reporter != r.Reporter || !got.Arrived.Equal(r.Arrived) || got.To != r.To || got.Loop != r.Loop ||
				got.MessageID != r.MessageID || !reflect.DeepEqual(got.Refers, r.Refers) || got.From != r.From {
				t.Errorf("read %+v", got)
			}
			if len(got.Recipients) != len(r.Recipients) {
				t.Fatalf("%d recipients", len(got.Recipients))
			}
			for i, to := range got.Recipients {
				want := r.Recipients[i]
				if to.Final.Addr != want.Final.Addr || to.Original != want.Original || to.Action != want.Action || to.Status != want.Status ||
					to.Remote != want.Remote || to.DiagType != want.DiagType || to.LogID != want.LogID || !to.At.Equal(want.At) || !to.Until.Equal(want.Until) {
					t.Errorf("recipient %d is %+v, want %+v", i, to, want)
				}
			}
		})
	}
}

// What a report must not be written of.
func TestReportsThatAreNone(t *testing.T) {
	ok := func() *Report { return reports()["delivered"] }
	for name, spoil := range map[string]func(*Report){
		"no recipients":     func(r *Report) { r.Recipients = nil },
		"too many":          func(r *Report) { r.Recipients = make([]Recipient, MaxRecipients+1) },
		"no reporter":       func(r *Report) { r.Reporter = "" },
		"no address":        func(r *Report) { r.Recipients[0].Final.Addr = "" },
		"strange action":    func(r *Report) { r.Recipients[0].Action = "lost" },
		"status of another": func(r *Report) { r.Recipients[0].Status = "5.1.1" },
		"no status":         func(r *Report) { r.Recipients[0].Status = "2.1" },
		"8-bit original":    func(r *Report) { r.Full = []byte("Subject: \xc3\xa8\r\n\r\n") },
	} {
		t.Run(name, func(t *testing.T) {
			r := ok()
			spoil(r)
			if b, err := r.Bytes(); !errors.Is(err, ErrBroken) {
				t.Errorf("written all the same: %v\n%s", err, b)
			}
		})
	}
}

// The reader takes nothing that is not by the RFC.
func TestReaderIsStrict(t *testing.T) {
	b, err := reports()["refused"].Bytes()
	if err != nil {
		t.Fatal(err)
	}
	whole := string(b)
	for _, c := range []struct {
		name, old, with string
		want            error
	}{
		{"as it is", "\x00", "", nil},
		{"not a report", "multipart/report", "multipart/mixed", ErrNoReport},
		{"another report", "report-type=delivery-status", "report-type=disposition-notification", ErrNoReport},
		{"no status part", "message/delivery-status", "text/plain", ErrBroken},
		{"no reporter", "Reporting-MTA: dns; gw.example", "X-Else: y", ErrBroken},
		{"no final recipient", "Final-Recipient: rfc822; info@", "X-Else: rfc822; info@", ErrBroken},
		{"recipient without a type", "Final-Recipient: rfc822; info@", "Final-Recipient: info@", ErrBroken},
		{"no action", "Action: failed", "X-Else: failed", ErrBroken},
		{"strange action", "Action: failed", "Action: eaten", ErrBroken},
		{"no status", "Status: 5.7.1", "Status: five", ErrBroken},
		{"a success that failed", "Status: 5.7.1", "Status: 2.7.1", ErrBroken},
		{"the same twice", "Status: 5.7.1", "Status: 5.7.1\r\nStatus: 5.7.1", ErrBroken},
		{"no field", "Status: 5.7.1", "Status: 5.7.1\r\nrubbish", ErrBroken},
		{"a comment", "Action: failed", "Action: failed (for good)", nil},
		{"other case", "Action: failed", "aCTION: FAILED", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := strings.Replace(whole, c.old, c.with, 1)
			r, err := Read(strings.NewReader(m), int64(len(m)))
			if c.want == nil && err != nil || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("error %v, want %v", err, c.want)
			}
			if err == nil && r.Recipients[0].Action != Failed {
				t.Errorf("read %+v", r.Recipients[0])
			}
		})
	}
}

// A word of a stranger makes no field.
func TestStrangersMakeNoFields(t *testing.T) {
	evil := "x\r\nAction: delivered\r\n\r\nFinal-Recipient: rfc822; evil@pec.example\r\n\r\n--\r\n"
	r := reports()["delayed"]
	r.Title, r.EnvID, r.Said, r.Subject, r.FromName = evil, evil, []string{evil}, evil, evil
	r.Refers, r.Headers = []string{evil, "ok@x.example"}, []byte("Subject: "+evil+"evil evil\r\nX: y\r\n")
	to := &r.Recipients[0]
	to.Diagnostic, to.Said, to.LogID, to.Remote = evil, evil, evil, evil
	to.Original = Address{Type: "rfc822", Addr: evil}
	b, err := r.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	got, err := Read(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	if len(got.Recipients) != 1 || got.Recipients[0].Action != Delayed || len(got.Refers) != 1 {
		t.Errorf("read %+v", got)
	}
}

func TestAsking(t *testing.T) {
	for in, want := range map[string]Notify{
		"": {}, "NEVER": {Never: true}, "SUCCESS,FAILURE": {Success: true, Failure: true}, "delay": {Delay: true},
	} {
		n, err := ParseNotify(in)
		if err != nil || n != want || !strings.EqualFold(n.String(), in) {
			t.Errorf("NOTIFY=%s is %+v %v", in, n, err)
		}
	}
	for _, in := range []string{"NEVER,SUCCESS", "x", ",", "DELAY,DELAY", "SUCCESS,"} {
		if n, err := ParseNotify(in); err == nil {
			t.Errorf("NOTIFY=%s is %+v", in, n)
		}
	}
	for in, want := range map[string]string{"a+2Bb+3D": "a+b=", "": "", "plain": "plain", "+20": " "} {
		if got, err := DecodeXtext(in); err != nil || got != want || EncodeXtext(want) != in {
			t.Errorf("xtext %q is %q %v", in, got, err)
		}
	}
	for _, in := range []string{"+", "+2", "+2b", "+GG", "a b", "a=b", "è"} {
		if got, err := DecodeXtext(in); err == nil {
			t.Errorf("xtext %q is %q", in, got)
		}
	}
	for in, want := range map[string]Address{
		"rfc822;Info+2Bx@pec.example":        {Type: "rfc822", Addr: "Info+x@pec.example"},
		`utf-8;citt\x{E0}@pec.example`:       {Type: "utf-8", Addr: "città@pec.example"},
		`x400;/S=rossi`:                      {},
		"rfc822":                             {},
		"rfc822;a+0D+0Ab@pec.example":        {},
		`utf-8;\x{110000}@x`:                 {},
		"rfc822;" + strings.Repeat("a", 600): {},
		";a@b":                               {},
	} {
		if got, err := ParseORCPT(in); got != want || (err == nil) != (want != Address{}) {
			t.Errorf("ORCPT %.60q is %+v %v", in, got, err)
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, r := range reports() {
		b, err := r.Bytes()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Read(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			if !errors.Is(err, ErrNoReport) && !errors.Is(err, ErrBroken) {
				t.Fatalf("another error: %v", err)
			}
			return
		}
		// What was read can be written, and says the same then.
		r.Full = nil
		out, err := r.Bytes()
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		again, err := Read(bytes.NewReader(out), int64(len(out)))
		if err != nil {
			t.Fatalf("what was written cannot be read: %v\n%s", err, out)
		}
		if len(again.Recipients) != len(r.Recipients) {
			t.Fatalf("%d recipients became %d", len(r.Recipients), len(again.Recipients))
		}
		for i := range r.Recipients {
			if a, b := r.Recipients[i], again.Recipients[i]; a.Action != b.Action || a.Status != b.Status {
				t.Fatalf("%+v became %+v", a, b)
			}
		}
	})
}
