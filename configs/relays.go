package configs

import (
	"net/netip"
	"slices"

	"pecgate/policy"
)

// Relay is a groupware server that submits for its users without a password of theirs.
type Relay struct {
	// For logs and the audit log: letters, digits and . _ - + @. Required, once, whatever its case.
	Name string `yaml:"name"`
	// Networks it connects from, CIDR, of this server only. Required. One address belongs to one relay, unless each of them
	// asks for a login of its own.
	Networks []string `yaml:"networks"`
	// STARTTLS before MAIL: required (default).
	TLS string `yaml:"tls" default:"required" oneof:"required"`
	// PEM file of the CA that signed the client certificate which the server must show. Default none: it need not show one.
	ClientCA string `yaml:"client_ca"`
	// Host names of which that certificate must bear one. Default any.
	ClientNames []string `yaml:"client_names"`
	// Name that the server must log in with. Default none: no login.
	Login string `yaml:"login"`
	// Hash made by `pecgate password`. Required with login.
	Password string `yaml:"password" secret:"pecgate password"`
	// Header field with a secret that a rule of the server sets in each message; cut here. For servers that cannot log in and
	// send from addresses that others use too, as Microsoft 365. Default none.
	SecretHeader SecretHeader `yaml:"secret_header"`
	// How the user is found. by_email (default): reverse path and From are the email of one user; where From is a PEC mailbox
	// the reverse path alone. header:NAME: a field of that name, set by a rule of the server, holds a login or email.
	// user:LOGIN: always this user.
	Users string `yaml:"users" default:"by_email"`
	// Subject tag that marks a PEC; removed before sending. With a mailbox it is [PEC:mailbox]. Default [PEC].
	Trigger string `yaml:"trigger" default:"[PEC]"`
	// Which marks make a message a PEC: from (From is a PEC mailbox), subject, suffix, domains, senders. Default from and
	// subject, and those of the last three whose key is written.
	Marks []string `yaml:"marks" default:"from,subject" oneof:"from,subject,suffix,domains,senders"`
	// Domain behind the domains of the recipients of a PEC, without its first dot; removed in envelope, To and Cc. Default none.
	Suffix string `yaml:"suffix"`
	// Domains of recipients, without those below them, that are reached by PEC. Default none.
	Domains []string `yaml:"domains"`
	// Ordinary addresses of senders whose every message is a PEC. Default none.
	Senders []string `yaml:"senders"`
	// Address of the PEC mailbox for users who may send from several and name none. Default none: they are refused.
	Mailbox string `yaml:"mailbox"`
	// What bears no mark: refuse (default), or smarthost: it is passed on to outgoing.smarthost, unaltered.
	Unmarked string `yaml:"unmarked" default:"refuse" oneof:"refuse,smarthost"`
	// How a PIN may come on this way, where the mailbox allows it: reply (default), or subject: that, too.
	PIN string `yaml:"pin" default:"reply" oneof:"reply,subject"`
	// To or Cc name people who are not recipients, because the server itself gives them the message: refuse (default), or
	// warn: the sender is told.
	InternalRecipients string `yaml:"internal_recipients" default:"refuse" oneof:"refuse,warn"`
	// Journal reports of Exchange are taken for what is in them. Default false.
	Journal bool `yaml:"journal" default:"false"`
	// Receipts also go as delivery status notifications to senders who asked for them. Default true.
	DeliveryReports bool `yaml:"delivery_reports" default:"true"`

	At Position `yaml:"-"`
}

// SecretHeader is a header field that proves from whom a message is.
type SecretHeader struct {
	// Name of the field, like X-Pecgate-Secret. Required.
	Name string `yaml:"name"`
	// Hash made by `pecgate password --secret`. Required.
	Value string `yaml:"value" secret:"pecgate password --secret"`
}

// Rule is the relay in the form that decides.
func (r Relay) Rule() policy.Relay {
	out := policy.Relay{
		Name: r.Name, Users: r.Users, Trigger: r.Trigger, Marks: slices.Clone(r.Marks), Suffix: r.Suffix, Domains: slices.Clone(r.Domains),
		Senders: slices.Clone(r.Senders), Mailbox: r.Mailbox, Smarthost: r.Unmarked == "smarthost", PINs: []string{policy.PINByReply},
		InternalWarn: r.InternalRecipients == "warn", Journal: r.Journal, Delivery: r.DeliveryReports, Line: r.At.FileLine(),
	}
	if r.PIN == policy.PINBySubject {
		out.PINs = append(out.PINs, policy.PINBySubject)
	}
	return out
}

// Prefixes are the networks, for the listener. What is no network is left out, but the loader refuses it.
func (r Relay) Prefixes() (out []netip.Prefix) {
	for _, n := range r.Networks {
		if p, err := netip.ParsePrefix(n); err == nil {
			out = append(out, p)
		}
	}
	return out
}
