package netconn

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak" // finds goroutines that nobody waited for
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// feed writes pieces with a pause before each, and closes at the end.
func feed(wg *sync.WaitGroup, c net.Conn, pause time.Duration, pieces int, size int) {
	wg.Go(func() {
		defer c.Close()
		for range pieces {
			time.Sleep(pause)
			if _, err := c.Write(make([]byte, size)); err != nil {
				return
			}
		}
	})
}

func TestA20_SlowUploadOutlivesTheLibrarysDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var wg sync.WaitGroup
		defer wg.Wait()
		us, peer := net.Pipe()
		c := Wrap(us, Options{})
		defer c.Close()
		if err := c.SetReadDeadline(time.Now().Add(2 * time.Second)); err != nil {
			t.Fatal(err)
		}
		feed(&wg, peer, 1500*time.Millisecond, 10, 100)
		got, err := io.ReadAll(c)
		if err != nil || len(got) != 1000 {
			t.Fatalf("read %d bytes, %v", len(got), err)
		}
	})
}

func TestA18_Limits(t *testing.T) {
	tests := []struct {
		name   string
		opt    Options
		set    func(*Conn)
		pause  time.Duration
		pieces int
		size   int
		cut    bool
		until  time.Duration // of the cut
	}{
		{"silence", Options{Idle: 5 * time.Second}, nil, 6 * time.Second, 3, 1, true, 5 * time.Second},
		{"a library's longer wait is bounded", Options{MaxIdle: 3 * time.Second},
			func(c *Conn) { _ = c.SetReadDeadline(time.Now().Add(time.Hour)) }, 4 * time.Second, 3, 1, true, 3 * time.Second},
		{"no deadline goes back to idle", Options{Idle: 3 * time.Second},
			func(c *Conn) {
				_ = c.SetReadDeadline(time.Now().Add(time.Second))
				_ = c.SetReadDeadline(time.Time{})
			}, 2 * time.Second, 3, 1, false, 0},
		{"absolute end", Options{Idle: 5 * time.Second, Absolute: 20 * time.Second}, nil, time.Second, 60, 1, true, 20 * time.Second},
		{"absolute end moved nearer", Options{Idle: 5 * time.Second, Absolute: time.Hour},
			func(c *Conn) { _ = c.SetAbsolute(time.Now().Add(4 * time.Second)) }, time.Second, 60, 1, true, 4 * time.Second},
		{"absolute end lifted", Options{Idle: 5 * time.Second, Absolute: 2 * time.Second},
			func(c *Conn) { _ = c.SetAbsolute(time.Time{}) }, time.Second, 10, 1, false, 0},
		{"one byte a second against a pace of ten", Options{Idle: 30 * time.Second},
			func(c *Conn) { c.Expect(10, 60*time.Second) }, time.Second, 1000, 1, true, 66600 * time.Millisecond},
		{"a pace that is kept", Options{Idle: 30 * time.Second},
			func(c *Conn) { c.Expect(10, 5*time.Second) }, 2 * time.Second, 100, 20, false, 0},
		{"a pace no longer asked", Options{Idle: 30 * time.Second},
			func(c *Conn) { c.Expect(10, time.Second); c.Expect(0, 0) }, 2 * time.Second, 10, 1, false, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var wg sync.WaitGroup
				defer wg.Wait()
				us, peer := net.Pipe()
				c := Wrap(us, tt.opt)
				defer c.Close()
				if tt.set != nil {
					tt.set(c)
				}
				start := time.Now()
				feed(&wg, peer, tt.pause, tt.pieces, tt.size)
				got, err := io.ReadAll(c)
				if cut := errors.Is(err, os.ErrDeadlineExceeded); cut != tt.cut {
					t.Fatalf("cut %v after %d bytes and %v: %v", cut, len(got), time.Since(start), err)
				}
				if took := time.Since(start); tt.cut && took != tt.until {
					t.Errorf("cut after %v, want %v", took, tt.until)
				}
				if !tt.cut && len(got) != tt.pieces*tt.size {
					t.Errorf("%d bytes of %d", len(got), tt.pieces*tt.size)
				}
			})
		})
	}
}

func TestPastDeadlineStopsAWaitingRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		us, peer := net.Pipe()
		defer peer.Close()
		c := Wrap(us, Options{Idle: time.Hour})
		defer c.Close()
		var wg sync.WaitGroup
		defer wg.Wait()
		wg.Go(func() {
			for range 2 { // stays in force until another deadline is set
				if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("read: %v", err)
				}
			}
		})
		synctest.Wait()
		if err := c.SetReadDeadline(time.Now()); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		if err := c.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		wg.Go(func() { _, _ = peer.Write([]byte("x")) })
		if _, err := c.Read(make([]byte, 1)); err != nil {
			t.Errorf("after a new deadline: %v", err)
		}
	})
}

func TestLargeWriteToASlowReaderRolls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		us, peer := net.Pipe()
		c := Wrap(us, Options{})
		if err := c.SetWriteDeadline(time.Now().Add(2 * time.Second)); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		defer wg.Wait()
		var got bytes.Buffer
		wg.Go(func() {
			p := make([]byte, writeChunk)
			for {
				time.Sleep(time.Second)
				n, err := peer.Read(p)
				got.Write(p[:n])
				if err != nil {
					return
				}
			}
		})
		want := bytes.Repeat([]byte("0123456789abcdef"), 10<<10)
		n, err := c.Write(want)
		if err != nil || n != len(want) {
			t.Fatalf("wrote %d of %d: %v", n, len(want), err)
		}
		c.Close()
		wg.Wait()
		if !bytes.Equal(got.Bytes(), want) {
			t.Error("bytes changed")
		}
	})
}

func TestCutter(t *testing.T) {
	var wg sync.WaitGroup
	defer wg.Wait()
	a, b := net.Pipe()
	k := Cut(a, -1, 5)
	var got []byte
	wg.Go(func() { got, _ = io.ReadAll(b) })
	if n, err := k.Write([]byte("hello world")); n != 5 || !errors.Is(err, ErrCut) {
		t.Errorf("wrote %d, %v", n, err)
	}
	wg.Wait()
	if string(got) != "hello" {
		t.Errorf("peer read %q", got)
	}
	a, b = net.Pipe()
	k = Cut(a, 3, -1)
	wg.Go(func() { _, _ = b.Write([]byte("hello")); b.Close() })
	if got, err := io.ReadAll(k); string(got) != "hel" || !errors.Is(err, ErrCut) {
		t.Errorf("read %q, %v", got, err)
	}
}
