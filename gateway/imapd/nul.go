package imapd

import (
	"bytes"
	"io"
	"slices"

	"github.com/emersion/go-imap/v2" // response codes

	"pecgate/mailbox"
	"pecgate/mailbox/planted"
)

// NUL. A literal of the protocol cannot hold the byte 0 (CHAR8, RFC 9051 section
// 9; RFC 3501 likewise), a literal8 can, and BINARY[...] is the only item that
// goes as one. A body section whose bytes hold a NUL is therefore left out of
// its answer, and the command ends with NO and a text that says why:
//
//   - A client that got the byte in a plain literal would stop reading there or
//     lose step. Another byte in its place, as some servers send it, is another
//     message than the one that was certified, and nobody would notice.
//   - NIL in its place means "there is no such part": clients keep it as an
//     empty message and never ask again.
//   - All other items of the same message and all other messages are answered,
//     so that one message of a stranger never empties a folder. Nothing of it
//     becomes \Seen that was not given out.
//   - BINARY[] gives all of the message, BINARY[part] a part of it, unchanged.
//     A range (<n.m>) without a NUL is given out.
//
// Fields that a client chooses to list a folder (HEADER.FIELDS) are no range of
// the message and go without the NUL, as ENVELOPE does: a listing that fails
// with every look at the folder would serve nobody.

// errNUL ends a FETCH that has left sections out.
func errNUL() error {
	return no(imap.ResponseCodeCannot, "A message holds NUL bytes, which only BINARY can give")
}

// withoutNUL is data for a literal of a listing.
func withoutNUL(data []byte) []byte {
	if bytes.IndexByte(data, 0) < 0 {
		return data
	}
	return bytes.ReplaceAll(data, []byte{0}, nil)
}

// plain makes the n bytes from off the content of a plain literal, or says that
// they cannot be one. What fits into the fetcher's block is read once; longer
// ranges are looked through before the first byte of them is sent.
func (f *fetcher) plain(c *content, off, n int64, p *piece) error {
	p.size = n
	if f.block == nil {
		f.block = f.s.srv.takeBuffer()[:outSize]
	}
	if n > outSize {
		p.send = func(f *filter) error { return f.copyRange(c.r, off, n) }
		var err error
		p.nul, err = holdsNUL(c.r, off, n, f.block)
		return err
	}
	b := f.block[:n]
	if got, err := c.r.ReadAt(b, off); got < len(b) {
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	p.nul = bytes.IndexByte(b, 0) >= 0
	if planted.Is(planted.ServeOtherBytes) && n > 0 {
		b[n/2] ^= 1
	}
	if p.data = b; n > smallPiece {
		p.send = func(f *filter) error { return f.append(b) }
	}
	return nil
}

// release gives the block back.
func (f *fetcher) release() {
	if f.block != nil {
		f.s.srv.giveBuffer(f.block)
	}
}

// holdsNUL looks through n bytes of r from off, a block at a time.
func holdsNUL(r io.ReaderAt, off, n int64, block []byte) (bool, error) {
	for n > 0 {
		part := block[:min(n, int64(len(block)))]
		got, err := r.ReadAt(part, off)
		if got < len(part) {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return false, err
		}
		if bytes.IndexByte(part, 0) >= 0 {
			return true, nil
		}
		off, n = off+int64(got), n-int64(got)
	}
	return false, nil
}

// markUnseen takes \Seen back from messages that were not given out, and tells
// so: nothing else is told at the end of a command that fails.
func (f *fetcher) markUnseen() error {
	if len(f.withheld) == 0 {
		return nil
	}
	uids := slices.Compact(f.withheld)
	f.withheld = nil
	after, err := f.s.srv.opt.Store.SetFlags(f.s.ctx, f.v.folder, f.v.viewer, uids, mailbox.FlagsRemove, []string{string(imap.FlagSeen)})
	if err != nil {
		return err
	}
	var out []byte
	for _, e := range after {
		f.v.told[e.UID] = e.ModSeq
		out = appendFlagUpdate(out, f.v.seq(e.UID), e.UID, e.Flags)
	}
	return f.s.f.append(out)
}
