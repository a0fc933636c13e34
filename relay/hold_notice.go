package relay

import (
	"fmt"
	"strings"

	"pecgate/policy"
)

// ConfirmPrefix begins the local part of the address to which a reply with a PIN
// goes; the token of the notice follows.
const ConfirmPrefix = "confirm+"

// holdNotice asks the sender of a held submission for the PIN.
func holdNotice(sub *Submission, h hold, d digest, token string, o Options) *notice {
	w := holdWordsItalian()
	if o.Language == "en" {
		w = holdWordsEnglish()
	}
	if sub.approverAsked() {
		w = w.forApproval(sub.User, o.Language == "en")
	}
	who, login := sub.asked()
	var b strings.Builder
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%s: %s\n", name, value)
		}
	}
	fmt.Fprintf(&b, "%s %s\n\n%s\n%s\n", w.why[h.Lack], w.notSent, fmt.Sprintf(w.confirm, w.replyFrom(sub, login, o)), fmt.Sprintf(w.cancel, w.folder(sub.Box)))
	fmt.Fprintf(&b, w.until+"\n\n", h.Until.In(o.Location).Format("02/01/2006 15:04"))
	line(w.from, d.from)
	line(w.to, d.to)
	line(w.cc, d.cc)
	line(w.subject, d.subject)
	if !d.date.IsZero() {
		line(w.date, d.date.In(o.Location).Format("02/01/2006 15:04"))
	}
	line(w.size, fmt.Sprintf(w.octets, d.size))
	line("SHA-256", d.sha256)
	b.WriteString(w.envelope(sub))
	if len(d.files) > 0 {
		fmt.Fprintf(&b, "\n%s:\n", w.files)
		for _, f := range d.files {
			fmt.Fprintf(&b, "- %s, %s\n  SHA-256: %s\n", f.name, fmt.Sprintf(w.octets, f.size), f.sha256)
		}
		if d.more > 0 {
			fmt.Fprintf(&b, w.more+"\n", d.more)
		}
	}
	fmt.Fprintf(&b, "\nid: %s\nMessage-ID: <%s>\n", sub.ID, sub.MsgID)
	return &notice{
		from: o.Address, to: o.Address, replyTo: ConfirmPrefix + token + "@" + domainOf(o.Address),
		subject: strings.TrimSpace(w.title + ": " + d.subject), text: b.String(),
		user: login, person: who, box: sub.Box, about: sub.ID, name: sub.ID, refers: sub.MsgID, at: o.here(),
	}
}

// envelope tells who gets it: what the header says of that is not all, and need
// not be true.
func (w holdWords) envelope(sub *Submission) string {
	if len(sub.Recipients) == 0 {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\n"+w.gets+":\n", len(sub.Recipients))
	for i, r := range sub.Recipients {
		if i == digestRecipients {
			fmt.Fprintf(&b, w.others+"\n", len(sub.Recipients)-i)
			break
		}
		fmt.Fprintf(&b, "- %s\n", shownText(r.Address, digestFrom))
	}
	if sub.Split == SplitBlind {
		fmt.Fprintf(&b, "%s: %d\n", w.hidden, len(sub.Recipients)-sub.Visible)
	}
	if sub.batch() {
		fmt.Fprintf(&b, "%s: %d\n", w.each, sub.Tally.Messages)
	}
	return b.String()
}

// holdWords are the words of the notice of a hold in one language.
type holdWords struct {
	title, notSent, confirm, cancel, until    string
	from, to, cc, subject, date, size, octets string
	files, more                               string
	gets, hidden, each, others                string
	toConfirm                                 string
	accountOnly, alsoOrdinary, sameWay        string // from where the reply may come
	why                                       map[Lack]string
}

// replyFrom says from where the reply may come: a groupware server of the policy takes
// it from the ordinary mailboxes of its users.
func (w holdWords) replyFrom(sub *Submission, login string, o Options) string {
	if o.Policy == nil {
		return w.accountOnly
	}
	p := o.Policy()
	if !p.UsesRelay(login) {
		return w.accountOnly
	}
	if r, ok := p.Relay(sub.Relay); ok && strings.EqualFold(login, sub.User) && (r.Users == policy.ByEmail || r.IdentityField() != "") {
		return w.sameWay
	}
	return w.alsoOrdinary
}

func (w holdWords) folder(box string) string { return "PEC/" + box + "/" + w.toConfirm }

func holdWordsItalian() holdWords {
	return holdWords{
		title:   "Confermare con il PIN",
		notSent: "Il messaggio qui sotto è trattenuto e non è ancora partito.",
		confirm: "Per inviarlo: rispondere a questo avviso scrivendo il PIN, e nient'altro, nella prima riga della risposta. " +
			"%s",
		cancel: "Per annullarlo: eliminarlo dalla cartella %q.",
		until:  "Senza conferma entro il %s viene annullato; un avviso lo dirà.",
		from:   "Da", to: "A", cc: "Cc", subject: "Oggetto", date: "Data", size: "Dimensione", octets: "%d byte",
		files: "Allegati", more: "e altri %d allegati",
		gets: "Destinatari (%d)", hidden: "di cui nascosti (non compaiono in A e Cc)", each: "Messaggi in cui viene diviso", others: "e altri %d destinatari",
		toConfirm:    "Da confermare",
		accountOnly:  "La risposta va inviata con l'account PEC di pecgate: dalla casella di posta ordinaria non ha effetto.",
		alsoOrdinary: "La risposta va inviata con l'account PEC di pecgate, oppure dalla propria casella di posta ordinaria se il server di posta dell'ente è collegato a pecgate (in caso di dubbio chiedere all'amministratore).",
		sameWay:      "La risposta si può inviare nello stesso modo del messaggio, dalla propria casella di posta ordinaria, oppure con l'account PEC di pecgate.",
		why: map[Lack]string{
			PINMissing: "Per inviare da questa casella serve il PIN, che nel messaggio non c'era.",
			PINWrong:   "Per inviare da questa casella serve il PIN; quello dato non era corretto.",
			PINLocked:  "Per inviare da questa casella serve il PIN. Oggi ci sono stati troppi PIN errati: il PIN è bloccato fino a mezzanotte o finché l'amministratore non lo sblocca.",
			PINSpent:   "Per inviare da questa casella serve un codice dell'app; quello dato era già stato usato, e ognuno vale una volta sola.",
		},
	}
}

func holdWordsEnglish() holdWords {
	return holdWords{
		title:   "Confirm with your PIN",
		notSent: "The message below is held and has not left yet.",
		confirm: "To send it: reply to this notice with the PIN, and nothing else, in the first line of the reply. " +
			"%s",
		cancel: "To cancel it: delete it from the folder %q.",
		until:  "Without a confirmation by %s it is cancelled, and a notice will say so.",
		from:   "From", to: "To", cc: "Cc", subject: "Subject", date: "Date", size: "Size", octets: "%d bytes",
		files: "Attachments", more: "and %d more attachments",
		gets: "Recipients (%d)", hidden: "of these hidden (not in To and Cc)", each: "Messages into which it is split", others: "and %d more recipients",
		toConfirm:    "To confirm",
		accountOnly:  "Send the reply by the pecgate account: from the ordinary mailbox it has no effect.",
		alsoOrdinary: "Send the reply by the pecgate account, or from your ordinary mailbox if the organisation's mail server is connected to pecgate (if in doubt ask the administrator).",
		sameWay:      "Send the reply the way the message was sent, from your ordinary mailbox, or by the pecgate account.",
		why: map[Lack]string{
			PINMissing: "Sending from this mailbox needs the PIN, which was not in the message.",
			PINWrong:   "Sending from this mailbox needs the PIN; the one that was given was not right.",
			PINLocked:  "Sending from this mailbox needs the PIN. Too many were wrong today: the PIN is locked until midnight, or until the administrator unlocks it.",
			PINSpent:   "Sending from this mailbox needs a code of the app; the one that was given was used already, and each is good once.",
		},
	}
}

// expiredNotice tells the sender that no PIN came in time.
func expiredNotice(sub *Submission, o Options) *notice {
	if sub.mayHaveLeft() {
		return doubtfulEndNotice(sub, o, "del PIN", "the PIN")
	}
	return makeNotice(sub, o,
		"PEC annullata: il PIN non è arrivato in tempo", "PEC cancelled: the PIN did not come in time",
		"Questo messaggio era trattenuto in attesa del PIN. Il termine è passato: è annullato e nessun destinatario lo riceve. Una copia è nel Cestino della casella PEC; per inviarlo occorre spedirlo di nuovo.",
		"This message was held for the PIN. The time is over: it is cancelled and no recipient gets it. A copy is in the trash of the PEC mailbox; to send it, submit it again.",
		"")
}

// doubtfulEndNotice tells the author that the time of what waited is over, after
// a restore of the store: nobody can say that it had not left before.
func doubtfulEndNotice(sub *Submission, o Options, it, en string) *notice {
	return makeNotice(sub, o,
		"PEC: il termine è passato, il gateway non la invierà più", "PEC: the time is over, the gateway will not send it any more",
		"Questo messaggio era in attesa "+it+" e il termine è passato: il gateway non lo invierà più. L'archivio è stato ripristinato nel frattempo, e il messaggio forse era già partito: "+
			"se arriva una ricevuta, vale quella. Prima di inviarlo di nuovo chiedere all'amministratore di controllare.",
		"This message waited for "+en+" and the time is over: the gateway will not send it any more. The store was restored meanwhile, and the message may have left before: "+
			"if a receipt comes, that one counts. Have the administrator look before you send it again.",
		"")
}
