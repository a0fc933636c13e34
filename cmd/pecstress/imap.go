package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2" // what IMAP gives out is the evidence
	"github.com/emersion/go-imap/v2/imapclient"
)

// seen is one message as IMAP shows it to a person.
type seen struct {
	folder   string
	validity uint32
	uid      uint32
	sum      string // SHA-256 of all bytes
	body     string // SHA-256 of what follows the header
	id       string // Message-ID without brackets, empty if none is readable
	subject  string // as it stands there
	from     string // address of the first author, as it stands there
	pin      bool   // the digits of the PIN stand in it
}

// inbox is the folder that arriving mail goes to.
const inbox = "INBOX"

// imapWait bounds one command.
const imapWait = 60 * time.Second

// read gives every message in every folder that a person sees.
func (w *world) read(ctx context.Context, p person) ([]seen, error) {
	c, err := w.imap(ctx, p)
	if err != nil {
		return nil, err
	}
	defer c.Close() // all was read, or nothing counts
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	folders, err := c.List("", "*", nil).Collect()
	if err != nil {
		return nil, fmt.Errorf("imap of %s: list the folders: %w", p.login, err)
	}
	var all []seen
	for _, f := range folders {
		if slices.Contains(f.Attrs, imap.MailboxAttrNoSelect) || slices.Contains(f.Attrs, imap.MailboxAttrNonExistent) {
			continue
		}
		found, err := readFolder(c, f.Mailbox)
		if err != nil {
			return nil, fmt.Errorf("imap of %s: folder %q: %w", p.login, f.Mailbox, err)
		}
		all = append(all, found...)
	}
	return all, nil
}

// imap logs a person in for their one mailbox: for all at once the gateway shows
// sent messages a second time.
func (w *world) imap(ctx context.Context, p person) (*imapclient.Client, error) {
	d := tls.Dialer{Config: &tls.Config{RootCAs: w.roots, ServerName: "localhost"}}
	ctx, cancel := context.WithTimeout(ctx, imapWait)
	defer cancel()
	conn, err := d.DialContext(ctx, "tcp", w.imaps)
	if err != nil {
		return nil, fmt.Errorf("imap of %s: %w", p.login, err)
	}
	c := imapclient.New(conn, nil)
	login := p.login
	if p.box != "" {
		login += "/" + p.box
	}
	if err := c.Login(login, p.password()).Wait(); err != nil {
		_ = c.Close() // the error is the login's
		return nil, fmt.Errorf("imap of %s: log in: %w", p.login, err)
	}
	return c, nil
}

func readFolder(c *imapclient.Client, folder string) ([]seen, error) {
	state, err := c.Select(folder, &imap.SelectOptions{ReadOnly: true}).Wait()
	if err != nil || state.NumMessages == 0 {
		return nil, err
	}
	whole := &imap.FetchItemBodySection{Peek: true}
	cmd := c.Fetch(imap.SeqSet{{Start: 1, Stop: state.NumMessages}}, &imap.FetchOptions{UID: true, RFC822Size: true, BodySection: []*imap.FetchItemBodySection{whole}})
	var all []seen
	for m := cmd.Next(); m != nil; m = cmd.Next() {
		s := seen{folder: folder, validity: state.UIDValidity}
		var size, got int64 = -1, -2
		for i := m.Next(); i != nil; i = m.Next() {
			switch i := i.(type) {
			case imapclient.FetchItemDataUID:
				s.uid = uint32(i.UID)
			case imapclient.FetchItemDataRFC822Size:
				size = i.Size
			case imapclient.FetchItemDataBodySection:
				raw, err := io.ReadAll(i.Literal)
				if err != nil {
					return nil, err
				}
				got = int64(len(raw))
				s.sum, s.body, s.id, s.subject = sum(raw), bodySum(raw), unbracket(field(raw, "Message-ID")), field(raw, "Subject")
				s.pin = bytes.Contains(raw, []byte(pin))
				s.from = address(field(raw, "From"))
			}
		}
		if s.uid == 0 || size != got {
			_ = cmd.Close() // the error is this one
			return nil, fmt.Errorf("message %d: size %d told, %d bytes given", s.uid, size, got)
		}
		all = append(all, s)
	}
	if err := cmd.Close(); err != nil {
		return nil, err
	}
	if len(all) != int(state.NumMessages) {
		return nil, fmt.Errorf("%d messages told, %d given", state.NumMessages, len(all))
	}
	return all, nil
}

// field is the value of a header field, without folding; empty if there is none.
func field(raw []byte, name string) string {
	header, _, _ := bytes.Cut(raw, []byte("\r\n\r\n"))
	header = bytes.ReplaceAll(header, []byte("\r\n "), []byte(" "))
	for line := range bytes.SplitSeq(header, []byte("\r\n")) {
		k, v, ok := strings.Cut(string(line), ":")
		if ok && strings.EqualFold(k, name) {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// address is what stands in the angle brackets of a From field, or all of it.
func address(from string) string {
	if i := strings.LastIndexByte(from, '<'); i >= 0 {
		from = from[i+1:]
	}
	return strings.TrimSuffix(strings.TrimSpace(from), ">")
}
