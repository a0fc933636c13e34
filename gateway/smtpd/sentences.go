package smtpd

import "pecgate/policy"

// What the judge of envelope and header says. Each sentence is ASCII, because a reply is
// (RFC 5321 section 4.2), tells what to do, and holds nothing of the message but
// names of fields.

func badRecipient() *refusal {
	return refuse(553, "5.1.3", "Il destinatario non e' un indirizzo semplice come nome@example.it: correggerlo e inviare di nuovo.",
		"The recipient is not a plain address like name@example.it: correct it and send again.", policy.BadAddress)
}

func badReversePath() *refusal {
	return refuse(553, "5.1.7", "L'indirizzo del mittente (MAIL FROM) non e' un indirizzo semplice come nome@example.it: correggerlo nel server di posta.",
		"The sender address (MAIL FROM) is not a plain address like name@example.it: correct it in the mail server.", policy.BadAddress)
}

func nested() *refusal {
	return refuse(503, "5.5.1", "Un invio e' gia' in corso.", "A transaction is already under way.", "nested")
}

func noMechanism() *refusal {
	return refuse(504, "5.5.4", "Metodo di accesso non disponibile: usare PLAIN o LOGIN.", "Mechanism not offered: use PLAIN or LOGIN.", "mechanism")
}

// tooMany has the code of RFC 5321 section 4.5.3.1.10. A client that takes it for
// leave to send in two parts meets spoiled: the provider compares the envelope
// with To and Cc.
func tooMany() *refusal {
	return refuse(452, "4.5.3", "Troppi destinatari per un solo messaggio, non ne parte nessuno: dividere i destinatari in piu' messaggi.",
		"Too many recipients for one message, none is sent: divide the recipients among several messages.", policy.TooManyRecipients)
}

// spoiled is the answer to DATA after a refused recipient: a client that goes
// on would send to half of them.
func spoiled() *refusal {
	return refuse(554, "5.5.1", "Un destinatario e' stato rifiutato e il messaggio non parte per nessuno: correggere i destinatari e inviare di nuovo.",
		"A recipient was refused and the message is sent to none: correct the recipients and send again.", "all-or-nothing")
}

func otherRules() *refusal {
	return refuse(451, "4.3.0", "Le regole della casella sono cambiate durante l'invio: inviare di nuovo.",
		"The rules of the mailbox changed while the message was sent: send it again.", "rules-changed")
}

// anotherPerson ends a session whose login is not what it was.
func anotherPerson() *refusal {
	return refuse(421, "4.7.0", "L'utente o la sua password sono cambiati: accedere di nuovo.",
		"The user or the password has changed: log in again.", "login-changed")
}

func malformed(italian, english string) *refusal {
	return refuse(550, "5.6.0", italian, english, "header")
}

func badLine() *refusal {
	return malformed("Una riga dell'intestazione del messaggio non e' valida: comporre di nuovo il messaggio o usare un altro programma di posta.",
		"A line of the message's header is not valid: write the message anew or use another mail program.")
}

func tooManyFields() *refusal {
	return malformed("L'intestazione del messaggio ha troppi campi: comporre un nuovo messaggio invece di inoltrare o reinviare questo.",
		"The message's header has too many fields: write a new message in place of forwarding or redirecting this one.")
}

func repeated(name string) *refusal {
	return malformed("Il campo "+name+" compare piu' volte: comporre di nuovo il messaggio con un solo campo "+name+".",
		"The field "+name+" occurs more than once: write the message anew with one field "+name+".")
}

func noBlankLine() *refusal {
	return malformed("Manca la riga vuota tra intestazione e testo: correggere il programma che compone il messaggio.",
		"The blank line between header and text is missing: correct the program that composes the message.")
}

func longHeader() *refusal {
	return refuse(552, "5.3.4", "L'intestazione del messaggio supera 256 KiB: ridurre il numero dei destinatari o comporre un nuovo messaggio.",
		"The header of the message exceeds 256 KiB: reduce the number of recipients or write a new message.", policy.TooBig)
}

func badBytes() *refusal {
	return refuse(550, "5.6.0",
		"Il messaggio contiene CR o LF isolati o byte NUL e non puo' essere accettato: inviarlo con righe che terminano in CRLF, gli allegati in base64.",
		"The message holds a bare CR, a bare LF or a NUL and cannot be accepted: send it with lines that end in CRLF, attachments in base64.",
		"line-ends")
}

func badFrom() *refusal {
	return refuse(550, "5.7.1",
		"Il campo From deve contenere un solo indirizzo semplice, quello della casella PEC: correggere il mittente e inviare di nuovo.",
		"The From field must hold exactly one plain address, that of the PEC mailbox: correct the sender and send again.", policy.BadAddress)
}

func anotherSender(field string) *refusal {
	return refuse(550, "5.7.1",
		"Il campo "+field+" indica un mittente diverso dalla casella PEC: inviare direttamente dall'account della casella, non per conto di altri.",
		"The field "+field+" names a sender other than the PEC mailbox: send from the mailbox's own account, not on behalf of others.",
		policy.FromDiffers)
}

func reserved(field string) *refusal {
	return refuse(550, "5.7.1",
		"Il campo "+field+" e' riservato al gestore PEC: comporre un nuovo messaggio invece di reinviare una ricevuta o una busta.",
		"The field "+field+" is reserved to the PEC provider: write a new message in place of redirecting a receipt or an envelope.",
		"control-header")
}

func notPlain(field string) *refusal {
	return malformed("Il campo "+field+" non contiene solo indirizzi semplici come nome@example.it: correggere gli indirizzi e inviare di nuovo.",
		"The field "+field+" holds more than plain addresses like name@example.it: correct the addresses and send again.")
}

func nobodyInTo() *refusal {
	return refuse(550, "5.7.1", "La PEC richiede almeno un destinatario nel campo A (RFC 6109, 3.1.1): spostarvi un destinatario da Cc o Ccn.",
		"PEC requires at least one recipient in the To field (RFC 6109, 3.1.1): move one there from Cc or Bcc.", "no-to")
}

func blind() *refusal {
	return refuse(550, "5.7.1", "La PEC non ammette destinatari in copia nascosta (Ccn): indicarli tutti in A o Cc (RFC 6109, 3.1.1).",
		"PEC allows no blind copies (Bcc): name every recipient in To or Cc (RFC 6109, 3.1.1).", "blind-copy")
}

func badMessageID() *refusal {
	return malformed("Il campo Message-ID non e' valido: toglierlo, pecgate ne aggiunge uno, o correggere il programma che lo scrive.",
		"The field Message-ID is not valid: leave it out, pecgate adds one, or correct the program that writes it.")
}

// winmail names the switches: nobody knows that their program sends this.
func winmail() *refusal {
	return refuse(550, "5.6.1",
		"Il messaggio e' in formato winmail.dat (TNEF), che i destinatari non leggono: in Outlook scegliere File, Opzioni, Posta, Componi messaggi in formato HTML; in Exchange l'amministratore imposti Set-RemoteDomain Default -TNEFEnabled $false.",
		"The message is in the format winmail.dat (TNEF), which recipients cannot read: in Outlook choose File, Options, Mail, Compose messages in HTML; in Exchange the administrator sets Set-RemoteDomain Default -TNEFEnabled $false.",
		"tnef")
}
