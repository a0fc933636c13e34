package pec

import (
	"fmt"
	"strings"
)

// The checks that a note of Report.Reason names first.
const (
	checkStructure = "structure" // how the message is built
	checkCMS       = "cms"       // the signature as a file
	checkAlgorithm = "algorithm"
	checkDigest    = "digest"    // the signed content
	checkSignature = "signature" // the signature's own value
	checkChain     = "chain"     // who issued the certificate
	checkValidity  = "validity"  // the certificate at the signing time
	checkUsage     = "usage"     // what the certificate is for
	checkSender    = "sender"    // From against the certificate
	checkDaticert  = "daticert"
	checkHeader    = "header" // outer headers, which nobody signed
	checkTime      = "time"
	checkInner     = "inner" // the message inside
	// checkAdvice is no check: what to do about the one that failed.
	checkAdvice = "advice"
)

// Texts without parameters. Those of the signature and of daticert.xml stand
// where they arise, since they quote what was found.
const (
	textNoSignature = "no S/MIME signature round the message"
	textAttached    = "no S/MIME signature round the message; a signed message is attached to it: save that one by itself and check it"
	textBare        = "no S/MIME signature round the message; it seems to be the original out of an envelope (postacert.eml): only the envelope is signed"
	textOpaque      = "the signature encloses the message (application/pkcs7-mime); a PEC signature stands beside it (multipart/signed)"
	textEncrypted   = "the message is enclosed in S/MIME without a signature on the outside"
	textNotTwo      = "multipart/signed without exactly two parts, as when a message was cut short"
	textNoPKCS7     = "the second part is no PKCS #7 signature"
	textOutside     = "the signed part lies outside of the message"
	textLongHeader  = "the header is too long to be judged"
	textRelayed     = "relayed: the signed envelope stands inside a message that a mailing list or a server made round it; " +
		"it proves what the provider signed, not that the provider delivered it here"
	textProvider   = "signed by a provider, but with nothing certified in it: a message of the provider's own"
	textUnknownBox = "consegna is not among destinatari"
)

func textProtocol(p string) string {
	return "signed with " + clip(p) + ", not with S/MIME"
}

func textSeveral(n int) string {
	return fmt.Sprintf("%d signed parts in one message, only one can be judged", n)
}

func textPerson(who string) string {
	return "signed by " + who + ", who is no PEC provider: ordinary mail with a signature of its own, no certified mail"
}

func textNoXML(claim string) string {
	return "no daticert.xml in the signed part, but the header says " + claim
}

func textWord(word string) string { return word + " is not a kind that is known" }

// advice says what a person can do about the first check that failed, "" where
// nothing is wrong. Ordinary mail is as it is.
func advice(rep *Report, check string) string {
	if rep.Kind == Ordinary {
		return ""
	}
	const again = "save the message anew from the provider's webmail (as .eml) and check that"
	switch rep.Verdict {
	case NotSigned:
		return "a genuine PEC message bears its provider's signature, so this proves nothing; look for the original in the provider's webmail"
	case Invalid:
		switch check {
		case checkDigest:
			return "the message was changed after it was signed, on its way or on disk; " + again
		case checkSender:
			if rep.Relayed {
				return "whoever passed the message on wrote a From of their own; ask the sender for the message itself"
			}
			return "somebody else than the signer stands in From: treat it as forged unless the message itself, " +
				"saved from the provider's webmail, says otherwise"
		}
		return "treat it as forged; if it matters, ask the provider that seems to have sent it"
	case Unverifiable:
		switch check {
		case checkStructure, checkCMS:
			return "nothing is proved; " + again
		case checkAlgorithm:
			return "nothing is proved; check it with other software, or ask the provider"
		case checkChain:
			return "if this is the CA of a PEC provider, add its certificate (provider_trust, or verify --trust); otherwise do not believe the message"
		case checkTime:
			return "the time of signing is not to be relied on, so neither is the certificate; ask the provider"
		}
		return "the signature is good, but what it signs cannot be used; ask the provider that signed it"
	}
	return ""
}

// note adds "check: text" to the reason.
func (r *Report) note(check, text string) {
	if r.Reason != "" {
		r.Reason += "; "
	}
	r.Reason += check + ": " + text
}

// clip bounds a value that a stranger chose before it goes into a reason, and
// keeps the reason on one line.
func clip(s string) string {
	const most = 120
	s = hint(s)
	if len(s) > most {
		s = cut(s, most) + "..."
	}
	return strings.TrimSpace(s)
}
