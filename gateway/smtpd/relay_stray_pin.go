package smtpd

import (
	"bytes"
	"html"
	"io"
	"strings"

	"pecgate/gateway/auth"
	"pecgate/mailbox/mime"
)

// An automatic answer repeats the Subject that it answers, a notice of failure or a
// journal report the whole message: what has no sender may hold somebody's PIN, and
// would show it to the administrator.

// Bounds of what is looked at.
const (
	maxStrayLook = 1 << 20 // octets from the beginning that are decoded; the rest is looked at as it is
	strayOverlap = 64      // octets of a mark that may lie across two pieces
)

// pinLook looks for a PIN in a message as it comes.
type pinLook struct {
	first []byte
	seam  string
	found bool
}

func (l *pinLook) add(piece []byte) {
	n := min(len(piece), maxStrayLook-len(l.first))
	l.first = append(l.first, piece[:n]...)
	if n == len(piece) || l.found {
		return
	}
	if l.seam == "" {
		l.seam = string(l.first[max(0, len(l.first)-strayOverlap):])
	}
	text := l.seam + string(piece[n:])
	l.found = auth.MeansPIN(text)
	l.seam = text[max(0, len(text)-strayOverlap):]
}

// means tells whether there is one in what came.
func (l *pinLook) means() bool {
	if l.found || auth.MeansPIN(string(l.first)) {
		return true
	}
	r := bytes.NewReader(l.first)
	index, err := mime.Parse(r, int64(len(l.first)), mime.Limits{})
	return err == nil && partMeansPIN(r, &index.Root)
}

func partMeansPIN(r io.ReaderAt, p *mime.Part) bool {
	if header, err := mime.ReadHeader(r, p); err == nil {
		for _, f := range mime.Fields(header) {
			if auth.MeansPIN(mime.DecodeWords(f.Body())) {
				return true
			}
		}
	}
	for i := range p.Children {
		if partMeansPIN(r, &p.Children[i]) {
			return true
		}
	}
	switch {
	case p.Message != nil:
		return partMeansPIN(r, p.Message)
	case len(p.Children) > 0 || p.Type != "text":
		return false
	}
	// What was cut off ends in an error; what came counts.
	b, _ := io.ReadAll(io.LimitReader(mime.Content(r, p), maxStrayLook))
	text := mime.DecodeCharset(p.Params["charset"], b)
	return auth.MeansPIN(text) || p.Subtype == "html" && auth.MeansPIN(html.UnescapeString(tags.ReplaceAllString(text, "")))
}

// without is what is filed in place of a message with a PIN, or with the secret of a
// relay: who wrote when to whom.
func (l *pinLook) without(leaks bool, secret *leak) []byte {
	var b bytes.Buffer
	if end := headerEnd(l.first, 0); end >= 0 {
		for _, f := range mime.Fields(mime.SelectFields(l.first[:end], []string{"From", "To", "Date", "Message-ID", "Auto-Submitted"}, false)) {
			if !auth.MeansPIN(mime.DecodeWords(f.Body())) && wellFormed(f) && !secret.in(f.Raw) {
				b.Write(f.Raw)
			}
		}
	}
	text := instead
	if leaks {
		text = insteadOfSecret
	}
	b.WriteString(strings.ReplaceAll(text, "\n", "\r\n"))
	return b.Bytes()
}

const instead = `Subject: Messaggio con un PIN, non conservato / message with a PIN, not kept
MIME-Version: 1.0
Content-Type: text/plain; charset=us-ascii

Un server di posta ha mandato al gateway un messaggio senza mittente o una
risposta automatica in cui si legge un PIN: per questo non e' conservato.
Con "pin: reply" nel relay (policy.yaml) il PIN non sta nei messaggi.

A mail server sent to the gateway a message without a sender, or an automatic
answer, in which a PIN can be read: so it is not kept. With "pin: reply" in
the relay (policy.yaml) no PIN stands in messages.
`

const insteadOfSecret = `Subject: Messaggio con il segreto del relay, non conservato / message with the relay's secret, not kept
MIME-Version: 1.0
Content-Type: text/plain; charset=us-ascii

Un server di posta ha mandato al gateway un messaggio senza mittente o una
risposta automatica in cui si legge il segreto del relay (secret_header in
policy.yaml): per questo non e' conservato. Se chi non deve conoscerlo lo ha
potuto leggere, farne un altro con "pecgate password --secret".

A mail server sent to the gateway a message without a sender, or an automatic
answer, in which the secret of the relay (secret_header in policy.yaml) can be
read: so it is not kept. If somebody could read it who must not know it, make
another one with "pecgate password --secret".
`
