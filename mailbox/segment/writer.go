package segment

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
)

const (
	// firstBuffer is what a Writer starts with; most mail fits.
	firstBuffer = 16 << 10
	// uploadBuffer is the size of the writes of a large message.
	uploadBuffer = 256 << 10
)

// Writer takes one message. It is used by one goroutine and ended by Commit or
// Abort; one that is given up without either leaves a file until the next Open.
// After a Commit that succeeded it is owed a Release.
type Writer struct {
	s     *Store
	buf   []byte // what is not written yet
	kept  *[]byte
	size  int64
	err   error // of an earlier Write
	ended bool

	pinned uint64 // the segment that waits for Release, or 0

	// of a large message
	up      File
	segment uint64
	off     int64 // where buf goes
	hash    hash.Hash
}

// Size is how many bytes of the message were taken.
func (w *Writer) Size() int64 { return w.size }

// Write takes the next bytes of the message. An error is final for this
// message, not for the store: a full disk stops an upload and nothing else.
func (w *Writer) Write(p []byte) (int, error) {
	if w.ended {
		return 0, fmt.Errorf("write message: %w", ErrClosed)
	}
	if w.err != nil {
		return 0, w.err
	}
	if w.size+int64(len(p)) > MaxMessage {
		w.err = fmt.Errorf("write message beyond %d bytes: %w", int64(MaxMessage), ErrTooBig)
		return 0, w.err
	}
	if w.up == nil && w.size+int64(len(p)) >= w.s.opts.LargeAt {
		if w.err = w.startUpload(); w.err != nil {
			return 0, w.err
		}
	}
	if w.up == nil {
		w.grow()
		w.buf = append(w.buf, p...)
	} else if w.err = w.stream(p); w.err != nil {
		return 0, w.err
	}
	w.size += int64(len(p))
	return len(p), nil
}

// grow takes the first buffer from those that were used before.
func (w *Writer) grow() {
	if w.kept != nil {
		return
	}
	var ok bool
	if w.kept, ok = w.s.buffers.Get().(*[]byte); !ok {
		b := make([]byte, 0, firstBuffer)
		w.kept = &b
	}
	w.buf = (*w.kept)[:0]
}

// giveBack gives the buffer back. Nobody else may hold it then.
func (w *Writer) giveBack() {
	if w.kept != nil && w.up == nil && cap(w.buf) <= keepBuffer {
		*w.kept = w.buf[:0]
		w.s.buffers.Put(w.kept)
	}
	w.buf, w.kept = nil, nil
}

// startUpload moves the message to a file of its own. The header stays zero
// until hash and size are known.
func (w *Writer) startUpload() error {
	n, err := w.s.nextLarge()
	if err != nil {
		return fmt.Errorf("begin large message: %w", err)
	}
	f, err := w.s.fs.Create(w.s.uploadPath(n))
	if err != nil {
		return fmt.Errorf("begin large message: %w", err)
	}
	taken := w.buf
	w.up, w.segment, w.hash = f, n, sha256.New()
	w.buf = make([]byte, block, uploadBuffer)
	return w.stream(taken)
}

// stream adds bytes to the upload.
func (w *Writer) stream(p []byte) error {
	w.hash.Write(p)
	for len(p) > 0 {
		n := min(len(p), cap(w.buf)-len(w.buf))
		w.buf = append(w.buf, p[:n]...)
		p = p[n:]
		if len(w.buf) == cap(w.buf) {
			if err := w.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *Writer) flush() error {
	err := writeAt(w.up, w.segment, w.buf, w.off)
	w.off += int64(len(w.buf))
	w.buf = w.buf[:0]
	return err
}

// Commit makes message and sidecar durable and says where the message is. It
// ends the Writer whatever it answers. All Commits that wait share one sync.
//
// ErrFailed means that the store is finished, and that this message may or may
// not be found after the next Open. Every other error, also that of ctx, means
// that it was not stored.
func (w *Writer) Commit(ctx context.Context, sidecar []byte) (Ref, error) {
	if w.ended {
		return Ref{}, fmt.Errorf("commit message: %w", ErrClosed)
	}
	defer w.Abort() // of an upload that was renamed nothing is left to remove
	ref, err := w.commit(ctx, sidecar)
	if err != nil {
		return Ref{}, fmt.Errorf("commit message of %d bytes: %w", w.size, err)
	}
	return ref, nil
}

func (w *Writer) commit(ctx context.Context, sidecar []byte) (Ref, error) {
	if w.err != nil {
		return Ref{}, w.err
	}
	if len(sidecar) > MaxSidecar {
		return Ref{}, fmt.Errorf("sidecar of %d bytes: %w", len(sidecar), ErrTooBig)
	}
	if err := ctx.Err(); err != nil {
		return Ref{}, err
	}
	if err := w.s.enter(); err != nil {
		return Ref{}, err
	}
	defer w.s.commits.Done()

	j := &job{pin: true}
	j.one[0] = newPair{sidecar: sidecar, time: w.s.now(), ref: Ref{Size: w.size}}
	j.pairs = j.one[:]
	p := &j.one[0]
	if w.up == nil {
		p.message, p.ref.Sum = w.buf, sha256.Sum256(w.buf)
	} else {
		j.upload = true
		w.hash.Sum(p.ref.Sum[:0])
		p.ref.Segment, p.ref.Offset, p.number = w.segment, block, w.segment*perSegment+1
		if err := w.finishUpload(p); err != nil {
			return Ref{}, err
		}
	}
	if err := w.s.submit(ctx, j); err != nil {
		return Ref{}, err
	}
	w.pinned = p.ref.Segment
	return p.ref, nil
}

// Release says that the committed message has its record, or never will: from
// now on its segment may be swept. It does nothing without a Commit that
// succeeded, nor a second time. Until it is called, or the store is opened
// again, the segment stays as it is.
func (w *Writer) Release() {
	if w.pinned == 0 {
		return
	}
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	if w.s.pins[w.pinned]--; w.s.pins[w.pinned] == 0 {
		delete(w.s.pins, w.pinned)
	}
	w.pinned = 0
}

// finishUpload writes what surrounds a large message and syncs the file. Only
// a failed sync is fatal for the store: until then nobody relies on the file.
func (w *Writer) finishUpload(p *newPair) error {
	tag := w.s.tag
	w.buf = append(w.buf, make([]byte, pad(w.size))...)
	w.buf = appendHeader(w.buf, &header{
		name: sidecarName(p.ref.Sum, p.number),
		size: int64(len(p.sidecar)), time: p.time, mark: crc(p.sidecar), tag: tag,
	})
	w.buf = append(w.buf, p.sidecar...)
	w.buf = append(w.buf, make([]byte, pad(int64(len(p.sidecar)))+endSize)...)
	if err := w.flush(); err != nil {
		return err
	}
	head := appendHeader(nil, &header{name: messageName(p.ref.Sum), size: w.size, time: p.time, tag: tag})
	if err := writeAt(w.up, w.segment, head, 0); err != nil {
		return err
	}
	if err := w.up.Sync(); err != nil {
		return w.s.fail(fmt.Errorf("sync segment %d: %w", w.segment, err))
	}
	return nil
}

// Abort drops the message. After Commit it does nothing.
func (w *Writer) Abort() {
	if w.ended {
		return
	}
	w.ended = true
	if w.up != nil {
		// What cannot be removed now is removed by the next Open; after a
		// successful Commit the name is gone already.
		_ = w.up.Close()
		_ = w.s.fs.Remove(w.s.uploadPath(w.segment))
	}
	w.giveBack()
}

func orShort(err error) error {
	if err == nil {
		return io.ErrShortWrite
	}
	return err
}

var _ io.Writer = (*Writer)(nil)
