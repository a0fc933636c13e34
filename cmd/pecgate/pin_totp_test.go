package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base32"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pecgate/gateway/auth"
	"pecgate/relay"
	"pecgate/relay/submit"
)

// enrolled runs `pecgate pin --totp` as a person with an app does: reads the key, and types the codes that answer gives for
// it, one for each time that it is asked.
func enrolled(t testing.TB, config, user string, answer func(secret []byte) []string) (state int, line, shown string, secret []byte) {
	t.Helper()
	keyboard, typed := io.Pipe()
	screen, drawn := io.Pipe()
	var out bytes.Buffer
	ended := make(chan int, 1)
	go func() {
		n := run(context.Background(), []string{"pin", "--totp", user, "--config", config}, keyboard, &out, drawn)
		drawn.Close()
		keyboard.Close()
		ended <- n
	}()
	var text strings.Builder
	var answers []string
	for r := bufio.NewReader(screen); ; {
		c, err := r.ReadByte()
		if err != nil {
			break
		}
		text.WriteByte(c)
		if !strings.HasSuffix(text.String(), "shows now: ") {
			continue
		}
		if secret == nil {
			for _, l := range strings.Split(text.String(), "\n") {
				if b, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(strings.ReplaceAll(strings.TrimSpace(l), " ", "")); err == nil && len(b) == 20 {
					secret = b
				}
			}
			if secret == nil {
				t.Fatalf("no key is shown:\n%s", &text)
			}
			answers = answer(secret)
		}
		if len(answers) == 0 {
			typed.Close()
			continue
		}
		if _, err := io.WriteString(typed, answers[0]+"\n"); err != nil {
			t.Fatal(err)
		}
		answers = answers[1:]
	}
	return <-ended, out.String(), text.String(), secret
}

func codeNow(t testing.TB, secret []byte) string {
	t.Helper()
	code, err := auth.CodeAt(secret, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return code
}

// wrongCode is none of the codes of these minutes.
func wrongCode(t *testing.T, secret []byte) string {
	t.Helper()
next:
	for n := range 1000000 {
		code := fmt.Sprintf("%06d", n)
		for d := -10; d <= 10; d++ {
			if c, err := auth.CodeAt(secret, time.Now().Add(time.Duration(d)*30*time.Second)); err != nil || c == code {
				continue next
			}
		}
		return code
	}
	t.Fatal("all codes are right")
	return ""
}

// app is the authenticator of a user: it never shows a code twice.
type app6238 struct {
	t      testing.TB
	secret []byte
	step   int64
}

// next is a code that is good now and was not given yet. Two are at once, the third comes in the next half minute.
func (a *app6238) next() string {
	a.t.Helper()
	a.step = max(a.step+1, time.Now().Unix()/30)
	code, err := auth.CodeAt(a.secret, time.Unix(a.step*30, 0))
	if err != nil {
		a.t.Fatal(err)
	}
	return code
}

// enrol gives a user of the house one-time codes in place of the PIN.
func (h *house) enrol(login string) *app6238 {
	h.t.Helper()
	state, line, shown, secret := enrolled(h.t, h.config(), login, func(secret []byte) []string { return []string{codeNow(h.t, secret)} })
	if state != exitGood || !strings.HasPrefix(line, `totp: {sealed: "v1.`) || strings.Count(line, "\n") != 1 {
		h.t.Fatalf("%d %q\n%s", state, line, shown)
	}
	start := strings.Index(h.policy, "  - login: "+login+"\n")
	rest := h.policy[start:]
	end := len(rest)
	if i := strings.Index(rest[1:], "\n  - login: "); i >= 0 {
		end = i + 2
	}
	user := rest[:end]
	if i := strings.Index(user, "    pin: "); i >= 0 {
		user = user[:i]
	}
	h.policy = h.policy[:start] + user + "    " + line + rest[end:]
	h.writePolicy(h.policy)
	return &app6238{t: h.t, secret: secret}
}

// TestG6_CodesByAllWaysLeaveNoTrace: a user with one-time codes gives them in every way in which a PIN is given; each once, over a
// restart too; and the fixed PIN that they had is worth nothing (G4). Neither the codes nor the secret are in anything that
// is kept, sent, logged, told or backed up.
func TestG6_CodesByAllWaysLeaveNoTrace(t *testing.T) {
	h := newHouse(t, mailboxText(boxA, true, "    pin_methods: [subject, header, password, reply]\n", "mario", "anna"), mailboxText(boxB, false, "", "lucia"))
	mario, anna := h.enrol("mario"), h.enrol("anna")
	h.start()
	sent := 0
	send := func(login, password, subject, more string) submit.Result {
		sent++
		return h.send(login, password, boxA, []string{boxB}, more+mail(boxA, boxB, "Diffida"+subject, fmt.Sprintf("c%d@alfa.example", sent)))
	}
	is := func(what, want string, r submit.Result) {
		t.Helper()
		if r.Class != submit.HandedOver || !strings.Contains(r.Text, want) {
			t.Fatalf("%s: %+v", what, r)
		}
	}
	var codes []string
	code := func(a *app6238) string { codes = append(codes, a.next()); return codes[len(codes)-1] }

	first := code(mario)
	is("subject", "accepted as", send("mario", "mariomario", " [PIN:"+first+"]", "Thread-Topic: Diffida [PIN:"+first+"]\r\n"))
	is("the same code in another message", "held as", send("mario", "mariomario", " [PIN:"+first+"]", ""))
	to, notice := h.confirmAt("mario", 1)
	if strings.Contains(notice, first) {
		t.Errorf("the notice holds a code:\n%s", notice)
	}
	if r := h.reply("mario", to, first); r.Code != 550 || !strings.Contains(r.Text, "used already") {
		t.Errorf("the same code in a reply: %+v", r)
	}
	if r := h.reply("mario", to, pinMario); r.Code != 550 {
		t.Errorf("the PIN of before: %+v", r)
	}
	h.stop()
	h.start()
	if r := h.reply("mario", to, first); r.Code != 550 {
		t.Errorf("the same code after a restart: %+v", r)
	}
	second := code(mario)
	is("reply", "confirmed", h.reply("mario", to, second[:3]+" "+second[3:]+"\r\n\r\n> Confermare"))
	is("header", "accepted as", send("anna", "annaanna", "", "X-Pecgate-PIN: "+code(anna)+"\r\n"))
	is("password", "accepted as", send("anna", "annaanna "+code(anna), "", ""))
	is("password again", "held as", send("anna", "annaanna "+codes[len(codes)-1], "", ""))
	h.append("mario", `"Bozze"`, mail(boxA, boxB, "Diffida [PIN:"+first+"]", "c1@alfa.example"))
	h.until("four are accepted", func() bool { return h.status().Queue[relay.Accepted] == 4 })

	backup := filepath.Join(h.dir, "backup")
	if state, out, errs := program(t, "", "--config", h.config(), "backup", backup); state != exitGood {
		t.Fatalf("backup: %d %s%s", state, out, errs)
	}
	h.stop()
	var forms []string // a code of six digits may stand anywhere by chance; with what stood before it it does not
	for _, c := range codes {
		forms = append(forms, "PIN:"+c, "PIN: "+c, "Pecgate-PIN: "+c, "annaanna "+c, `"`+c+`"`, "pin="+c)
	}
	for _, a := range []*app6238{mario, anna} {
		forms = append(forms, string(a.secret), auth.CodeText(a.secret), inFours(auth.CodeText(a.secret)))
	}
	tr, places := newTracer(forms), 0
	look := func(where string, b []byte) {
		places++
		if tr.in(b) != "" {
			t.Errorf("a code or its secret stands in %s", where)
		}
	}
	if tr.in([]byte("Subject: x [PIN:"+first+"]")) == "" {
		t.Error("the search finds nothing")
	}
	h.everyByte(backup, look)
	policy, err := os.ReadFile(filepath.Join(h.dir, "policy.yaml"))
	if err != nil || places < 10 {
		t.Errorf("%d places, %v", places, err)
	}
	look("the policy", policy)
}

// TestG5_WrongCodesLockUntilUnlocked: wrong codes are counted with wrong PINs, and lock and unlock as these do.
func TestG5_WrongCodesLockUntilUnlocked(t *testing.T) {
	h := newHouse(t, mailboxText(boxA, true, "    pin_methods: [subject]\n", "mario"), mailboxText(boxB, false, "", "lucia"))
	app := h.enrol("mario")
	h.start()
	wrong := wrongCode(t, app.secret)
	send := func(code string) submit.Result {
		return h.send("mario", "mariomario", boxA, []string{boxB}, mail(boxA, boxB, "Diffida [PIN:"+code+"]", rand26()+"@alfa.example"))
	}
	for range auth.WrongPINs {
		if r := send(wrong); r.Code != 550 || !strings.Contains(r.Text, "each is good once") {
			t.Fatalf("%+v", r)
		}
	}
	if r := send(app.next()); r.Class == submit.HandedOver || !strings.Contains(r.Text, "locked") {
		t.Errorf("the right code after ten wrong ones: %+v", r)
	}
	if state, out, errs := program(t, "", "--config", h.config(), "pin", "--unlock", "mario"); state != exitGood || !strings.Contains(out, "10 wrong ones") {
		t.Errorf("%d %s%s", state, out, errs)
	}
	if r := send(app.next()); r.Class != submit.HandedOver {
		t.Errorf("after the unlocking: %+v", r)
	}
}

// TestEnrolling: the line is printed for a right code alone, within three tries.
func TestEnrolling(t *testing.T) {
	config := configFolder(t)
	for _, c := range []struct {
		name    string
		answers func(right, wrong string) []string
		want    int
	}{
		{"at once", func(right, _ string) []string { return []string{right} }, exitGood},
		{"as apps show it", func(right, _ string) []string { return []string{right[:3] + " " + right[3:]} }, exitGood},
		{"at the third try", func(right, wrong string) []string { return []string{wrong, "", right} }, exitGood},
		{"at the fourth try", func(right, wrong string) []string { return []string{wrong, wrong, wrong, right} }, exitFailed},
		{"never", func(string, string) []string { return nil }, exitFailed},
	} {
		state, line, shown, secret := enrolled(t, config, "Mario.Rossi@example.org", func(secret []byte) []string {
			return c.answers(codeNow(t, secret), wrongCode(t, secret))
		})
		if state != c.want || strings.HasPrefix(line, "totp: {sealed: \"v1.") != (c.want == exitGood) || c.want != exitGood && line != "" {
			t.Errorf("%s: %d %q\n%s", c.name, state, line, shown)
		}
		if strings.Contains(line, auth.CodeText(secret)) {
			t.Errorf("%s: the line holds the secret", c.name)
		}
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--totp", "nobody"}, "--totp nobody: policy.yaml has no such user"},
		{[]string{"--totp", ""}, "policy.yaml has no such user"},
		{[]string{"--totp", "mario", "--unlock", "mario"}, "use --totp or --unlock, not both"},
		{[]string{"--totp", "mario", "--json"}, "--json belongs to --unlock"},
	} {
		if state, out, errs := program(t, "", append([]string{"pin", "--config", config}, c.args...)...); state != exitUsage || out != "" || !strings.Contains(errs, c.want) {
			t.Errorf("%v: %d %q %q", c.args, state, out, errs)
		}
	}
}

// TestTerminalQR: what is drawn has the three finders of a QR code where they belong (ISO/IEC 18004), a quiet zone of four
// modules around it, and another picture for another text.
func TestTerminalQR(t *testing.T) {
	drawn, err := terminalQR(auth.CodeURL("pecgate", "mario", []byte("12345678901234567890")))
	if err != nil {
		t.Fatal(err)
	}
	var rows [][]bool
	for _, line := range strings.Split(strings.TrimSuffix(drawn, "\n"), "\n") {
		line, ok := strings.CutPrefix(line, "\x1b[30;107m")
		line, good := strings.CutSuffix(line, "\x1b[0m")
		if !ok || !good {
			t.Fatalf("%q has not its colours", line)
		}
		var up, down []bool
		for _, r := range line {
			up, down = append(up, r == '█' || r == '▀'), append(down, r == '█' || r == '▄')
		}
		rows = append(rows, up, down)
	}
	size := len(rows[0]) - 8
	dark := func(x, y int) bool { return rows[y+4][x+4] }
	for _, corner := range [][2]int{{0, 0}, {size - 7, 0}, {0, size - 7}} {
		for y := range 7 {
			for x := range 7 {
				ring := min(x, y, 6-x, 6-y)
				if dark(corner[0]+x, corner[1]+y) != (ring != 1) {
					t.Fatalf("no finder at %v\n%s", corner, drawn)
				}
			}
		}
	}
	for i := range rows[0] {
		for n := range 4 {
			if rows[n][i] || rows[size+7-n][i] || rows[min(i, size+7)][n] || rows[min(i, size+7)][size+7-n] {
				t.Fatalf("no quiet zone\n%s", drawn)
			}
		}
	}
	if other, err := terminalQR(auth.CodeURL("pecgate", "lucia", []byte("12345678901234567890"))); err != nil || other == drawn {
		t.Errorf("the same for another, %v", err)
	}
	if _, err := terminalQR(strings.Repeat("x", 5000)); err == nil {
		t.Error("more than a QR code holds is drawn")
	}
}
