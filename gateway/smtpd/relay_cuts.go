package smtpd

import "strings"

// What a groupware server writes into a header and a counterpart must not read: the
// ordinary address of the sender, names and addresses of the inside, and signatures
// that the edits break. Message-ID, In-Reply-To and References stay: threads need them.

// cutNames are cut whatever they hold, lower case.
var cutNames = names(`
	Received Return-Path Delivered-To X-Original-To X-Return-Path X-Envelope-From X-Envelope-To X-Rcpt-To
	Sender X-Sender X-X-Sender X-Original-From On-Behalf-Of X-On-Behalf-Of X-Authenticated-Sender X-Authenticated-User X-Auth-User
	X-Sender-ID X-Sender-IP X-Originating-IP X-Originating-Email X-Originating-Host X-OriginatorOrg X-ClientProxiedBy X-Source-IP X-Remote-IP X-Client-IP
	X-PHP-Originating-Script X-Source X-Source-Args X-Source-Dir X-Get-Message-Sender-Via X-AntiAbuse X-Mailer-Host X-Real-To
	Reply-To Errors-To Disposition-Notification-To Return-Receipt-To X-Confirm-Reading-To Generate-Delivery-Report Autocrypt
	Authentication-Results Received-SPF DKIM-Signature DomainKey-Signature X-Google-DKIM-Signature
	X-MIMETrack X-KeepSent X-Notes-Item X-TNEFEvaluated X-Disclaimed X-LLNOutbound X-Priority-Domino X-IncomingDate
	X-EXCLAIMER-MD-CONFIG X-CodeTwo-Processed X-CodeTwo-MessageID X-OrganizationHeadersPreserved X-CrossPremisesHeadersPromoted X-CrossPremisesHeadersFiltered
	X-Account-Key X-Identity-Key X-UIDL X-Forwarded-To X-Forwarded-For X-Spam-Checker-Version X-Virus-Scanned X-Lookup-Warning
`)

// cutPrefixes are the beginnings of names that are cut, lower case.
var cutPrefixes = names(`
	Resent- X-MS- X-Microsoft- X-Forefront- X-Exchange- X-EOP ARC- X-MD X-Gm- X-Google- X-Notes- X-Domino- X-Pecgate- X-Zimbra- X-Amavis- X-Barracuda-
`)

// keptNames may hold the sender's ordinary address: those that are written anew, those
// whose addresses are people who get the message, those that a person wrote, and those
// without which nobody can read the body.
var keptNames = names(`
	From To Cc Bcc Subject Thread-Topic Message-ID In-Reply-To References X-Pecgate-PIN
	Date MIME-Version Content-Type Content-Transfer-Encoding Content-Disposition Content-ID Content-Description Content-Language
`)

func names(list string) map[string]bool {
	out := map[string]bool{}
	for _, n := range strings.Fields(list) {
		out[strings.ToLower(n)] = true
	}
	return out
}

// isCut tells whether a field is cut for its name, in lower case.
func isCut(name string) bool {
	if keptNames[name] {
		return false
	}
	if cutNames[name] {
		return true
	}
	for p := range cutPrefixes {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	return false
}
