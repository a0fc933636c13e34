package submit

import (
	"bufio"
	"errors"
	"fmt"
	"slices"
	"strings"

	"pecgate/relay/upstream"
)

const (
	maxReplyLine = 4 << 10
	maxReply     = 64 << 10
)

// errReply marks what is not an SMTP reply: wrong form, too long, too much.
var errReply = errors.New("not an SMTP reply")

// reply is one reply of the server, all its lines.
type reply struct {
	code  int
	lines []string // without code and line end, not yet cleaned
}

// readReply reads one reply (RFC 5321 4.2). Memory is bounded by maxReply, work
// is linear in it. quote puts the start of what is not a reply into the error;
// it must be false once a login was sent, for a peer may echo it.
func readReply(r *bufio.Reader, quote bool) (reply, error) {
	var rep reply
	for total := 0; ; {
		line, err := r.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			return reply{}, fmt.Errorf("%w: line above %d bytes", errReply, maxReplyLine)
		}
		if err != nil {
			return reply{}, err
		}
		if total += len(line); total > maxReply {
			return reply{}, fmt.Errorf("%w: above %d bytes", errReply, maxReply)
		}
		code, more, text, ok := splitLine(strings.TrimRight(string(line), "\r\n"))
		if !ok || (rep.code != 0 && code != rep.code) {
			if quote {
				return reply{}, fmt.Errorf("%w: %q", errReply, upstream.Clean(string(line[:min(len(line), 64)])))
			}
			return reply{}, errReply
		}
		rep.code = code
		rep.lines = append(rep.lines, text)
		if !more {
			return rep, nil
		}
	}
}

// splitLine cuts "250-text", "250 text" or "250".
func splitLine(s string) (code int, more bool, text string, ok bool) {
	if len(s) < 3 {
		return 0, false, "", false
	}
	for _, c := range []byte(s[:3]) {
		if c < '0' || c > '9' {
			return 0, false, "", false
		}
		code = code*10 + int(c-'0')
	}
	if code < 200 || code > 599 {
		return 0, false, "", false
	}
	if len(s) == 3 {
		return code, false, "", true
	}
	if s[3] != ' ' && s[3] != '-' {
		return 0, false, "", false
	}
	return code, s[3] == '-', s[4:], true
}

// words returns the enhanced status code and the text of the reply, cleaned and
// without the secrets.
func (r reply) words(secrets []string) (enhanced, text string) {
	lines := make([]string, len(r.lines))
	for i, l := range r.lines {
		e, rest := cutEnhanced(l, r.code)
		if i == 0 {
			enhanced = e
		}
		if e != "" && e == enhanced {
			l = rest
		}
		lines[i] = strings.TrimSpace(l)
	}
	return enhanced, upstream.Clean(strings.Join(lines, " "), secrets...)
}

// cutEnhanced cuts "5.1.1 " off a line of a reply whose class is the same
// (RFC 2034 section 4).
func cutEnhanced(line string, code int) (enhanced, rest string) {
	word, rest, _ := strings.Cut(line, " ")
	parts := strings.Split(word, ".")
	if len(parts) != 3 || parts[0] != string(rune('0'+code/100)) {
		return "", line
	}
	for _, p := range parts[1:] {
		if len(p) == 0 || len(p) > 3 || strings.Trim(p, "0123456789") != "" {
			return "", line
		}
	}
	return word, rest
}

// ReplyRule says what a provider means by a 4xx or 5xx reply, where that is not
// what the code says.
type ReplyRule struct {
	Code  int      // 400 to 599
	Words []string // all of them stand in its text, whatever their case
	Class Class    // Temporary or Permanent
}

// Same tells whether two rules say the same.
func (w ReplyRule) Same(o ReplyRule) bool {
	return w.Code == o.Code && w.Class == o.Class && slices.Equal(w.Words, o.Words)
}

func (w ReplyRule) fits(code int, text string) bool {
	if w.Code != code || w.Class != Temporary && w.Class != Permanent {
		return false
	}
	for _, word := range w.Words {
		if !strings.Contains(text, strings.ToLower(word)) {
			return false
		}
	}
	return true
}

// everyProvider are the rules that hold without any of the provider's own.
func everyProvider() []ReplyRule {
	return []ReplyRule{
		// After a login that succeeded: the session is at fault, not the message.
		{Code: 530, Class: Temporary},
		// Legalmail, to a sender who is merely too fast: 550 MAIL from: ... blocked
		// "Class Of Service" - Too much traffic from this sender.
		{Code: 550, Words: []string{"class of service", "too much traffic"}, Class: Temporary},
	}
}

// refusedAs says what a 4xx or 5xx reply means for a message that was not taken:
// the provider's own rules, then those of all, then the code.
func (r reply) refusedAs(own []ReplyRule) Class {
	text := strings.ToLower(strings.Join(r.lines, " "))
	for _, rules := range [][]ReplyRule{own, everyProvider()} {
		for _, w := range rules {
			if w.fits(r.code, text) {
				return w.Class
			}
		}
	}
	if r.code >= 400 && r.code < 500 {
		return Temporary
	}
	return Permanent
}
