package providersim

// ServiceLogin lets a client read the service mailbox over IMAP. Without a
// username nobody can.
type ServiceLogin struct {
	Username, Password string
}

// ServiceAddress is the mailbox to which other providers send what is not for
// users: PRESA IN CARICO (kind 5) and PROBLEMA DI SICUREZZA (kind 7).
func (p *Provider) ServiceAddress() string { return "ricevute@" + fold(p.o.Domain) }
