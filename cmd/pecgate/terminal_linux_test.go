package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"unsafe"
)

// terminal opens a pseudo terminal: what a person types goes into the keyboard, and what they see comes out of it.
func terminal(t *testing.T) (keyboard, tty *os.File) {
	t.Helper()
	keyboard, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { keyboard.Close() })
	var number, unlock uint32
	raw, err := keyboard.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var failed syscall.Errno
	err = raw.Control(func(fd uintptr) {
		if _, _, failed = syscall.Syscall(syscall.SYS_IOCTL, fd, syscall.TIOCSPTLCK, uintptr(unsafe.Pointer(&unlock))); failed == 0 {
			_, _, failed = syscall.Syscall(syscall.SYS_IOCTL, fd, syscall.TIOCGPTN, uintptr(unsafe.Pointer(&number)))
		}
	})
	if err != nil || failed != 0 {
		t.Fatal(err, failed)
	}
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tty.Close() })
	return keyboard, tty
}

// prompts types one answer for each prompt that it is shown.
type prompts struct {
	t        *testing.T
	keyboard *os.File
	tty      *os.File
	answers  []string
	shown    bytes.Buffer
}

func (p *prompts) Write(b []byte) (int, error) {
	p.shown.Write(b)
	if !strings.HasSuffix(string(b), ": ") || len(p.answers) == 0 {
		return len(b), nil
	}
	if echo(p.tty) {
		p.t.Error("a prompt is shown while the terminal echoes")
	}
	_, err := p.keyboard.WriteString(p.answers[0])
	p.answers = p.answers[1:]
	return len(b), err
}

func echo(f *os.File) bool {
	var s syscall.Termios
	_, _, failed := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), syscall.TCGETS, uintptr(unsafe.Pointer(&s)))
	return failed == 0 && s.Lflag&syscall.ECHO != 0
}

// However it ends, the terminal has its echo back, and nothing that was typed was shown.
func TestPasswordFromTerminal(t *testing.T) {
	for _, c := range []struct {
		answers      []string
		want, failed string
	}{
		{[]string{"hunter2\r", "hunter2\r"}, "hunter2", ""},
		{[]string{"hunterx\x7f2\r", "hunter2\r"}, "hunter2", ""},
		{[]string{"hunter2\r", "hunter3\r"}, "", "the two are not the same password"},
		{[]string{"\r"}, "", "the password is empty"},
		{[]string{"hunter2\r", "\r"}, "", "the two are not the same password"},
		{[]string{"hunt\x03"}, "", "interrupted"},
		{[]string{"hunter2\r", "\x03"}, "", "interrupted"},
		{[]string{"\x04"}, "", "interrupted"},
	} {
		keyboard, tty := terminal(t)
		p := &prompts{t: t, keyboard: keyboard, tty: tty, answers: c.answers}
		got, err := readSecret(tty, p, "password")
		if got != c.want || (err == nil) != (c.failed == "") || err != nil && err.Error() != c.failed {
			t.Errorf("%q: %q, %v", c.answers, got, err)
		}
		if !echo(tty) {
			t.Error("the echo stays off")
		}
		if strings.Contains(p.shown.String(), "hunt") {
			t.Errorf("shown: %q", p.shown.String())
		}
		// A mark written to the terminal comes after everything it echoed.
		if _, err := tty.WriteString("END"); err != nil {
			t.Fatal(err)
		}
		var seen []byte
		for !bytes.HasSuffix(seen, []byte("END")) && len(seen) < 4096 {
			b := make([]byte, 256)
			n, err := keyboard.Read(b)
			if err != nil {
				t.Fatal(err)
			}
			seen = append(seen, b[:n]...)
		}
		if bytes.Contains(seen, []byte("hunt")) {
			t.Errorf("the terminal shows %q", seen)
		}
	}
}
