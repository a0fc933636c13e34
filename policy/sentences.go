package policy

import (
	"fmt"
	"strconv"
)

// The sentences are ASCII, because an SMTP reply is (RFC 5321 section 4.2); Italian accents are written with an
// apostrophe. Each says what to do. They hold only addresses that ParseAddress accepted, so nothing a client wrote can
// break a reply line.

func refuse(reason string, code int, enhanced, line, italian, english string) Verdict {
	return Verdict{Code: code, Enhanced: enhanced, Italian: italian, English: english, Line: line, Reason: reason}
}

func refuseReversePath() Verdict {
	return refuse(BadAddress, 553, "5.1.7", "",
		"L'indirizzo del mittente (MAIL FROM) non e' un indirizzo semplice come casella@pec.example.it: correggerlo nell'account del programma di posta.",
		"The sender address (MAIL FROM) is not a plain address like mailbox@pec.example.it: correct it in the account of the mail program.")
}

func refuseFrom() Verdict {
	return refuse(BadAddress, 550, "5.7.1", "",
		"Il campo From deve contenere un solo indirizzo semplice, quello della casella PEC: correggere il mittente e inviare di nuovo.",
		"The From field must hold exactly one plain address, that of the PEC mailbox: correct the sender and send again.")
}

func refuseRecipient() Verdict {
	return refuse(BadAddress, 553, "5.1.3", "",
		"Un destinatario non e' un indirizzo semplice come nome@example.it: correggerlo e inviare di nuovo.",
		"A recipient is not a plain address like name@example.it: correct it and send again.")
}

func refuseNotMember(address string) Verdict {
	return refuse(NotMember, 550, "5.7.1", "",
		"Non siete abilitati alla casella "+address+": scegliere un altro mittente o rivolgersi all'amministratore.",
		"You have no access to the mailbox "+address+": choose another sender or ask the administrator.")
}

func refuseBoxMismatch(box string) Verdict {
	return refuse(BoxMismatch, 550, "5.7.1", "",
		"Con questo accesso si puo' inviare solo da "+box+": scegliere quel mittente o l'account dell'altra casella.",
		"This login may send only from "+box+": choose that sender or the account of the other mailbox.")
}

func refuseArchive() Verdict {
	return refuse(BoxMismatch, 550, "5.7.1", "",
		"Questo accesso legge solo l'archivio: per inviare togliere "+archiveSuffix+" dal nome utente.",
		"This login only reads the archive: to send, take "+archiveSuffix+" away from the user name.")
}

func refuseUnknownMailbox(address string) Verdict {
	return refuse(UnknownMailbox, 550, "5.7.1", "",
		address+" non e' una casella PEC di questo sistema: scegliere come mittente una delle proprie caselle PEC.",
		address+" is not a PEC mailbox of this system: choose one of your PEC mailboxes as sender.")
}

func refuseExpired(address, line string) Verdict {
	return refuse(Expired, 550, "5.7.1", line,
		"L'abilitazione alla casella "+address+" e' scaduta: rivolgersi all'amministratore.",
		"The access to the mailbox "+address+" has expired: ask the administrator.")
}

func refuseNotYet(address, line string) Verdict {
	return refuse(NotYet, 550, "5.7.1", line,
		"L'abilitazione alla casella "+address+" non e' ancora iniziata: attendere o rivolgersi all'amministratore.",
		"The access to the mailbox "+address+" has not begun yet: wait or ask the administrator.")
}

func refuseNoApproval(address, line string) Verdict {
	return refuse(NoApproval, 550, "5.7.1", line,
		"Da "+address+" potete scrivere solo messaggi che altri autorizzano, e qui nessuno li raccoglie ancora: rivolgersi all'amministratore.",
		"From "+address+" you may only write what others approve, and nothing collects that here yet: ask the administrator.")
}

func refuseNotOfList(list, line string) Verdict {
	return refuse(NotOfList, 550, "5.7.1", line,
		"Non siete abilitati alla lista "+list+": indicare i destinatari uno per uno o rivolgersi all'amministratore.",
		"You may not use the list "+list+": name the recipients one by one or ask the administrator.")
}

// refuseListWhole is for a list that would have to stand in To for its members: the provider answers with a
// non-acceptance where a recipient of the envelope stands in neither To nor Cc (RFC 6109 section 3.1.1).
func refuseListWhole(list, line string) Verdict {
	return refuse(ListWhole, 550, "5.7.1", line,
		"La lista "+list+" si usa solo da una casella che invia un messaggio a ciascun destinatario (split: blind o always): indicare i destinatari uno per uno o rivolgersi all'amministratore.",
		"The list "+list+" works only from a mailbox that sends each recipient a message of their own (split: blind or always): name the recipients one by one or ask the administrator.")
}

func refuseTooManyOfList(n, limit int, line string) Verdict {
	return refuse(TooManyRecipients, 550, "5.5.3", line,
		fmt.Sprintf("Il messaggio ha %d destinatari con quelli delle liste e se ne possono raggiungere %d in un invio: dividere l'invio.", n, limit),
		fmt.Sprintf("The message has %d recipients with those of the lists and one sending reaches %d: divide the sending.", n, limit))
}

func refuseNoSend(address, line string) Verdict {
	return refuse(NoSend, 550, "5.7.1", line,
		"Non siete abilitati a inviare dalla casella "+address+": rivolgersi all'amministratore.",
		"You may not send from the mailbox "+address+": ask the administrator.")
}

func refuseInactive(address, line string) Verdict {
	return refuse(Inactive, 550, "5.7.1", line,
		"La casella "+address+" non e' attiva e non puo' inviare: rivolgersi all'amministratore.",
		"The mailbox "+address+" is not active and cannot send: ask the administrator.")
}

func refuseFromDiffers(from, reversePath string) Verdict {
	// Two longest addresses would not fit into one reply line.
	if len(from)+len(reversePath) > 256 {
		from = "From"
	}
	return refuse(FromDiffers, 550, "5.7.1", "",
		"Il mittente nel messaggio ("+from+") e quello della trasmissione ("+reversePath+") devono essere la stessa casella PEC.",
		"The sender in the message ("+from+") and that of the transmission ("+reversePath+") must be the same PEC mailbox.")
}

func refuseNoRecipient() Verdict {
	return refuse(NoRecipient, 554, "5.5.1", "",
		"Il messaggio non ha destinatari: indicarne almeno uno.",
		"The message has no recipients: name at least one.")
}

func refuseTooMany(n, limit int, line string) Verdict {
	return refuse(TooManyRecipients, 550, "5.5.3", line,
		fmt.Sprintf("Il messaggio ha %d destinatari e la casella ne consente %d: dividere l'invio.", n, limit),
		fmt.Sprintf("The message has %d recipients and the mailbox allows %d: divide the sending.", n, limit))
}

func refuseTooBig(size int64, n int, product int64, line string) Verdict {
	return refuse(TooBig, 552, "5.3.4", line,
		fmt.Sprintf("Il messaggio (%s MB per %d destinatari) supera il limite della casella di %s MB in tutto: ridurre gli allegati o i destinatari.", megabytes(size), n, megabytes(product)),
		fmt.Sprintf("The message (%s MB times %d recipients) exceeds the limit of the mailbox of %s MB in all: reduce attachments or recipients.", megabytes(size), n, megabytes(product)))
}

// megabytes writes octets in 10^6 with one decimal, rounded up so that the figure never looks smaller than the limit.
func megabytes(n int64) string {
	tenths := n / 100_000
	if n%100_000 != 0 {
		tenths++
	}
	if tenths%10 == 0 {
		return strconv.FormatInt(tenths/10, 10)
	}
	return fmt.Sprintf("%d.%d", tenths/10, tenths%10)
}
