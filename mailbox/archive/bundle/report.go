package bundle

import (
	"time"

	"pecgate/mailbox/pec"
)

// Version is that of the format.
const Version = 1

// Report is report.json: what the bundle shows. Times are UTC. Its keys are a
// contract with those who read it years later.
type Report struct {
	Version   int       `json:"version"`
	MadeAt    time.Time `json:"made_at"`
	Appliance string    `json:"appliance"` // the name in its key
	Clock     string    `json:"clock"`     // whether its clock was synchronised when this was made: see Message.Clock
	Cases     []*Case   `json:"cases"`
}

// The directions of a Case.
const (
	Outgoing = "outgoing"
	Incoming = "incoming"
)

// Case is one submission with all its receipts, or one message that came in.
type Case struct {
	ID          string       `json:"id"`        // of the submission; of what came in its SHA-256
	Direction   string       `json:"direction"` // Outgoing or Incoming
	Mailbox     string       `json:"mailbox"`   // the PEC mailbox
	MsgID       string       `json:"msgid"`
	ClientMsgID string       `json:"client_msgid,omitempty"` // where the gateway replaced it
	Identifier  string       `json:"identifier"`             // the provider's
	Subject     string       `json:"subject"`
	Sender      string       `json:"sender"`
	State       string       `json:"state,omitempty"`
	StateReason string       `json:"state_reason,omitempty"`
	SubmittedAt time.Time    `json:"submitted_at,omitzero"`
	HandedOver  time.Time    `json:"handed_over,omitzero"`
	Register    string       `json:"register,omitempty"` // year/number
	Part        string       `json:"part_of,omitempty"`  // id of the submission that was split into this and others
	Parts       int          `json:"parts,omitempty"`    // messages that it was split into: cases of their own
	History     bool         `json:"history,omitempty"`  // it stood at the provider before the appliance did
	Notes       []string     `json:"notes"`              // what a reader has to know, in English
	Recipients  []*Recipient `json:"recipients"`
	Messages    []*Message   `json:"messages"`
	Events      []Event      `json:"events"`
}

// Recipient is one address of the envelope.
type Recipient struct {
	Address    string    `json:"address"`
	State      string    `json:"state"`
	HandedOver time.Time `json:"handed_over,omitzero"`
	Receipts   []string  `json:"receipts"` // members of the bundle
}

// The roles of a Message.
const (
	RoleSubmission = "submission" // as it was relayed
	RoleReceipt    = "receipt"
	RoleEnvelope   = "envelope" // the transport envelope, or whatever else came in
)

// Message is one message of a case.
type Message struct {
	File    string    `json:"file"`
	Role    string    `json:"role"`
	SHA256  string    `json:"sha256"`
	Size    int64     `json:"size"`
	Arrived time.Time `json:"arrived,omitzero"` // by the appliance's clock
	// Clock says whether that clock was synchronised then: "synchronised", "not
	// synchronised", or empty where it is not known.
	Clock    string `json:"clock,omitempty"`
	AtArrive string `json:"verdict_at_arrival,omitempty"`
	About    string `json:"about,omitempty"` // the recipient of the envelope that a receipt is about
	// Pec is what the message proves, nil for a submission.
	Pec *pec.Report `json:"pec,omitempty"`
	// Original says how the message inside compares with what was submitted.
	Original     *pec.Comparison `json:"original,omitempty"`
	Content      string          `json:"content,omitempty"`      // member with the message inside
	Daticert     string          `json:"daticert,omitempty"`     // member with daticert.xml
	Encoding     string          `json:"-"`                      // of daticert.xml, for the README
	Certificates string          `json:"certificates,omitempty"` // member with who signed it
	Chain        []Certificate   `json:"chain,omitempty"`
	SHA1         bool            `json:"sha1,omitempty"`
	Revocation   []Revocation    `json:"revocation"`
	// RevocationText says why there is none.
	RevocationText string `json:"revocation_text,omitempty"`
}

// Certificate is one of a chain.
type Certificate struct {
	Subject   string    `json:"subject"`
	Serial    string    `json:"serial"` // hexadecimal
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	SHA256    string    `json:"sha256"` // of its DER
}

// Revocation is an answer about the provider's certificate that was kept at
// reception.
type Revocation struct {
	File   string    `json:"file"`
	Kind   string    `json:"kind"` // ocsp or crl
	At     time.Time `json:"at"`   // when it was fetched
	Status string    `json:"status"`
}

// Event is one line of the story.
type Event struct {
	At   time.Time `json:"at"`
	What string    `json:"what"`
	Text string    `json:"text"`
}

// Moment is one line of timeline.json.
type Moment struct {
	At   time.Time `json:"at"`
	Case string    `json:"case"`
	By   string    `json:"by"` // whose clock: appliance or provider
	What string    `json:"what"`
	Text string    `json:"text"`
	File string    `json:"file,omitempty"`
}

// Manifest is manifest.json.
type Manifest struct {
	Format      string    `json:"format"` // pecgate evidence
	Version     int       `json:"version"`
	MadeAt      time.Time `json:"made_at"` // whole even seconds: that of every file in the zip
	Appliance   string    `json:"appliance"`
	PublicKey   string    `json:"public_key"`  // in one line: name, hash, base64
	Fingerprint string    `json:"fingerprint"` // SHA-256 of public-key.pem in DER
	Cases       []string  `json:"cases"`
	Files       []File    `json:"files"` // all before manifest.json, in their order
}

// File is one member in the manifest.
type File struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
	About  string `json:"about"`
}

// format is what a manifest says it is.
const format = "pecgate evidence"
