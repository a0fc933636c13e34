package imapd

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// Limits of what a client sends. The library's own are 50 KiB for a command
// without literals and 4,096 bytes for a literal in it; what is above ours never
// reaches it.
const (
	maxCommand    = 48 << 10 // a whole command with its literals, APPEND's message apart
	maxBefore     = 34 << 10 // the same before login: an ID of 30 pairs (RFC 2971 section 3.3) has room
	maxLiteral    = 4096     // a literal in a command
	maxLiterals   = 64       // literals in a command
	maxTalk       = 4000     // a line of AUTHENTICATE or the DONE of IDLE
	maxDiscard    = 1 << 20  // of a line that is too long
	maxBad        = 20       // commands without sense on one connection
	maxEmpty      = 10       // empty lines before a command
	maxTag        = 128      // bytes of a tag
	readBlock     = 2 << 10  // read at once while waiting
	maxKeepUnread = 16 << 10 // a reading buffer above this goes back when it is empty
)

// command is what the library works on.
type command struct {
	tag  string
	name string   // upper case, "UID FETCH" for both words
	text []byte   // all of it with its literals, without the last line end
	then *arrange // what is to be done with the result of a SEARCH
}

// input is the reading side of a filter.
type input struct {
	unread []byte // came from the client, used from rpos
	rpos   int
	ready  [][]byte // for the library, in pieces that end where a literal begins
	begun  bool     // part of the first piece is gone
	cur    command
	talk   bool // the library may ask for lines that are no commands
	msg    literal
	state  msgState
	bad    int
	end    error // what every further Read answers
}

// literal is the message of an APPEND.
type literal struct {
	left int64
	sync bool // the client waits to be asked
	utf8 bool // a parenthesis closes it (RFC 6855 section 4)
}

type msgState int

const (
	msgNone  msgState = iota
	msgAsked          // the library has the head of the APPEND
	msgFlows          // the library reads the message
)

// Read gives the library the next bytes: whole commands, or a message.
//
// A command with literals goes in pieces. The library does not read what is
// left of a command that it refuses at or before a literal, and would take it
// for the next command; so a piece follows only while no answer has come.
func (f *filter) Read(p []byte) (int, error) {
	if f.end != nil {
		return 0, f.end
	}
	if !f.begun && f.answered() {
		f.ready = nil
	}
	for len(f.ready) == 0 {
		if f.state == msgFlows && f.msg.left > 1 {
			n, err := f.message(p)
			if err != nil {
				return 0, f.fail(err)
			}
			return n, nil
		}
		if err := f.next(); err != nil {
			return 0, f.fail(err)
		}
	}
	n := copy(p, f.ready[0])
	f.ready[0] = f.ready[0][n:]
	if f.begun = len(f.ready[0]) > 0; !f.begun {
		f.ready = f.ready[1:]
	}
	return n, nil
}

// fail ends reading: with a BYE where the client can still be told. What the
// library says after that, as its OK to an IDLE that has ended, is not sent.
func (f *filter) fail(err error) error {
	f.end = io.EOF
	bye := ""
	var timeout net.Error
	switch {
	case errors.Is(err, errBye):
		bye = f.byeText()
	case errors.As(err, &timeout) && timeout.Timeout():
		bye = "Too long without a command"
	case errors.Is(err, errTooLong):
		bye = "[TOOBIG] That is too much for one command"
	case errors.Is(err, errSyntax):
		bye = "This is not IMAP"
	}
	f.wmu.Lock()
	defer f.wmu.Unlock()
	if bye != "" {
		f.put([]byte("* BYE " + bye + "\r\n"))
	}
	f.over = true
	return f.end
}

var (
	errTooLong = errors.New("imapd: line or literal too long")
	errSyntax  = errors.New("imapd: too many commands without sense")
)

// next prepares what the library reads next.
func (f *filter) next() error {
	if f.byeText() != "" {
		return errBye
	}
	switch {
	case f.state == msgFlows:
		return f.lastByte()
	case f.state == msgAsked:
		f.state = msgNone
		if f.sawContinuation() {
			f.state = msgFlows
			return nil
		}
		// Refused before the message. A client that waits will not send it.
		if !f.msg.sync {
			if err := f.skip(f.msg.left); err != nil {
				return err
			}
			if _, err := f.line(maxTalk, time.Now().Add(commandTime)); err != nil {
				return err
			}
		}
	case f.talk:
		if f.sawContinuation() {
			line, err := f.line(maxTalk, f.patience())
			if err != nil {
				return err
			}
			f.talk = f.cur.name == "AUTHENTICATE"
			f.ready = [][]byte{append(line, "\r\n"...)}
			return nil
		}
		f.talk = false
	}
	return f.command()
}

// command reads commands until there is one for the library.
func (f *filter) command() error {
	empty := 0
	for {
		if f.byeText() != "" {
			return errBye
		}
		if err := f.waitByte(f.patience()); err != nil {
			return err
		}
		until := time.Now().Add(commandTime)
		first, err := f.line(f.maxCommand(), until)
		if errors.Is(err, errTooLong) {
			if err = f.tooLong(until); err == nil {
				continue
			}
		}
		if err != nil {
			return err
		}
		if len(first) == 0 {
			if empty++; empty > maxEmpty {
				return errSyntax
			}
			continue
		}
		f.cur = command{}
		var ok bool
		if f.cur.tag, f.cur.name, ok = readNames(first); !ok {
			if err := f.refuseLine("*", "BAD A tag and a command are wanted", first); err != nil {
				return err
			}
			continue
		}
		f.wmu.Lock()
		f.tag, f.cont, f.done, f.retold = f.cur.tag, false, false, rewording{}
		f.wmu.Unlock()
		whole, err := f.rest(first, until)
		if err != nil {
			return err
		}
		if whole && !f.handle() {
			return nil
		}
	}
}

// handle answers what the library cannot and says whether it did; otherwise the
// command lies ready.
func (f *filter) handle() bool {
	switch f.cur.name {
	case "ID":
		// RFC 2971. The library calls it unknown, and before login even hangs up.
		f.answer(`* ID ("name" "pecgate" "vendor" "pecgate")`)
		f.answer(f.cur.tag + " OK ID completed")
		return true
	case "IDLE", "AUTHENTICATE":
		f.talk = true
	case "SEARCH", "UID SEARCH":
		f.cur.text = searchWords(f.cur.text)
	case "SORT", "UID SORT", "THREAD", "UID THREAD":
		search, then, why := asSearch(f.cur.tag, f.cur.name, f.cur.text)
		if why != "" {
			f.answer(f.cur.tag + " " + why)
			return true
		}
		f.cur.text, f.cur.then = searchWords(search), then
	default:
		if f.runExtra() {
			return true
		}
	}
	f.ready = pieces(append(bytes.Clone(f.cur.text), "\r\n"...))
	return false
}

// pieces cuts a command before and behind each of its literals.
func pieces(cmd []byte) [][]byte {
	var out [][]byte
	for {
		i := bytes.IndexByte(cmd, '\n')
		m, ok := endsWithLiteral(bytes.TrimSuffix(cmd[:i+1], []byte("\r\n")))
		if !ok || i+1 == len(cmd) {
			return append(out, cmd)
		}
		out = append(out, cmd[:i+1])
		cmd = cmd[i+1:]
		if m.size > 0 {
			out = append(out, cmd[:m.size])
			cmd = cmd[m.size:]
		}
	}
}

// rest collects the literals and lines that belong to a command. whole is false
// when the command was answered here.
func (f *filter) rest(line []byte, until time.Time) (whole bool, err error) {
	for n := 0; ; n++ {
		if !goodLine(line) {
			return false, f.refuseLine(f.cur.tag, "BAD [CLIENTBUG] Syntax error", line)
		}
		lit, ok := endsWithLiteral(line)
		if !ok {
			f.cur.text = append(f.cur.text, line...)
			return true, nil
		}
		if f.cur.name == "APPEND" && isMessage(f.cur.text, line) {
			return f.offerMessage(line, lit)
		}
		room := f.maxCommand() - len(f.cur.text) - len(line)
		if lit.size > maxLiteral || n >= maxLiterals || lit.size > int64(room) {
			if !lit.sync {
				return false, errTooLong
			}
			return false, f.refuse(f.cur.tag, "NO [TOOBIG] This literal is too long")
		}
		if lit.sync {
			f.answer("+ Ready for literal data")
		}
		// For the library it is a literal that nobody waits for.
		f.cur.text = append(f.cur.text, line[:lit.at]...)
		f.cur.text = append(f.cur.text, "{"+strconv.FormatInt(lit.size, 10)+"+}\r\n"...)
		data := make([]byte, lit.size)
		if err := f.full(data, until); err != nil {
			return false, err
		}
		f.cur.text = append(f.cur.text, data...)
		if line, err = f.line(room-len(data), until); err != nil {
			return false, err
		}
	}
}

// offerMessage hands the head of an APPEND to the library. The library always
// asks for the message; the client hears of it only if it waits.
func (f *filter) offerMessage(line []byte, lit mark) (bool, error) {
	if why := f.refusal(lit.size); why != "" {
		if lit.sync {
			return false, f.refuse(f.cur.tag, why)
		}
		if lit.size > maxLiteral {
			return false, errTooLong // nobody announced LITERAL+
		}
		if err := f.skip(lit.size); err != nil {
			return false, err
		}
		if _, err := f.line(maxTalk, time.Now().Add(commandTime)); err != nil {
			return false, err
		}
		return false, f.refuse(f.cur.tag, why)
	}
	if !lit.sync && lit.size > maxLiteral {
		return false, errTooLong
	}
	f.cur.text = append(f.cur.text, line[:lit.at]...)
	f.cur.text = append(f.cur.text, "{"+strconv.FormatInt(lit.size, 10)+"}"...)
	f.msg = literal{left: lit.size, sync: lit.sync, utf8: bytes.HasSuffix(line[:lit.at], []byte("(~"))}
	f.state = msgAsked
	f.wmu.Lock()
	f.swallow = !lit.sync
	f.wmu.Unlock()
	return true, nil
}

func (f *filter) refusal(size int64) string {
	switch {
	case !f.isLoggedIn():
		return "BAD [CLIENTBUG] Log in first"
	case size > f.srv.opt.MaxAppend:
		return "NO [TOOBIG] " + both("This message is too big")
	}
	return ""
}

// message gives the library bytes of the message, all but the last.
func (f *filter) message(p []byte) (int, error) {
	if most := f.msg.left - 1; int64(len(p)) > most {
		p = p[:most]
	}
	n := copy(p, f.buffered())
	f.use(n)
	if n == 0 {
		var err error
		if n, err = f.fill(p, time.Now().Add(literalTime)); err != nil {
			return 0, err
		}
	}
	f.msg.left -= int64(n)
	return n, nil
}

// lastByte keeps the last byte of a message back until the end of the command
// has come, so that a command that was cut off stores nothing.
func (f *filter) lastByte() error {
	f.state = msgNone
	last := make([]byte, f.msg.left, 16)
	if err := f.full(last, time.Now().Add(literalTime)); err != nil {
		return err
	}
	tail, err := f.line(maxTalk, time.Now().Add(commandTime))
	if err != nil {
		return err
	}
	want := ""
	if f.msg.utf8 {
		want = ")"
	}
	if strings.TrimRight(string(tail), " ") != want {
		return errSyntax // also several messages in one APPEND (RFC 3502), which is not announced
	}
	f.ready = [][]byte{append(append(last, want...), "\r\n"...)}
	return nil
}

// refuse answers a command that the library will not see.
func (f *filter) refuse(tag, text string) error {
	f.answer(tag + " " + text)
	if f.bad++; f.bad > maxBad {
		return errSyntax
	}
	return nil
}

// refuseLine refuses a command at a line that makes no sense. Where a literal
// follows that nobody waits for, the connection ends: its bytes are no commands.
func (f *filter) refuseLine(tag, text string, line []byte) error {
	if lit, is := endsWithLiteral(line); is && !lit.sync {
		f.answer(tag + " " + text)
		return errSyntax
	}
	return f.refuse(tag, text)
}

func (f *filter) maxCommand() int {
	if f.isLoggedIn() {
		return maxCommand
	}
	return maxBefore
}

// tooLong refuses a line that is too long and passes over the rest of it.
func (f *filter) tooLong(until time.Time) error {
	tag, _, ok := readNames(f.buffered())
	if !ok {
		return errTooLong
	}
	var tail []byte
	for seen := 0; seen < maxDiscard; {
		b := f.buffered()
		i := bytes.IndexByte(b, '\n')
		if i < 0 {
			tail = append(tail[:0], b[max(0, len(b)-32):]...)
			seen += len(b)
			f.use(len(b))
			if err := f.more(until); err != nil {
				return err
			}
			continue
		}
		tail = bytes.TrimSuffix(append(tail, b[max(0, i-32):i]...), []byte("\r"))
		f.use(i + 1)
		if lit, is := endsWithLiteral(tail); is && !lit.sync {
			return errTooLong // what follows is data, not commands
		}
		return f.refuse(tag, "BAD [TOOBIG] This command is too long")
	}
	return errTooLong
}
