//go:build peers

package dsn

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Another's reader (Python's email package) sees the same in our reports.
func TestPythonReadsReports(t *testing.T) {
	for name, r := range reports() {
		t.Run(name, func(t *testing.T) {
			b, err := r.Bytes()
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(t.TempDir(), "report.eml")
			if err := os.WriteFile(file, b, 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := exec.CommandContext(t.Context(), "python3", "-c", `
import email, email.policy, json, sys
m = email.message_from_binary_file(open(sys.argv[1], "rb"), policy=email.policy.default)
parts = list(m.iter_parts())
groups = parts[1].get_payload()
print(json.dumps({
  "type": m.get_content_type(), "report": m.get_param("report-type"), "defects": [str(d) for p in m.walk() for d in p.defects],
  "parts": [p.get_content_type() for p in parts], "text": parts[0].get_content(), "subject": m["Subject"],
  "envid": groups[0]["Original-Envelope-Id"], "reporter": groups[0]["Reporting-MTA"],
  "recipients": [[g["Final-Recipient"], g["Action"], g["Status"]] for g in groups[1:]]}))
`, file).CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			var got struct {
				Type, Report, Text, Subject, Envid, Reporter string
				Defects, Parts                               []string
				Recipients                                   [][3]string
			}
			if err := json.Unmarshal(out, &got); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if got.Type != "multipart/report" || got.Report != "delivery-status" || len(got.Defects) > 0 || len(got.Parts) < 2 ||
				got.Parts[1] != "message/delivery-status" || got.Envid != r.EnvID || got.Reporter != "dns; "+r.Reporter || got.Subject != r.title() {
				t.Errorf("Python reads %s", out)
			}
			if len(got.Recipients) != len(r.Recipients) {
				t.Fatalf("Python reads %s", out)
			}
			for i, to := range r.Recipients {
				if want := [3]string{to.Final.String(), string(to.Action), to.Status}; got.Recipients[i] != want {
					t.Errorf("recipient %d is %q, want %q", i, got.Recipients[i], want)
				}
			}
		})
	}
}
