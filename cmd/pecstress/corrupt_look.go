package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"

	"pecgate/mailbox"
	"pecgate/mailbox/kv"
	"pecgate/mailbox/kv/badger"
)

// content is all that a data_dir holds, as hashes: what a start makes of it.
type content struct {
	Messages map[string]string `json:"messages"` // what readMessage gives, by message number
	Records  map[string]string `json:"records"`  // SHA-256 of the value, by key in hexadecimal
}

// sight is what somebody sees of a data_dir who starts the appliance on it.
type sight struct {
	Refused string   `json:"refused,omitempty"` // why it does not open
	Unread  []string `json:"unread,omitempty"`  // messages that answer an error, and which
	Content *content `json:"content,omitempty"`
}

// verdict is what `pecgate fsck --deep` says.
type verdict struct {
	Err    string   `json:"err,omitempty"`
	Damage []string `json:"damage,omitempty"` // the first findings that are not harmless
}

func (v verdict) good() bool { return v.Err == "" && len(v.Damage) == 0 }

func (v verdict) String() string {
	switch {
	case v.Err != "":
		return "fsck: " + v.Err
	case len(v.Damage) > 0:
		return "fsck: " + strings.Join(v.Damage, "; ")
	}
	return "fsck: nothing is wrong"
}

// maxNamed bounds the findings that are passed on.
const maxNamed = 5

// fsckDeep checks a data_dir as the command does.
func fsckDeep(ctx context.Context, dir string) verdict {
	r, err := mailbox.Fsck(ctx, mailbox.Options{Dir: dir}, mailbox.FsckOptions{Deep: true})
	if err != nil {
		return verdict{Err: err.Error()}
	}
	var v verdict
	for _, f := range r.Findings {
		if !f.Harmless && len(v.Damage) < maxNamed {
			v.Damage = append(v.Damage, fmt.Sprintf("%s: %s (%s)", f.Where, f.What, f.Detail))
		}
	}
	if r.Left > 0 && len(v.Damage) == 0 {
		v.Damage = []string{fmt.Sprintf("%d faults", r.Left)}
	}
	return v
}

// look opens a data_dir as a start does, and reads everything.
func look(ctx context.Context, dir string) (sight, error) {
	var s sight
	c := &content{Messages: map[string]string{}, Records: map[string]string{}}
	store, err := mailbox.Open(mailbox.Options{Dir: dir})
	if err != nil {
		s.Refused = err.Error()
		return s, nil
	}
	err = readMessages(ctx, store, c, &s)
	if err = errors.Join(err, store.Close()); err != nil {
		return s, err
	}
	records, err := badger.Open(badger.Options{Dir: filepath.Join(dir, "records")})
	if err != nil {
		s.Refused = "at the second start: " + err.Error()
		return s, nil
	}
	err = records.View(ctx, func(r kv.Reader) error {
		return r.Scan(nil, nil, func(k, v []byte) (bool, error) {
			c.Records[hex.EncodeToString(k)] = sum(v)
			return true, nil
		})
	})
	s.Content = c
	return s, errors.Join(err, records.Close())
}

// maxGap is how many message numbers in a row may be unused before the numbers
// are taken to have ended.
const maxGap = 200

// unread stands for the hash of what cannot be read.
const unread = "error"

// readMessages reads the bytes of all messages. One that cannot be read is told.
func readMessages(ctx context.Context, store *mailbox.Store, c *content, s *sight) error {
	for id, gap := mailbox.MessageID(1), 0; gap < maxGap; id++ {
		m, err := store.Message(ctx, id)
		if errors.Is(err, mailbox.ErrNotFound) {
			gap++
			continue
		}
		gap = 0
		var sums string
		if err == nil {
			sums, err = readMessage(store, m)
		}
		if err != nil {
			s.Unread = append(s.Unread, fmt.Sprintf("message %d: %v", id, err))
			sums = unread
		}
		c.Messages[strconv.FormatUint(uint64(id), 10)] = sums
	}
	return nil
}

// readMessage gives the hash of all bytes of a message, and that of what follows
// the header, by which the driver knows what it submitted.
func readMessage(store *mailbox.Store, m *mailbox.Message) (string, error) {
	r, err := store.Open(m)
	if err != nil {
		return "", err
	}
	raw, err := io.ReadAll(io.NewSectionReader(r, 0, m.Size()))
	return sum(raw) + " " + bodySum(raw), errors.Join(err, r.Close())
}

// grows says whether a record is one of the audit log that a start may add: a
// new key, where the old one is gone, is a line of its own there. That no older
// line is another is seen here, that the whole is one chain by fsck.
func grows(k string) bool { return strings.HasPrefix(k, auditPrefix) }

// auditPrefix is "a/" in hexadecimal, auditState the record that every line changes.
const (
	auditPrefix = "612f"
	auditState  = "612f73"
)

// differs says what of the reference is not there as it was, or is there
// besides. Only the first few are named; n counts all.
func (c *content) differs(other *content) (named []string, n int) {
	for _, part := range []struct {
		what      string
		want, got map[string]string
	}{{"message", c.Messages, other.Messages}, {"record", c.Records, other.Records}} {
		note := func(format string, args ...any) {
			if n++; len(named) < maxNamed {
				named = append(named, fmt.Sprintf(format, args...))
			}
		}
		for k, want := range part.want {
			got, there := part.got[k]
			switch {
			case !there:
				note("%s %s is gone", part.what, k)
			case got == unread:
				note("%s %s cannot be read", part.what, k)
			case got != want && k != auditState:
				note("%s %s is another", part.what, k)
			}
		}
		for k := range part.got {
			if _, there := part.want[k]; !there && !grows(k) {
				note("%s %s is there besides", part.what, k)
			}
		}
	}
	return named, n
}

// steady drops from the reference what an undamaged start changes by itself.
func (c *content) steady(other *content) *content {
	out := &content{Messages: c.Messages, Records: map[string]string{}}
	for k, v := range c.Records {
		if other.Records[k] == v {
			out.Records[k] = v
		}
	}
	return out
}

// without drops the same from what is compared with it.
func (c *content) without(reference, first *content) *content {
	out := &content{Messages: c.Messages, Records: map[string]string{}}
	for k, v := range c.Records {
		_, kept := reference.Records[k]
		if _, known := first.Records[k]; kept || !known {
			out.Records[k] = v
		}
	}
	return out
}

// onlyUnread says whether every message that differs answers an error, and
// every record is as it was.
func (c *content) onlyUnread(other *content) bool {
	for k, want := range c.Messages {
		if got := other.Messages[k]; got != want && got != unread {
			return false
		}
	}
	records := &content{Records: c.Records}
	_, n := records.differs(&content{Records: other.Records})
	return n == 0 && len(other.Messages) == len(c.Messages)
}
