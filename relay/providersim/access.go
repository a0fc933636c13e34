package providersim

import "fmt"

// Folder shows what a mailbox's folder (INBOX, SentFolder) holds now.
func (p *Provider) Folder(address, name string) ([]Message, error) {
	f, err := p.folder(address, name)
	if err != nil {
		return nil, err
	}
	return f.state().messages, nil
}

// SentFolder is the name of the Sent folder in this provider's layout.
func (p *Provider) SentFolder() string { return p.layout.sent }

// CreateFolder makes a further folder in a mailbox, as a person does in webmail.
// It is subscribed. A name outside the layout's namespace is an error.
func (p *Provider) CreateFolder(address, name string) error {
	a, err := p.mailbox(address)
	if err != nil {
		return err
	}
	if err := a.create(name); err != nil {
		return fmt.Errorf("folder %q of mailbox %s: %w", name, address, err)
	}
	a.subscribe(name)
	p.notify()
	return nil
}

// Move takes one message out of INBOX into another folder, as a rule in webmail
// does: IMAP finds it there, POP3 no longer sees it.
func (p *Provider) Move(address string, uid uint32, to string) error {
	a, err := p.mailbox(address)
	if err != nil {
		return err
	}
	pairs, _, err := a.move(a.folder("INBOX"), to, func(u uint32) bool { return u == uid })
	switch {
	case err != nil:
		return fmt.Errorf("move to folder %q of mailbox %s: %w", to, address, err)
	case len(pairs) == 0:
		return fmt.Errorf("no message with UID %d in INBOX of %s", uid, address)
	}
	p.notify()
	return nil
}

// Renumber gives a folder a new UIDVALIDITY and new UIDs from 1. POP3 shows
// other unique ids from then on.
func (p *Provider) Renumber(address, name string) error {
	a, err := p.mailbox(address)
	if err != nil {
		return err
	}
	if !a.renumber(name) {
		return fmt.Errorf("no folder %s in mailbox %s", name, address)
	}
	p.notify()
	return nil
}

// SetPassword changes the password of a mailbox for logins from now on, for all
// protocols; sessions that are open stay open.
func (p *Provider) SetPassword(address, password string) error {
	a, err := p.mailbox(address)
	if err != nil {
		return err
	}
	if password == "" {
		return fmt.Errorf("mailbox %s: the new password is empty", address)
	}
	a.setPassword(password)
	return nil
}

func (p *Provider) folder(address, name string) (*folder, error) {
	a, err := p.mailbox(address)
	if err != nil {
		return nil, err
	}
	f := a.folder(name)
	if f == nil {
		return nil, fmt.Errorf("no folder %s in mailbox %s", name, address)
	}
	return f, nil
}

// mailbox finds a user's mailbox or the service mailbox.
func (p *Provider) mailbox(address string) (*account, error) {
	if a := p.account(address); a != nil {
		return a, nil
	}
	if fold(address) == fold(p.service.Address) {
		return p.service, nil
	}
	return nil, fmt.Errorf("no mailbox %s at the simulated provider", address)
}
