package pec

import (
	"strings"
	"time"
)

// plausible reports whether a time may stand in a PEC message, which began in
// 2005. The zero time would mean "now" to crypto/x509, and a year above 9999
// cannot be written as JSON.
func plausible(t time.Time) bool { return t.Year() >= 2000 && t.Year() < 9000 }

// kind maps tipo to a Kind.
func (d *daticert) kind() Kind {
	if d.tipo == "posta-certificata" {
		return Transport
	}
	return receiptKind(d.tipo)
}

// contradiction says how the document contradicts itself, or "" if it does
// not: what its tipo needs and does not find, or an errore that cannot be. It
// is lenient where providers differ: any errore but nessuno will do for an
// error, an additional element does no harm, and errore-esteso became
// compulsory only in 2016.
func (d *daticert) contradiction() string {
	fine := d.errore == "nessuno"
	if code := errorCode(d.erroreEsteso); code != "" && code[0] != '2' {
		switch d.kind() {
		case Transport, Acceptance, TakenInCharge, Delivery:
			return "tipo " + d.tipo + " with errore-esteso " + code
		}
	}
	switch k := d.kind(); k {
	case Transport, Acceptance:
		if !fine {
			return "tipo " + d.tipo + " with errore " + clip(d.errore)
		}
	case TakenInCharge:
		if !fine {
			return "tipo " + d.tipo + " with errore " + clip(d.errore)
		}
		if len(d.ricezione) == 0 {
			return "tipo " + d.tipo + " without ricezione"
		}
	case Delivery:
		if !fine {
			return "tipo " + d.tipo + " with errore " + clip(d.errore)
		}
		if !d.hasConsegna {
			return "tipo " + d.tipo + " without consegna"
		}
	case NonAcceptance:
		if fine {
			return "tipo " + d.tipo + " with errore nessuno"
		}
	case DeliveryError:
		if fine {
			return "tipo " + d.tipo + " with errore nessuno"
		}
		if !d.hasConsegna {
			return "tipo " + d.tipo + " without consegna"
		}
	case DeliveryWarning:
		if !d.hasConsegna {
			return "tipo " + d.tipo + " without consegna"
		}
	case VirusDetected:
		// Some engines name the mailbox in ricezione.
		if !d.hasConsegna && len(d.ricezione) == 0 {
			return "tipo " + d.tipo + " without consegna"
		}
	}
	return ""
}

// errorCode takes the RFC 3463 status code from the start of errore-esteso,
// where it is compulsory since 2016, with or without brackets. The errore
// attribute is unreliable: the same provider wrote no-dest in one year and altro
// in another.
func errorCode(s string) string {
	s = strings.TrimLeft(s, "[(#<\"' ")
	end := strings.IndexFunc(s, func(r rune) bool { return r != '.' && (r < '0' || r > '9') })
	if end < 0 {
		end = len(s)
	}
	code := strings.TrimRight(s[:end], ".")
	part := strings.Split(code, ".")
	if len(part) != 3 {
		return ""
	}
	for i, p := range part {
		if p == "" || len(p) > 3 {
			return ""
		}
		if i == 0 && p != "2" && p != "4" && p != "5" {
			return ""
		}
	}
	return code
}

// final tells the 24 h notice from the 12 h one, which has the same subject,
// header and tipo. Only the code at the start of errore-esteso says it; where
// it does not, or the text speaks of 12 hours, the notice counts as the earlier
// one and the gateway's own clock decides.
func (d *daticert) final() bool {
	return d.kind() == DeliveryWarning && errorCode(d.erroreEsteso) == "5.4.1" && !twelveHours(d.erroreEsteso)
}

// twelveHours reports whether a text speaks of 12 hours, in Italian or English.
func twelveHours(s string) bool {
	words := strings.FieldsFunc(strings.ToLower(s), func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9')
	})
	for i, w := range words {
		switch w {
		case "12h", "12ore", "12hours":
			return true
		case "12", "dodici", "twelve":
			if i+1 < len(words) {
				switch words[i+1] {
				case "h", "ore", "hours", "hour":
					return true
				}
			}
		}
	}
	return false
}
