package providersim

import (
	"bytes"
	"fmt"
	"mime/quotedprintable"
	"strings"
)

// text is the cover sheet; machines read the XML only. New engines add an
// English copy to the Italian.
func (n *Notice) text(row kindRow, style Style) string {
	text := n.italian(row)
	if style == StyleNew {
		text += "\n------------------------------------------------------------\n\n" + n.english(row)
	}
	return text
}

func (n *Notice) italian(row kindRow) string {
	var b strings.Builder
	about := fmt.Sprintf("Il giorno %s alle ore %s il messaggio\n\"%s\" proveniente da \"%s\"\n", n.At.Format("02/01/2006"), n.At.Format("15:04:05 (-0700)"), n.Subject, n.Sender)
	to := fmt.Sprintf("ed indirizzato a \"%s\"\n", n.Recipient)
	switch row.number {
	case 1:
		b.WriteString("Messaggio di posta certificata\n\n" + about)
		n.listRecipients(&b, "è stato inviato a:", "posta certificata", "posta ordinaria")
		b.WriteString("\nIl messaggio originale è incluso in allegato.\n")
	case 2:
		b.WriteString("Ricevuta di accettazione\n\n" + about)
		n.listRecipients(&b, "ed indirizzato a:", "posta certificata", "posta ordinaria")
		b.WriteString("\nIl messaggio è stato accettato ed inoltrato.\n")
	case 3, 4:
		title := "Avviso di non accettazione"
		if n.Virus {
			title += " per virus"
		}
		b.WriteString(title + "\n\n" + about)
		n.listRecipients(&b, "ed indirizzato a:", "posta certificata", "posta ordinaria")
		b.WriteString("\nnon è stato accettato per il seguente motivo:\n" + n.ErroreEsteso + "\n")
		if n.Virus {
			b.WriteString("Il messaggio è stato trattenuto dal sistema.\n")
		}
	case 5:
		b.WriteString("Ricevuta di presa in carico\n\n" + about + "è stato accettato dal sistema per i destinatari:\n" + strings.Join(n.TakenInCharge, "\n") + "\n")
	case 6:
		fmt.Fprintf(&b, "Anomalia nel messaggio\n\nIl giorno %s alle ore %s è stato ricevuto il messaggio\n\"%s\" proveniente da \"%s\"\n",
			n.At.Format("02/01/2006"), n.At.Format("15:04:05 (-0700)"), n.Subject, n.Sender)
		b.WriteString("che presenta la seguente anomalia: " + orElse(n.Why, "non è un messaggio di posta certificata") + ".\nIl messaggio ricevuto è incluso in allegato.\n")
	case 7:
		b.WriteString("Avviso di rilevazione virus\n\n" + about + to + "è stato rilevato contenere un virus:\n" + n.ErroreEsteso + "\n")
	case 8:
		b.WriteString("Avviso di mancata consegna per virus\n\n" + about + to + "non è stato consegnato: nel messaggio è stato rilevato un virus.\n" + n.ErroreEsteso + "\n")
	case 9:
		b.WriteString("Ricevuta di avvenuta consegna\n\n" + about + to + "è stato consegnato nella casella di destinazione.\n")
		switch n.Receipt {
		case "breve":
			b.WriteString("\nIn allegato il messaggio con gli allegati sostituiti dalle loro impronte.\n")
		case "completa":
			b.WriteString("\nIl messaggio originale è incluso in allegato.\n")
		}
	case 10:
		b.WriteString("Avviso di mancata consegna\n\n" + about + to + "non è stato consegnato per il seguente motivo:\n" + n.ErroreEsteso + "\n")
	case 11:
		b.WriteString("Avviso di mancata consegna per superamento del tempo massimo\n\n" + about + to +
			"non è stato consegnato nelle prime dodici ore dal suo invio.\nNon è escluso che la consegna avvenga entro le prossime dodici ore.\n")
	case 12:
		b.WriteString("Avviso di mancata consegna per superamento del tempo massimo\n\n" + about + to + "non è stato consegnato entro ventiquattro ore dal suo invio.\n")
	}
	fmt.Fprintf(&b, "\nIdentificativo messaggio: %s\n", n.Identifier)
	return b.String()
}

func (n *Notice) english(row kindRow) string {
	var b strings.Builder
	about := fmt.Sprintf("On %s at %s the message\n\"%s\" sent by \"%s\"\n", n.At.Format("02/01/2006"), n.At.Format("15:04:05 (-0700)"), n.Subject, n.Sender)
	to := fmt.Sprintf("and addressed to \"%s\"\n", n.Recipient)
	switch row.number {
	case 1:
		b.WriteString("Certified e-mail message\n\n" + about)
		n.listRecipients(&b, "was sent to:", "certified mail", "ordinary mail")
		b.WriteString("\nThe original message is attached.\n")
	case 2:
		b.WriteString("Acceptance receipt\n\n" + about)
		n.listRecipients(&b, "and addressed to:", "certified mail", "ordinary mail")
		b.WriteString("\nThe message was accepted and forwarded.\n")
	case 3, 4:
		b.WriteString("Notice of non-acceptance\n\n" + about + "was not accepted:\n" + n.ErroreEsteso + "\n")
	case 5:
		b.WriteString("Receipt of taking in charge\n\n" + about + "was accepted for the recipients:\n" + strings.Join(n.TakenInCharge, "\n") + "\n")
	case 6:
		b.WriteString("Anomaly in the message\n\n" + about + "is not a valid certified e-mail message. It is attached as received.\n")
	case 7:
		b.WriteString("Notice of virus detection\n\n" + about + to + "contains a virus:\n" + n.ErroreEsteso + "\n")
	case 8:
		b.WriteString("Notice of non-delivery due to a virus\n\n" + about + to + "was not delivered:\n" + n.ErroreEsteso + "\n")
	case 9:
		b.WriteString("Delivery receipt\n\n" + about + to + "was delivered to the recipient's mailbox.\n")
	case 10:
		b.WriteString("Notice of non-delivery\n\n" + about + to + "was not delivered:\n" + n.ErroreEsteso + "\n")
	case 11:
		b.WriteString("Notice of non-delivery due to time limit\n\n" + about + to + "was not delivered within the first twelve hours.\n")
	case 12:
		b.WriteString("Notice of non-delivery due to time limit\n\n" + about + to + "was not delivered within twenty-four hours.\n")
	}
	fmt.Fprintf(&b, "\nMessage identifier: %s\n", n.Identifier)
	return b.String()
}

func (n *Notice) listRecipients(b *strings.Builder, head, certified, external string) {
	b.WriteString(head + "\n")
	for _, r := range n.Recipients {
		kind := certified
		if r.External {
			kind = external
		}
		fmt.Fprintf(b, "%s (\"%s\")\n", r.Address, kind)
	}
}

// quotedPrintable writes text as ISO-8859-1; what that cannot hold becomes '?'.
// Its result ends with CRLF.
func quotedPrintable(b *bytes.Buffer, text string) {
	latin := make([]byte, 0, len(text))
	for _, r := range text {
		if r > 0xff {
			r = '?'
		}
		latin = append(latin, byte(r))
	}
	w := quotedprintable.NewWriter(b)
	// A bytes.Buffer takes every write.
	_, _ = w.Write(latin)
	_ = w.Close()
}
