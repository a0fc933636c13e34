package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
)

const (
	// aheadBytes is the largest message that is read into memory while those before
	// it are in the hands of the callback.
	aheadBytes = 64 << 10
	// aheadMessages is how many of them wait at most.
	aheadMessages = 2
)

// ahead calls read for 0 to n-1 in a goroutine of its own and use with what it
// gave, in order. read tells whether to go on after it. When use fails the message
// that is being read is read to its end, none after it, and the error is returned.
func ahead[T any](n int, read func(i int) (v T, more bool), use func(T) error) error {
	ready, stop := make(chan T, aheadMessages), make(chan struct{})
	var reader sync.WaitGroup
	reader.Go(func() {
		defer close(ready)
		for i := range n {
			v, more := read(i)
			select {
			case ready <- v:
			case <-stop:
				return
			}
			select {
			case <-stop:
				return
			default:
			}
			if !more {
				return
			}
		}
	})
	defer reader.Wait()
	defer close(stop)
	for v := range ready {
		if err := use(v); err != nil {
			return err
		}
	}
	return nil
}

// runs splits a list into parts: messages that may be read ahead stand together,
// each of the others by itself.
func runs[T any](list []T, size func(T) int64) (parts [][]T) {
	small := false
	for i := range list {
		n := size(list[i])
		if fits := n >= 0 && n <= aheadBytes; fits && small {
			parts[len(parts)-1] = append(parts[len(parts)-1], list[i])
		} else {
			parts, small = append(parts, list[i:i+1:i+1]), fits
		}
	}
	return parts
}

// early is a message that was read before its turn.
type early struct {
	it   Item // without Body
	has  bool // it is to be handed out
	body bytes.Buffer
	gone bool
	err  error // of the session
}

// keep is the callback that reads a message.
func (e *early) keep(_ context.Context, it Item) error {
	e.it, e.has = it, true
	if it.Problem != nil {
		return nil
	}
	if it.Size >= 0 {
		e.body.Grow(int(it.Size) + bytes.MinRead)
	}
	// A line may count one byte in a list and have two. What is longer than that was
	// listed wrongly, and is not collected to its end.
	n, err := e.body.ReadFrom(io.LimitReader(it.Body, 2*aheadBytes+1))
	if err == nil && n > 2*aheadBytes {
		err = fmt.Errorf("%w: above %d bytes, listed as %d at most", ErrSize, n-1, aheadBytes)
	}
	return err
}

// failed is what ended the reading, as of the session.
func (e *early) failed(err error) error {
	var said *callbackError
	if errors.As(err, &said) {
		return said.err
	}
	return err
}

// give hands it out.
func (e *early) give(ctx context.Context, fn func(ctx context.Context, it Item) error) error {
	it := e.it
	if it.Problem != nil {
		it.Body = failing{it.Problem}
	} else {
		it.Body = bytes.NewReader(e.body.Bytes())
	}
	return call(ctx, it, fn)
}
