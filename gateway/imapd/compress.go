package imapd

import (
	"compress/flate"
	"io"
)

// COMPRESS=DEFLATE (RFC 4978): both directions above TLS.

// deflated is a connection's line once both sides compress. One goroutine reads
// it; whoever holds the filter's wmu writes it.
type deflated struct {
	r io.Reader
	w *flate.Writer
}

func newDeflated(line io.ReadWriter) (*deflated, error) {
	w, err := flate.NewWriter(line, flate.BestSpeed)
	if err != nil {
		return nil, err
	}
	return &deflated{r: flate.NewReader(line), w: w}, nil
}

func (d *deflated) Read(p []byte) (int, error) { return d.r.Read(p) }

// Write sends p whole: nothing of it waits for more (RFC 4978 section 4).
func (d *deflated) Write(p []byte) (int, error) {
	n, err := d.w.Write(p)
	if err == nil {
		err = d.w.Flush()
	}
	return n, err
}

// compress answers COMPRESS; what follows the answer is compressed.
func (s *session) compress(a *arguments) error {
	mechanism := a.astring()
	if err := a.end(); err != nil {
		return err
	}
	switch {
	case upper(mechanism) != "DEFLATE":
		return badCommand("Only DEFLATE is known")
	case s.f.deflates:
		return no("COMPRESSIONACTIVE", "DEFLATE is active already")
	case len(s.f.buffered()) > 0:
		// Sent before our answer: nobody knows whether it is compressed.
		return badCommand("Wait for the answer before you go on")
	}
	s.f.deflates = true
	return nil
}

// switchLine compresses the line, once what was said before is out.
func (f *filter) switchLine() error {
	f.wmu.Lock()
	defer f.wmu.Unlock()
	if f.flush(); f.werr != nil {
		return f.werr
	}
	wire, err := newDeflated(f.raw)
	if err == nil {
		f.wire = wire
	}
	return err
}
