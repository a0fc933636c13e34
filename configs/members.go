package configs

import (
	"time"

	"pecgate/policy"
)

// Policy is policy.yaml: who may do what.
type Policy struct {
	// People with a personal password.
	Users []User `yaml:"users"`
	// Names for several users, to stand in lines of members and lists. Default none.
	Groups []Group `yaml:"groups"`
	// What every mailbox has that does not say otherwise: any key of a mailbox but address, name, username, password and
	// inherit. Members add to those of the mailbox. Default nothing.
	Defaults Mailbox `yaml:"defaults"`
	// PEC mailboxes (caselle PEC).
	Mailboxes []Mailbox `yaml:"mailboxes"`
	// Distribution lists: addresses that stand for several recipients. Default none.
	Lists []List `yaml:"lists"`
	// Groupware servers that may submit without a user's password. Default none.
	Relays []Relay `yaml:"relays"`
	// Programs that use the HTTP service. Default none.
	Applications []Application `yaml:"applications"`
}

// User is one person.
type User struct {
	// Name at SMTP AUTH and IMAP LOGIN: letters, digits and . _ - + @. Required, once, whatever its case.
	Login string `yaml:"login"`
	// For people. Default empty.
	Name string `yaml:"name"`
	// Ordinary mailbox, for forwarding and notices; also accepted as login. Default none.
	Email string `yaml:"email"`
	// Hash made by `pecgate password`. Default none: no login by password.
	Password string `yaml:"password" secret:"pecgate password"`
	// Hash made by `pecgate pin`. Default none.
	PIN string `yaml:"pin" secret:"pecgate pin"`
	// One-time codes of an app in place of the PIN: what `pecgate pin --totp` prints. Default none.
	TOTP Sealed `yaml:"totp"`
	// Where this user's messages go: imap (default), forward, or both.
	Deliver []string `yaml:"deliver" default:"imap" oneof:"imap,forward"`
	// A notice by ordinary mail, without content, of each PEC that arrives in a mailbox that the user reads. Default false.
	NotifyNew bool `yaml:"notify_new" default:"false"`
	// Time of the day, in the time zone of the appliance, of a digest of the user's mailboxes: HH:MM or off (default).
	Digest Hour `yaml:"digest" default:"off"`

	At Position `yaml:"-"`
}

// Group is a name for several users.
type Group struct {
	// For lines of members and lists, and for faults. Required, once, whatever its case.
	Name string `yaml:"name"`
	// Logins of its users. Default none.
	Users []string `yaml:"users"`
	// Groups whose users are users of this one too. Default none.
	Groups []string `yaml:"groups"`

	At Position `yaml:"-"`
}

// List is a distribution list. A message to it goes to each of its members as a message of their own, so it works only
// from a mailbox with split blind or always; see policy.Expand.
type List struct {
	// What stands in To. Required, once; no mailbox and no user's email; lower case after loading.
	Address string `yaml:"address"`
	// For people. Default empty.
	Name string `yaml:"name"`
	// Addresses of the recipients, 1 to 1000, no lists among them.
	Members []string `yaml:"members"`
	// Logins of those who may write to it.
	Users []string `yaml:"users"`
	// Groups that may write to it. At least one user or group is required.
	Groups []string `yaml:"groups"`

	At Position `yaml:"-"`
}

// Mailbox is one PEC mailbox.
type Mailbox struct {
	// PEC address. Required, once, whatever its case; lower case after loading.
	Address string `yaml:"address"`
	// For people. Default empty.
	Name string `yaml:"name"`
	// Default true. false: no fetch, no send; history stays readable.
	Active bool `yaml:"active" default:"true"`
	// A built-in preset. Without one, smtp and incoming must say host.
	Provider string `yaml:"provider"`
	// Login at the provider. Default the address, where the preset does not ask for another.
	Username string `yaml:"username"`
	// Password at the provider. Required while active.
	Password Secret `yaml:"password"`
	// What password is at the provider: password (default), or xoauth2, an OAuth 2.0 access token, which is read anew at
	// each login: something else keeps the file fresh.
	Auth string `yaml:"auth" default:"password" oneof:"password,xoauth2"`
	// Server for sending; what is written here wins over the preset.
	SMTP Server `yaml:"smtp"`
	// Server for fetching; what is written here wins over the preset.
	Incoming Incoming `yaml:"incoming"`
	// Every message needs the PIN of its sender. Default false.
	PINRequired bool `yaml:"pin_required" default:"false"`
	// Delivery receipts asked for: complete (default), brief, synthetic.
	Receipt string `yaml:"receipt" default:"complete" oneof:"complete,brief,synthetic"`
	// The sender of a message may ask for another kind with its X-TipoRicevuta (completa, breve, sintetica). Default
	// false: the field is set to what receipt says.
	ReceiptChoice bool `yaml:"receipt_choice" default:"false"`
	// Who gets the receipts: sender (default), receivers, both.
	ReceiptsTo string `yaml:"receipts_to" default:"sender" oneof:"sender,receivers,both"`
	// The provider's copy of a message: keep (default), delete, or an age since our verified copy. What stood there
	// when the rule came stays for three days more, so that a mistake can be taken back.
	ProviderCopy CopyRule `yaml:"provider_copy" default:"keep"`
	// The same for receipts. Default as provider_copy.
	ProviderCopyReceipts CopyRule `yaml:"provider_copy_receipts"`
	// Room that the mailbox has at the provider, as 1GB. Needed with pop3, whose server does not tell; with imap what the
	// provider tells counts, at most this. Default none: not known, and then nothing waits for room.
	ProviderQuota Size `yaml:"provider_quota"`
	// What has no room at the provider for the receipts it will bring: wait (default) until there is some, or send all the
	// same, at the risk that receipts are lost.
	WhenFull string `yaml:"when_full" default:"wait" oneof:"wait,send"`
	// Per cent of the room at the provider at which the administrator is told. Default 70 and 90.
	QuotaWarnings []int `yaml:"quota_warnings" default:"70,90"`
	// Our own copy: forever (default) or an age since it arrived. What is under a legal hold or belongs to a submission
	// that is not over stays. A new age counts once the clock has gone on evenly for three days.
	Keep Retention `yaml:"keep" default:"forever"`
	// After a hand-over that nobody knows the end of: hold (default) or resend.
	Uncertain string `yaml:"uncertain" default:"hold" oneof:"hold,resend"`
	// How long a receipt is looked for before that. 1m to 24h, default 15m.
	UncertainAfter time.Duration `yaml:"uncertain_after" default:"15m"`
	// Blind copies and bulk: never (default), blind, always.
	Split string `yaml:"split" default:"never" oneof:"never,blind,always"`
	// Who approves what a member with compose wrote confirms it by replying with their PIN to a notice, whatever
	// pin_methods say. Default true; without pin_required no PIN is asked for.
	ApprovalPIN bool `yaml:"approval_pin" default:"true"`
	// Members with approve may approve what they wrote themselves. Default false: another one has to.
	ApproveOwn bool `yaml:"approve_own" default:"false"`
	// How the PIN may be given: subject (default), reply, header, password.
	PINMethods []string `yaml:"pin_methods" default:"subject" oneof:"subject,reply,header,password"`
	// What the provider allows; what is written here wins over the preset.
	Limits Limits `yaml:"limits"`
	// Ordinary mail that arrives, which stands in Anomalie.
	Ordinary Ordinary `yaml:"ordinary"`
	// Put a copy of what was sent into the provider's own Sent folder. Default false.
	ProviderSentCopy bool `yaml:"provider_sent_copy" default:"false"`
	// \Seen is common to all members. Default false.
	SharedSeen bool `yaml:"shared_seen" default:"false"`
	// How messages that were there at first contact look: seen (default) or unseen.
	History string `yaml:"history" default:"seen" oneof:"seen,unseen"`
	// Address put into Reply-To of what is sent, also in place of the sender's own. Default none.
	ReplyTo string `yaml:"reply_to"`
	// Whose silence is told, after how long the gateway ran.
	Watch Watchdogs `yaml:"watch"`
	// When the mailbox works. Default always.
	Hours Hours `yaml:"hours"`
	// Login of the mailbox administrator (amministratore di casella). Required.
	Admin string `yaml:"admin"`
	// Most people among the members, groups counted by their users; 1 to 1000, default 30.
	MaxMembers int `yaml:"max_members" default:"30"`
	// false: nothing of defaults holds here. Default true.
	Inherit bool `yaml:"inherit" default:"true"`
	// Who may use the mailbox. At least one must receive. Where several lines speak of one person, each right is what
	// one of them says and none denies, from the last of their beginnings until the first of their ends.
	Members []Member `yaml:"members"`

	// From the preset.
	Replies    []Reply `yaml:"-"`
	SentFolder string  `yaml:"-"`

	At Position `yaml:"-"`
}

// Server is a mail server of a provider. Its certificate is always checked.
type Server struct {
	// Host name. Required without a preset.
	Host string `yaml:"host"`
	// Default 465 with tls, 587 with starttls.
	Port int `yaml:"port"`
	// tls (default) or starttls.
	Security string `yaml:"security" oneof:"tls,starttls"`
	// Longest wait for one command, 1s to 10m, default 60s. After the final dot it is always 10 minutes.
	Timeout time.Duration `yaml:"timeout"`
	// PEM file of CAs in place of the system's roots. Default none.
	CA string `yaml:"ca"`
	// Login at this server, where it is not that of the mailbox. Default the mailbox's username.
	Username string `yaml:"username"`
	// Password at this server, where it is not that of the mailbox. Default the mailbox's password.
	Password Secret `yaml:"password"`
}

// Incoming is the server from which a mailbox is fetched.
type Incoming struct {
	// imap (default) or pop3.
	Protocol string `yaml:"protocol" oneof:"imap,pop3"`
	// Host name. Required without a preset.
	Host string `yaml:"host"`
	// Default 993 with tls, 143 with starttls.
	Port int `yaml:"port"`
	// tls (default) or starttls.
	Security string `yaml:"security" oneof:"tls,starttls"`
	// Longest wait for one command, 1s to 10m, default 60s.
	Timeout time.Duration `yaml:"timeout"`
	// PEM file of CAs in place of the system's roots. Default none.
	CA string `yaml:"ca"`
	// Login at this server, where it is not that of the mailbox. Default the mailbox's username.
	Username string `yaml:"username"`
	// Password at this server, where it is not that of the mailbox. Default the mailbox's password.
	Password Secret `yaml:"password"`
	// Folders at the provider that are fetched besides the inbox, by their full names, at most 50; imap only. Default none.
	Folders []string `yaml:"folders"`
	// Time between two looks. 1s to 24h, default 1m. With imap a provider that offers it tells of new messages at once.
	Every time.Duration `yaml:"every"`
}

// Watchdogs are the watchdogs of a mailbox: each tells once, by a notice, and ends when what was missing comes. off: it does
// not watch. What counts is the time that the gateway ran.
type Watchdogs struct {
	// Since the hand-over without an acceptance; told to the sender and the administrator. 10m to 30d, default 30m.
	Acceptance Patience `yaml:"acceptance" default:"30m"`
	// Since the acceptance without delivery or error; told to the same. 1h to 30d, default 12h.
	DeliveryWarning Patience `yaml:"delivery_warning" default:"12h"`
	// The same for the second and last time; longer than delivery_warning. Default 24h.
	Delivery Patience `yaml:"delivery" default:"24h"`
	// Since a PEC arrived that nobody who may has read; told to the administrator. 1h to 365d, default off.
	Unread Patience `yaml:"unread" default:"off"`
	// Since the mailbox could be read at the provider; told to the administrator. 10m to 30d, default 1h.
	Fetch Patience `yaml:"fetch" default:"1h"`
}

// Hours are the parts of each day, in the time zone of the appliance, in which a mailbox works: always (default), or from
// one time to before another, like "07:30-20:00", over midnight where the first is the later one.
type Hours struct {
	// Receive is when it is fetched. What was sent brings receipts that are fetched for an hour at any time, and what is
	// uncertain is looked for at any time.
	Receive DaySpan `yaml:"receive" default:"always"`
	// Send is when what is queued is handed over.
	Send DaySpan `yaml:"send" default:"always"`
}

// Ordinary says what becomes of ordinary mail that arrives in a mailbox, beside that it is kept.
type Ordinary struct {
	// Ordinary address that gets it by the smarthost, unaltered; not what machines wrote. Default none.
	ForwardTo string `yaml:"forward_to"`
}

// Limits of a provider.
type Limits struct {
	// Most recipients of one message, 1 to 1000, default 50.
	Recipients int `yaml:"recipients"`
	// Most octets of size x recipients, default 30MB (the legal floor).
	Product Size `yaml:"product"`
	// Most messages handed over in a minute, default 0: no limit.
	PerMinute int `yaml:"per_minute"`
	// Most connections at once to one host of the provider, over all its mailboxes, 1 to 1000, default 10.
	Connections int `yaml:"connections"`
}

// Member is what one user, or each user of a group, may do with one mailbox. A right that is not written has its default
// only as far as no other line speaks of the same person. After loading the rights are as the whole line says.
type Member struct {
	// Login of the user, once in the lines of a mailbox. Either user or group is required.
	User string `yaml:"user"`
	// Name of a group. One that is called read-only or sola-lettura does not send by default: the line has to say.
	Group string `yaml:"group"`
	// The rights of a line in one word; beside it other rights may only be taken away. full: send, receive, anomalies,
	// approve, delete. read only: receive, anomalies. send only: send by SMTP, no IMAP, receipts by mail. Default none.
	Preset string `yaml:"preset" oneof:"full,read only,send only"`
	// May send. Default true.
	Send bool `yaml:"send" default:"true"`
	// Sees incoming messages. Default true.
	Receive bool `yaml:"receive" default:"true"`
	// Sees the folder of anomalies. Default true.
	Anomalies bool `yaml:"anomalies" default:"true"`
	// May write, another approves; makes send false. Default false.
	Compose bool `yaml:"compose" default:"false"`
	// May approve what others wrote. Default false.
	Approve bool `yaml:"approve" default:"false"`
	// What this member expunges from a folder of the mailbox, or moves from there to their trash, is gone for all; else
	// it is hidden from this member alone. The message stays in the store as long as keep or a legal hold says. Default
	// false.
	Delete bool `yaml:"delete" default:"false"`
	// Sees only what they sent and its receipts; makes receive and anomalies false. Default false.
	OwnOnly bool `yaml:"own_only" default:"false"`
	// When this line grants anything, in the time zone of the appliance: its last day, YYYY-MM-DD, or a term,
	// {from: 2027-01-01, for: 90d}. Default always.
	Expires Term `yaml:"expires"`

	At   Position     `yaml:"-"`
	Said policy.Words `yaml:"-"` // the rights of which this line speaks
}

// Rule is the line in the form that decides.
func (m Member) Rule(loc *time.Location) policy.Member {
	out := policy.Member{
		User: m.User, Group: m.Group, Send: m.Send, Receive: m.Receive, Anomalies: m.Anomalies, Compose: m.Compose,
		Approve: m.Approve, Delete: m.Delete, SendOnly: m.Preset == presetSendOnly, Unsaid: ^m.Said,
		Begins: m.Expires.Begin(loc), Expires: m.Expires.End(loc), Line: m.At.FileLine(),
	}
	if m.User != "" {
		out.Group = ""
	}
	return out
}
