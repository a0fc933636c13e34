package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// letter is a message as the driver made it.
type letter struct {
	ID   string // Message-ID without its brackets
	From person
	To   string
	Raw  string // from the first header line on, with CRLF
	Body string // SHA-256 of what follows the header, lower-case hex
}

// newLetter writes a message of about size bytes with dots and lines that look
// like the end of a message.
func newLetter(id string, from person, to string, size int) *letter {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\r\n.\r\n..\r\n.%s\r\n", id, id)
	for n := 0; b.Len() < size; n++ {
		fmt.Fprintf(&b, "%06d %s %s\r\n", n, id, strings.Repeat("x", n%60))
	}
	l := &letter{ID: id, From: from, To: to, Body: sum([]byte(b.String()))}
	l.Raw = "From: <" + from.box + ">\r\nTo: <" + to + ">\r\nSubject: " + subject(id) + "\r\nDate: Sat, 21 Nov 2026 10:00:00 +0100\r\n" +
		"Message-ID: <" + id + ">\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\n" + b.String()
	return l
}

func subject(id string) string { return "messaggio " + strings.Split(id, "@")[0] }

// bodySum is the SHA-256 of what follows the header.
func bodySum(raw []byte) string {
	_, body, _ := strings.Cut(string(raw), "\r\n\r\n")
	return sum([]byte(body))
}

func sum(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

// ledger keeps what the driver sent and what it was promised. Each promise is a
// line of a file, synced before the driver goes on. Safe for concurrent use.
type ledger struct {
	mu       sync.Mutex
	f        *os.File
	sent     map[string]*letter // all whose dot may have been sent, by ID
	promised map[string]time.Time
	open     []*letter // the dot was sent and no answer came
	refused  int       // 4xx and 5xx
	failed   error
}

func openLedger(name string) (*ledger, error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the ledger: %w", err)
	}
	return &ledger{f: f, sent: map[string]*letter{}, promised: map[string]time.Time{}}, nil
}

func (l *ledger) close() error { return errors.Join(l.failed, l.f.Close()) }

// sending notes a letter whose dot is about to be sent.
func (l *ledger) sending(m *letter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent[m.ID] = m
}

// promise notes a 250, durably.
func (l *ledger) promise(m *letter) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	line, err := json.Marshal(struct {
		At   time.Time
		ID   string
		From string
		To   string
		Body string
	}{now, m.ID, m.From.box, m.To, m.Body})
	if err == nil {
		_, err = l.f.Write(append(line, '\n'))
	}
	if err == nil {
		err = l.f.Sync()
	}
	if err != nil {
		l.failed = fmt.Errorf("write the ledger: %w", err)
		return l.failed
	}
	l.promised[m.ID] = now
	return nil
}

// unanswered notes a letter that may have been taken or not.
func (l *ledger) unanswered(m *letter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open = append(l.open, m)
}

// again takes one of the unanswered letters of a person, to be sent once more
// as it was; nil if there is none.
func (l *ledger) again(p person) *letter {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, m := range l.open {
		if m.From == p {
			l.open = append(l.open[:i], l.open[i+1:]...)
			return m
		}
	}
	return nil
}

// no notes a refusal.
func (l *ledger) no() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refused++
}

// promises is how many 250 were said.
func (l *ledger) promises() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.promised)
}

// refusals is how many messages were refused.
func (l *ledger) refusals() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.refused
}

// find gives a letter by its Message-ID, nil if the driver sent none.
func (l *ledger) find(id string) *letter {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sent[id]
}

// all gives every letter whose dot may have been sent, by rising Message-ID.
func (l *ledger) all() []*letter {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.SortedFunc(maps.Values(l.sent), func(a, b *letter) int { return strings.Compare(a.ID, b.ID) })
}

// isPromised tells whether 250 was said for a letter.
func (l *ledger) isPromised(id string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok := l.promised[id]
	return ok
}

func unbracket(id string) string { return strings.Trim(id, "<>") }
