package backup

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"pecgate/mailbox/segment"
)

// Have is what a folder holds already: the source sends the rest. The zero
// value asks for all.
type Have struct {
	Store    string           `json:"store"`
	Token    string           `json:"token"`
	Since    uint64           `json:"since"` // position of the records; 0: all are wanted
	Segments []segment.Extent `json:"segments"`
}

// Begin is the first thing a source sends.
type Begin struct {
	Store string    `json:"store"`
	Token string    `json:"token"`
	At    time.Time `json:"at"`
	Anew  bool      `json:"anew"`  // what the folder holds was passed over: all is sent
	Bytes int64     `json:"bytes"` // of segments that will come, about
}

// Head begins a part in the stream. From is where in its segment it begins.
type Head struct {
	Kind    string `json:"kind"`
	Segment uint64 `json:"segment,omitempty"`
	From    int64  `json:"from,omitempty"`
	Since   uint64 `json:"since,omitempty"`
}

// End is the last thing: which segments there are, and how long they are.
type End struct {
	Segments []segment.Extent `json:"segments"`
}

// The stream: a magic line, then frames of a type, the length of what follows
// (4 bytes, big-endian), and that. Without the frame of the end it is worth
// nothing.
const (
	streamMagic = "pecgate backup stream 1\n"

	frameBegin = 'B'
	framePart  = 'P'
	frameData  = 'D'
	frameNext  = 'N' // ends a part; of records: the position they reach
	frameEnd   = 'Z'
	frameFault = 'X' // the source cannot go on: one line that says why

	maxData = 256 << 10 // bytes of a data frame
	maxText = 256 << 20 // of the others: the end lists every segment
)

// Sender writes the stream.
type Sender struct {
	w    *bufio.Writer
	head [5]byte
}

// NewSender begins a stream.
func NewSender(w io.Writer) (*Sender, error) {
	s := &Sender{w: bufio.NewWriterSize(w, maxData+64)}
	_, err := s.w.WriteString(streamMagic)
	return s, err
}

// Begin sends the first frame.
func (s *Sender) Begin(b Begin) error { return s.json(frameBegin, b) }

func (s *Sender) frame(kind byte, p []byte) error {
	s.head[0] = kind
	binary.BigEndian.PutUint32(s.head[1:], uint32(len(p)))
	if _, err := s.w.Write(s.head[:]); err != nil {
		return err
	}
	_, err := s.w.Write(p)
	return err
}

func (s *Sender) json(kind byte, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return s.frame(kind, b)
}

// Part begins a part; its bytes are written to the Sender.
func (s *Sender) Part(h Head) error { return s.json(framePart, h) }

// Write sends bytes of the part that was begun.
func (s *Sender) Write(p []byte) (int, error) {
	n := 0
	for part := range slices.Chunk(p, maxData) {
		if err := s.frame(frameData, part); err != nil {
			return n, err
		}
		n += len(part)
	}
	return n, nil
}

// EndPart ends a part; next is the position that records reach.
func (s *Sender) EndPart(next uint64) error {
	return s.frame(frameNext, binary.BigEndian.AppendUint64(nil, next))
}

// End ends the stream.
func (s *Sender) End(e End) error {
	return errors.Join(s.json(frameEnd, e), s.w.Flush())
}

// Fault ends the stream with the reason why it is worth nothing, one line
// without a secret.
func (s *Sender) Fault(text string) error {
	return errors.Join(s.frame(frameFault, []byte(text)), s.w.Flush())
}

// receiver reads the stream.
type receiver struct {
	r    *bufio.Reader
	data []byte // what is left of a data frame
	buf  []byte
	next uint64 // of the part that ended
	done bool   // the part ended
}

func newReceiver(r io.Reader) (*receiver, Begin, error) {
	rc := &receiver{r: bufio.NewReaderSize(r, maxData+64), buf: make([]byte, maxData)}
	var b Begin
	magic := make([]byte, len(streamMagic))
	if _, err := io.ReadFull(rc.r, magic); err != nil {
		return nil, b, early(err)
	}
	if string(magic) != streamMagic {
		return nil, b, fmt.Errorf("%w: its version may differ from that of this command", ErrStream)
	}
	kind, p, err := rc.frame()
	if err == nil && kind != frameBegin {
		err = ErrStream
	}
	if err == nil {
		err = rc.decode(p, &b)
	}
	return rc, b, err
}

// early says of a read that failed that the source was cut off.
func early(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it ends too early (did the appliance stop?)", ErrStream)
	}
	return fmt.Errorf("%w: %w", ErrStream, err)
}

// frame reads the next one; its bytes are valid until the next call.
func (rc *receiver) frame() (kind byte, p []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(rc.r, head[:]); err != nil {
		return 0, nil, early(err)
	}
	n := binary.BigEndian.Uint32(head[1:])
	if n > maxText || head[0] == frameData && n > maxData {
		return 0, nil, ErrStream
	}
	if n <= maxData {
		p = rc.buf[:n]
		if _, err := io.ReadFull(rc.r, p); err != nil {
			return 0, nil, early(err)
		}
	} else {
		// What was announced is believed as it comes.
		if p, err = io.ReadAll(io.LimitReader(rc.r, int64(n))); err != nil || len(p) < int(n) {
			return 0, nil, early(errors.Join(err, io.ErrUnexpectedEOF))
		}
	}
	if head[0] == frameFault {
		return 0, nil, fmt.Errorf("the appliance could not go on: %s", clean(p))
	}
	return head[0], p, nil
}

// clean keeps what is printed on one line.
func clean(p []byte) string {
	out := []rune(string(p[:min(len(p), 500)]))
	for i, r := range out {
		if r < ' ' || r == 0x7f {
			out[i] = ' '
		}
	}
	return string(out)
}

func (rc *receiver) decode(p []byte, v any) error {
	if err := json.Unmarshal(p, v); err != nil {
		return ErrStream
	}
	return nil
}

// part gives the next part, or at the end what that says.
func (rc *receiver) part() (*Head, *End, error) {
	kind, p, err := rc.frame()
	if err != nil {
		return nil, nil, err
	}
	switch kind {
	case framePart:
		h := new(Head)
		rc.data, rc.done, rc.next = nil, false, 0
		return h, nil, rc.decode(p, h)
	case frameEnd:
		e := new(End)
		return nil, e, rc.decode(p, e)
	}
	return nil, nil, ErrStream
}

// Read gives the bytes of the part that was begun; io.EOF at its end.
func (rc *receiver) Read(b []byte) (int, error) {
	for len(rc.data) == 0 {
		if rc.done {
			return 0, io.EOF
		}
		kind, p, err := rc.frame()
		switch {
		case err != nil:
			return 0, err
		case kind == frameData:
			rc.data = p
		case kind == frameNext && len(p) == 8:
			rc.next, rc.done = binary.BigEndian.Uint64(p), true
		default:
			return 0, ErrStream
		}
	}
	n := copy(b, rc.data)
	rc.data = rc.data[n:]
	return n, nil
}
