package policy

import (
	"fmt"
	"strings"
)

// Reasons of DecideRelay besides those of Decide.
const (
	UnknownRelay      = "unknown-relay"
	NullSender        = "null-sender"
	NotMarked         = "not-marked"
	MixedRecipients   = "mixed-recipients"
	UnknownUser       = "unknown-user"
	SendersDiffer     = "senders-differ"
	NoOrdinarySender  = "no-ordinary-sender"
	IdentityField     = "identity-field"
	MarksDiffer       = "marks-differ"
	NoMailbox         = "no-mailbox"
	MailboxNeeded     = "mailbox-needed"
	MailboxAmbiguous  = "mailbox-ambiguous"
	InternalRecipient = "internal-recipients"
	NoPINWay          = "no-pin-way"
)

// listRoom is how many octets of a sentence a list of addresses may take.
const listRoom = 200

// list writes addresses in a row, as many as have room. An empty one is one that cannot be read, and is only counted.
func list(addresses []string, and string) string {
	var b strings.Builder
	left := 0
	for _, a := range addresses {
		if a == "" || b.Len() > 0 && b.Len()+len(a)+2 > listRoom || len(a) > maxAddress {
			left++
			continue
		}
		if b.Len() > 0 {
			b.WriteString(", ")
		}
		b.WriteString(a)
	}
	if left > 0 {
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, and, left)
	}
	return b.String()
}

func listIt(addresses []string) string { return list(addresses, "(e altri %d)") }
func listEn(addresses []string) string { return list(addresses, "(and %d more)") }

func refuseUnknownRelay() Verdict {
	return refuse(UnknownRelay, 550, "5.7.1", "",
		"Questo server di posta non e' tra quelli abilitati (relays): rivolgersi all'amministratore.",
		"This mail server is not among those that may submit here (relays): ask the administrator.")
}

// refuseNullSender is for callers that show why; such a message is taken and given to the administrator.
func refuseNullSender(line string) Verdict {
	return refuse(NullSender, 550, "5.7.1", line,
		"Un messaggio senza mittente (notifica o risposta automatica) non parte mai come PEC: va all'amministratore.",
		"A message without a sender (a notification or an automatic reply) never leaves as PEC: it goes to the administrator.")
}

func refuseNotMarked(r *Relay, line string) Verdict {
	it, en := "indicare come destinatario o mittente un indirizzo riservato alla PEC o rivolgersi all'amministratore", "use a recipient or sender that is set for PEC or ask the administrator"
	tag := r.Trigger
	switch {
	case len(tag) > 64 || !plainText(tag):
	case r.Counts(MarkSubject):
		it, en = "scrivere "+tag+" nell'oggetto per inviarlo come PEC", "write "+tag+" in the subject to send it as PEC"
	case r.Counts(MarkFrom):
		it, en = "scegliere come mittente la casella PEC", "choose the PEC mailbox as sender"
	}
	return refuse(NotMarked, 550, "5.7.1", line,
		"Il messaggio non e' segnato come PEC e qui passano solo PEC: "+it+".",
		"The message is not marked as PEC and only PEC passes here: "+en+".")
}

func refuseNotMarkedPEC(address, line string) Verdict {
	return refuse(NotMarked, 550, "5.7.1", line,
		"Il mittente "+address+" e' una casella PEC, ma il messaggio non e' segnato come PEC e non puo' partire come posta ordinaria: segnarlo o cambiare mittente.",
		"The sender "+address+" is a PEC mailbox, but the message is not marked as PEC and cannot leave as ordinary mail: mark it or change the sender.")
}

func refuseOrdinaryToPEC(address, line string) Verdict {
	return refuse(NotMarked, 550, "5.7.1", line,
		address+" e' una casella PEC dell'ente e la posta ordinaria non vi passa da qui: segnare il messaggio come PEC o scrivere all'indirizzo ordinario.",
		address+" is a PEC mailbox of ours and ordinary mail does not go there by this way: mark the message as PEC or write to the ordinary address.")
}

func refuseMixed(mark, line string) Verdict {
	if mark == MarkSuffix {
		return refuse(MixedRecipients, 550, "5.7.1", line,
			"Solo alcuni destinatari hanno il suffisso della PEC, e un messaggio parte per tutti o per nessuno: metterlo a tutti o fare due invii.",
			"Only some recipients bear the suffix of PEC, and a message leaves for all or for nobody: write it to all of them or send twice.")
	}
	return refuse(MixedRecipients, 550, "5.7.1", line,
		"Alcuni destinatari vanno raggiunti per PEC e altri per posta ordinaria, e un messaggio non viene mai diviso: fare due invii separati.",
		"Some recipients are to be reached by PEC and others by ordinary mail, and a message is never divided: send it twice, to each of the two groups.")
}

func refuseRelayFrom() Verdict {
	return refuse(BadAddress, 550, "5.7.1", "",
		"Il campo From deve contenere un solo indirizzo semplice come nome@example.it: correggere il mittente e inviare di nuovo.",
		"The From field must hold exactly one plain address like name@example.it: correct the sender and send again.")
}

func refuseIdentity(fields int, line string) Verdict {
	if fields == 0 {
		return refuse(IdentityField, 550, "5.7.1", line,
			"Il server di posta non ha indicato quale utente invia: l'amministratore deve controllare la regola che aggiunge il campo con l'utente.",
			"The mail server did not say which user sends: the administrator must look at the rule that adds the field with the user.")
	}
	return refuse(IdentityField, 550, "5.7.1", line,
		"Il messaggio ha piu' di un campo con l'utente: toglierlo dal proprio messaggio, lo aggiunge solo il server di posta.",
		"The message has more than one field with the user: take it out of your message, only the mail server adds it.")
}

func refuseIdentityUnknown(line string) Verdict {
	return refuse(UnknownUser, 550, "5.7.1", line,
		"L'utente indicato dal server di posta non e' un utente di questo sistema: rivolgersi all'amministratore.",
		"The user that the mail server named is not a user of this system: ask the administrator.")
}

func refuseNoUserOfRelay(line string) Verdict {
	return refuse(UnknownUser, 550, "5.7.1", line,
		"Per questo server di posta non e' stabilito un utente: rivolgersi all'amministratore.",
		"No user is settled for this mail server: ask the administrator.")
}

func refuseUnknownSender(address, line string) Verdict {
	return refuse(UnknownUser, 550, "5.7.1", line,
		"L'indirizzo "+address+" non e' quello di un utente di questo sistema: inviare dal proprio indirizzo o rivolgersi all'amministratore.",
		"The address "+address+" is not that of a user of this system: send from your own address or ask the administrator.")
}

func refuseNoOrdinary(address, line string) Verdict {
	return refuse(NoOrdinarySender, 550, "5.7.1", line,
		"Il server di posta indica come mittente solo "+address+" e non la persona: inviare dal proprio indirizzo ordinario segnando il messaggio come PEC, o rivolgersi all'amministratore.",
		"The mail server names only "+address+" as sender and not the person: send from your ordinary address and mark the message as PEC, or ask the administrator.")
}

func refuseSendersDiffer(from, reversePath, line string) Verdict {
	if len(from)+len(reversePath) > 240 {
		from = "From"
	}
	return refuse(SendersDiffer, 550, "5.7.1", line,
		"Il mittente nel messaggio ("+from+") e quello della trasmissione ("+reversePath+") devono essere la stessa persona: inviare dal proprio indirizzo.",
		"The sender in the message ("+from+") and that of the transmission ("+reversePath+") must be the same person: send from your own address.")
}

func refuseMarksDiffer(boxes []string) Verdict {
	return refuse(MarksDiffer, 550, "5.7.1", "",
		"Mittente e oggetto indicano caselle PEC diverse ("+listIt(boxes)+"): lasciarne una sola.",
		"Sender and subject name different PEC mailboxes ("+listEn(boxes)+"): leave only one.")
}

func refuseNoPINWay(address, line string) Verdict {
	return refuse(NoPINWay, 550, "5.7.1", line,
		"Per inviare da "+address+" serve il PIN, che da questo server di posta non puo' arrivare: usare l'account PEC del programma di posta o rivolgersi all'amministratore.",
		"To send from "+address+" the PIN is needed, which cannot come by this mail server: use the PEC account of the mail program or ask the administrator.")
}

func refuseNoMailbox() Verdict {
	return refuse(NoMailbox, 550, "5.7.1", "",
		"Non siete abilitati a inviare da nessuna casella PEC: rivolgersi all'amministratore.",
		"You may not send from any PEC mailbox: ask the administrator.")
}

func refuseNameOne(r *Relay, boxes []string, line string) Verdict {
	it, en := "sceglierne una come mittente", "choose one as sender"
	if word := strings.TrimSuffix(r.Trigger, "]"); r.Counts(MarkSubject) && len(word) <= 64 && word != r.Trigger && plainText(word) {
		it, en = "scrivere nell'oggetto quale, come "+word+":casella]", "write which in the subject, like "+word+":mailbox]"
	}
	return refuse(MailboxNeeded, 550, "5.7.1", line,
		"Potete inviare da piu' caselle PEC ("+listIt(boxes)+"): "+it+".",
		"You may send from several PEC mailboxes ("+listEn(boxes)+"): "+en+".")
}

func refuseNoSuchWord(boxes []string) Verdict {
	if len(boxes) == 0 {
		return refuseNoMailbox()
	}
	return refuse(UnknownMailbox, 550, "5.7.1", "",
		"La casella indicata nell'oggetto non esiste: indicarne una da cui potete inviare ("+listIt(boxes)+").",
		"There is no mailbox of the name in the subject: name one from which you may send ("+listEn(boxes)+").")
}

func refuseAmbiguousWord(boxes []string) Verdict {
	return refuse(MailboxAmbiguous, 550, "5.7.1", "",
		"Il nome nell'oggetto vale per piu' caselle PEC ("+listIt(boxes)+"): scrivere l'indirizzo intero.",
		"The name in the subject stands for several PEC mailboxes ("+listEn(boxes)+"): write the whole address.")
}

func refuseInternal(addresses []string, line string) Verdict {
	return refuse(InternalRecipient, 550, "5.7.1", line,
		"In A o Cc c'e' chi non riceverebbe la PEC, perche' il server di posta gli consegna il messaggio da se': "+listIt(addresses)+". Togliere questi indirizzi e inviare di nuovo.",
		"To or Cc name who would not get the PEC, because the mail server itself gives them the message: "+listEn(addresses)+". Take these addresses away and send again.")
}

func warnInternal(addresses []string) Warning {
	return Warning{Reason: InternalRecipient,
		Italian: "In A o Cc c'e' chi non riceve la PEC, perche' il server di posta gli ha consegnato il messaggio da se': " + listIt(addresses) + ".",
		English: "To or Cc name who does not get the PEC, because the mail server itself gave them the message: " + listEn(addresses) + ".",
	}
}

// plainText reports whether a text of the configuration may stand in a reply.
func plainText(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) < 0
}
