package pec

import (
	"time"

	"pecgate/mailbox/planted"
)

// Kind is what a message is, in the words of `pecgate verify --json`. The
// numbers below are the twelve types of PEC in the order of RFC 6109.
type Kind string

const (
	Transport       Kind = "transport"        // 1, busta di trasporto
	Acceptance      Kind = "acceptance"       // 2, ricevuta di accettazione
	NonAcceptance   Kind = "non-acceptance"   // 3, 4, avviso di non accettazione
	TakenInCharge   Kind = "taken-in-charge"  // 5, ricevuta di presa in carico
	Anomaly         Kind = "anomaly"          // 6, busta di anomalia
	VirusDetected   Kind = "virus-detected"   // 7, avviso di rilevazione virus
	DeliveryError   Kind = "delivery-error"   // 8, 10, avviso di mancata consegna
	Delivery        Kind = "delivery"         // 9, ricevuta di avvenuta consegna
	DeliveryWarning Kind = "delivery-warning" // 11, 12, superamento tempo massimo
	Ordinary        Kind = "ordinary"         // no PEC header and no daticert.xml
	Unknown         Kind = "unknown"          // says it is PEC, in a word nobody knows
	Inconsistent    Kind = "inconsistent"     // a daticert.xml that contradicts itself
)

// The five verdicts.
const (
	// Valid: signature, chain, sender and content are right.
	Valid = "valid"
	// ValidHistoric: right as of the time of signing, but with SHA-1 or with a
	// certificate that has expired since.
	ValidHistoric = "valid-historic"
	// Invalid: a check failed that a genuine message passes. Reason names it.
	Invalid = "invalid"
	// Unverifiable: nothing is proved wrong, but it cannot be judged: unknown CA,
	// unreadable signature or daticert.xml, unsupported algorithm.
	Unverifiable = "unverifiable"
	// NotSigned: the message carries no S/MIME signature round itself.
	NotSigned = "not-signed"
)

// Values of Report.Receipt: how much of the message a delivery receipt carries.
const (
	Complete  = "complete"  // completa
	Brief     = "brief"     // breve
	Synthetic = "synthetic" // sintetica
)

// Values of Recipient.Type.
const (
	Certified = "certified" // certificato: a PEC mailbox
	External  = "external"  // esterno: ordinary mail, no delivery receipt ever
)

// Recipient is one destinatari element of daticert.xml.
type Recipient struct {
	Address string `json:"address"` // as the provider wrote it, trimmed
	Type    string `json:"type"`    // Certified or External
}

// Report is all that pecgate knows about one message from its bytes. The JSON
// keys are a contract with scripts.
//
// MsgID, Identifier, Recipient, Error and the like come from daticert.xml
// where there is one in the signed part. Where there is none MsgID, Subject and
// Sender are copied from the outer header, as a hint for people and searches;
// such a Report is never believed.
type Report struct {
	Kind    Kind   `json:"kind"`
	Receipt string `json:"receipt"` // Complete, Brief, Synthetic or empty
	Verdict string `json:"verdict"`
	// Reason explains the verdict and whatever is odd about the message: notes
	// of the form "check: sentence", joined by "; ", on one line. The check is one
	// of structure, cms, algorithm, digest, signature, chain, validity, usage,
	// sender, daticert, header, inner, time; where a check failed the last note is
	// "advice: what to do". Empty for a valid message with nothing odd.
	Reason string `json:"reason"`
	// Check is the one that decided a verdict other than Valid and ValidHistoric,
	// by its name in Reason: only "chain" may pass when trust changes.
	Check string `json:"check,omitempty"`
	// Issuer is the provider as its certificate names it: organisation (or
	// common name) and address. Only a Valid or ValidHistoric verdict proves it.
	Issuer string `json:"issuer"`
	// Signer is the provider's address, which certificate and From agree on. Set
	// where the verdict is Valid or ValidHistoric.
	Signer   string    `json:"signer,omitempty"`
	SignedAt time.Time `json:"signed_at,omitzero"` // the provider's claim, UTC
	// At is the date in daticert.xml: when the event happened, UTC, whole seconds.
	At time.Time `json:"at,omitzero"`
	// Zone is that date's zone as the provider gives it, "+0200": with At it makes
	// the local time that stands in the text of the message.
	Zone       string `json:"zone,omitempty"`
	MsgID      string `json:"msgid"`      // the client's Message-ID, as written
	Identifier string `json:"identifier"` // identificativo, the PEC id of the envelope
	Recipient  string `json:"recipient"`  // consegna: whom this notification is about
	Error      string `json:"error"`      // errore: no-dest, no-dominio, virus, altro; empty for nessuno
	ErrorCode  string `json:"error_code"` // x.y.z at the start of errore-esteso
	ErrorText  string `json:"error_text,omitempty"`
	// Final is true for the 24 h notice of a DeliveryWarning, false for the 12 h
	// one and wherever the notice leaves it open. It says nothing of other kinds.
	Final      bool        `json:"final"`
	Subject    string      `json:"subject"` // the original's, without the provider's prefix
	Sender     string      `json:"sender"`  // mittente, the original sender
	Recipients []Recipient `json:"recipients"`
	// TakenInCharge are the recipients of a TakenInCharge notice (ricezione).
	TakenInCharge []string `json:"taken_in_charge,omitempty"`
	Provider      string   `json:"provider,omitempty"` // gestore-emittente, the issuer in free text
	ReplyTo       string   `json:"reply_to,omitempty"` // risposte, the address for replies
	// Word is the provider's own word for an Unknown or Inconsistent kind: tipo of
	// daticert.xml, else the value of X-Ricevuta or X-Trasporto.
	Word string `json:"word,omitempty"`
	// Relayed tells that the signed envelope stood one level down, in a multipart
	// that a mailing list or a server made round it. It is verified and shown like
	// another, but never Believed: its bytes prove what was signed, not that the
	// provider delivered it here.
	Relayed bool `json:"relayed,omitempty"`
	// Inner is the message inside (postacert.eml), nil where there is none in the
	// signed part. It is as signed as the verdict says.
	Inner *Inner `json:"inner,omitempty"`
}

// Believed reports whether the message may change an outcome: the verdict is
// Valid or ValidHistoric, the kind was read from the signed daticert.xml, and
// nobody on the way made another message of it (Relayed).
// Read gives those verdicts to the kinds below only with a daticert.xml, so the
// answer survives storing the Report as JSON.
func (r *Report) Believed() bool {
	if !r.good() && !planted.Is(planted.ReceiptBelieved) || r.Relayed {
		return false
	}
	switch r.Kind {
	case Transport, Acceptance, NonAcceptance, TakenInCharge, VirusDetected,
		DeliveryError, Delivery, DeliveryWarning:
		return true
	}
	return false
}

// receipt reports whether the kind is a notification that a sender gets about
// a message of theirs.
func (k Kind) receipt() bool {
	switch k {
	case Acceptance, NonAcceptance, DeliveryError, Delivery, DeliveryWarning:
		return true
	}
	return false
}

// perRecipient reports whether a notification of this kind speaks of exactly
// one recipient, named in consegna.
func (k Kind) perRecipient() bool {
	return k == DeliveryError || k == Delivery || k == DeliveryWarning
}
