//go:build peers

package providersim

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Clients that others wrote read the mailbox, get the very bytes and delete.
func TestPOP3Clients(t *testing.T) {
	p := start(t, nil)
	submit(t, p, ordinary(bob+", "+ghost), bob, ghost)
	inject(t, p, ".\r\n..\r\nSubject: punti\r\n\r\n.\r\n", "Subject: lungo\r\n\r\n"+strings.Repeat("riga .\r\n", 20000))
	emitted := inbox(p.Emitted(), alice)
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(ca, p.CAPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	// In a file and not on the command line, as a careful user does.
	netrc := filepath.Join(dir, "netrc")
	if err := os.WriteFile(netrc, []byte("machine 127.0.0.1 login "+alice+" password segreta-a\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	curl := func(args ...string) []byte {
		t.Helper()
		out, err := exec.Command("curl", append([]string{"--silent", "--show-error", "--max-time", "60", "--cacert", ca, "--netrc-file", netrc}, args...)...).Output()
		if err != nil {
			t.Fatalf("curl %v: %v", args, err)
		}
		if err := p.Wait(deadline(t), func() bool { return !p.account(alice).popOpen.Load() }); err != nil {
			t.Fatal(err)
		}
		return out
	}
	base := "pop3s://" + p.POP3Addr() + "/"
	for i, e := range emitted {
		if got := curl(base + string(rune('1'+i))); !bytes.Equal(got, e.Raw) {
			t.Errorf("curl: message %d differs: %.100q", i+1, got)
		}
	}
	if list := string(curl(base)); strings.Count(list, "\n") != len(emitted) {
		t.Errorf("curl: list %q", list)
	}
	if ids := string(curl("--request", "UIDL", base)); strings.Count(ids, "\n") != len(emitted) {
		t.Errorf("curl: ids %q", ids)
	}
	if capa := string(curl("--request", "CAPA", base)); !strings.Contains(capa, "UIDL\r\n") || strings.Contains(capa, "UTF8") {
		t.Errorf("curl: capabilities %q", capa)
	}

	const program = `
import hashlib, poplib, ssl, sys
host, port, ca, user, password = sys.argv[1:]
c = poplib.POP3_SSL(host, int(port), context=ssl.create_default_context(cafile=ca))
assert "UIDL" in c.capa(), c.capa()
try:
    c.user(user); c.pass_("wrong"); raise SystemExit("a wrong password was taken")
except poplib.error_proto: pass
c.user(user); c.pass_(password)
count, size = c.stat()
ids = [l.split()[1] for l in c.uidl()[1]]
assert len(set(ids)) == count and len(c.list()[1]) == count
total = 0
for i in range(1, count + 1):
    body = b"\r\n".join(c.retr(i)[1]) + b"\r\n"
    total += len(body)
    assert body.startswith(b"\r\n".join(c.top(i, 3)[1]))
    print(hashlib.sha256(body).hexdigest())
assert total == size, (total, size)
c.dele(1); c.rset(); c.dele(count)
c.quit()
`
	host, port, _ := strings.Cut(p.POP3Addr(), ":")
	out, err := exec.Command("python3", "-c", program, host, port, ca, alice, "segreta-a").CombinedOutput()
	if err != nil {
		t.Fatalf("poplib: %v\n%s", err, out)
	}
	var want strings.Builder
	for _, e := range emitted {
		want.WriteString(e.SHA256 + "\n")
	}
	if string(out) != want.String() {
		t.Errorf("poplib read\n%swant\n%s", out, want.String())
	}
	left, err := p.Folder(alice, "INBOX")
	if err != nil || len(left) != len(emitted)-1 || left[0].UID != 1 {
		t.Errorf("%d left, %v", len(left), err)
	}
}

// The page as its own text says that curl drives it.
func TestControlByCurl(t *testing.T) {
	c := controlled(t, nil)
	file := filepath.Join(t.TempDir(), "m.eml")
	if err := os.WriteFile(file, []byte(ordinary(alice)), 0o600); err != nil {
		t.Fatal(err)
	}
	base := "http://" + c.p.ControlAddr()
	for _, args := range [][]string{
		{"-d", "cut-after-dot=1", base + "/fault"},
		{"-d", "address=x@pec.beta.example", "-d", "behaviour=silent", base + "/behaviour"},
		{"-H", "Content-Type: message/rfc822", "--data-binary", "@" + file, base + "/ordinary?mailbox=" + alice},
		{"-d", "mailbox=" + alice, "-d", "subject=Prova", base + "/certified"},
		{"-d", "mailbox=" + alice, "-d", "folder=INBOX", base + "/renumber"},
		{base + "/state?settle=30s"},
	} {
		if out, err := exec.Command("curl", append([]string{"--silent", "--show-error", "--fail", "--max-time", "60"}, args...)...).CombinedOutput(); err != nil {
			t.Errorf("curl %v: %v\n%s", args, err, out)
		}
	}
	if !c.p.Faults().CutAfterDot.Active() || c.p.Behaviour("x@pec.beta.example") != Silent || len(c.p.Emitted()) != 2 {
		t.Errorf("%+v", c.now())
	}
}
