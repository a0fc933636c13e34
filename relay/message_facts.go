package relay

import (
	"context"
	"errors"
	"strings"

	"pecgate/mailbox"
	"pecgate/mailbox/mime"
	"pecgate/mailbox/pec"
)

// factsOf are the facts of what came in: those of its daticert.xml, and where it has
// none those that its own header claims.
func factsOf(r *pec.Report, header []byte) mailbox.Facts {
	f := mailbox.Facts{Sender: r.Sender, Subject: r.Subject, MsgID: pec.NormalizeID(r.MsgID), Identifier: pec.NormalizeID(r.Identifier)}
	if r.Recipient != "" {
		f.Recipients = []string{r.Recipient}
	} else {
		for _, to := range r.Recipients {
			f.Recipients = append(f.Recipients, to.Address)
		}
	}
	claimed := headerFacts(header)
	if f.Sender == "" {
		f.Sender = claimed.Sender
	}
	if f.Subject == "" {
		f.Subject = claimed.Subject
	}
	if len(f.Recipients) == 0 {
		f.Recipients = claimed.Recipients
	}
	if f.MsgID == "" {
		f.MsgID = claimed.MsgID
	}
	return f
}

// headerFacts are those that a header tells.
func headerFacts(header []byte) (f mailbox.Facts) {
	for _, field := range mime.Fields(header) {
		switch strings.ToLower(field.Name) {
		case "from":
			if list := mime.AddressList(field.Body()); len(list) > 0 && f.Sender == "" {
				f.Sender = list[0].Local + "@" + list[0].Domain
			}
		case "to", "cc":
			for _, a := range mime.AddressList(field.Body()) {
				if a.Local != "" && a.Domain != "" {
					f.Recipients = append(f.Recipients, a.Local+"@"+a.Domain)
				}
			}
		case "subject":
			if f.Subject == "" {
				f.Subject = mime.DecodeWords(field.Body())
			}
		case "message-id":
			if f.MsgID == "" {
				f.MsgID = pec.NormalizeID(field.Body())
			}
		}
	}
	return f
}

// learn makes the facts of those that have none, and keeps them.
func (l *messageLog) learn(ctx context.Context, list []*candidate) error {
	var made []*candidate
	for _, c := range list {
		if c.facts != nil {
			continue
		}
		f, err := l.read(ctx, c.m)
		if errors.Is(err, mailbox.ErrNotFound) {
			c.facts = &mailbox.Facts{} // it was removed meanwhile
			continue
		}
		if err != nil {
			return err
		}
		c.facts = f
		made = append(made, c)
	}
	if len(made) == 0 {
		return nil
	}
	for len(made) > 0 {
		part := made[:min(len(made), 100)]
		made = made[len(part):]
		err := l.store.Update(ctx, func(tx *mailbox.Tx) error {
			for _, c := range part {
				switch _, err := tx.Message(c.m.ID); {
				case errors.Is(err, mailbox.ErrNotFound):
					continue // it was removed meanwhile
				case err != nil:
					return err
				}
				if err := tx.PutFacts(c.m.ID, *c.facts); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// read reads the facts of a message from its bytes.
func (l *messageLog) read(ctx context.Context, m *mailbox.Message) (*mailbox.Facts, error) {
	ix, err := l.store.Index(ctx, m.ID)
	if err != nil {
		return nil, err
	}
	body, err := l.store.Open(m)
	if err != nil {
		return nil, err
	}
	defer body.Close() // read-only handle: nothing to lose
	header, err := mime.ReadHeader(body, &ix.Root)
	if err != nil && !errors.Is(err, mime.ErrHeaderTooBig) {
		return nil, err
	}
	f := headerFacts(header)
	if m.Direction == mailbox.In && m.Kind != pec.Ordinary {
		r, err := l.reader.Read(ctx, body, m.Size(), ix)
		if err != nil {
			return nil, err
		}
		f = factsOf(r, header)
	}
	return &f, nil
}
