package main

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"pecgate/policy"
)

// sheetText is the wording of a settings sheet in one language.
type sheetText struct {
	title, incoming, outgoing                  string
	server, port, security, or, authentication string
	plain                                      string
	names, allInOne, same, oneBox, box         string
	password, passwordText, passwordMissing    string
	pin, pinText, pinMissing, pinCodes         string
	boxes, none, noListener                    string
	email, name, may, until, included          string
	pinElse, always, noPIN                     string
	ways                                       [4]string // of giving the PIN, as pinWays has them
	inactive, archive, readOnly, profile       string
	program                                    string
	advice                                     []string // SENT, RECEIPTS and OUTCOMES are folders
	send, receive, anomalies, remove, ownOnly  string
	compose, approve, sendOnly                 string
	day                                        string // layout of a date
}

func sheetWords(language string) sheetText {
	if language == "en" {
		return sheetText{
			title: "PEC account settings of", incoming: "Incoming mail (IMAP)", outgoing: "Outgoing mail (SMTP)",
			server: "server", port: "port", security: "security", or: "or", authentication: "authentication", plain: "normal password",
			names: "User name", allInOne: "all mailboxes in one account", same: "the same", oneBox: "one mailbox only: an account for each", box: "MAILBOX",
			password: "Password", passwordText: "Your own password of pecgate. It is not on this sheet: the administrator gives it to you.",
			passwordMissing: "None is set yet, and without one you cannot log in: ask the administrator.",
			pin:             "PIN",
			pinText: "Where a mailbox asks for the PIN, write [PIN:...] with your PIN anywhere in the subject of each\n" +
				"  message. It is taken out before the message leaves, and out of the copy that is kept.",
			pinCodes:   "The PIN is the code of 6 digits that your app shows at that moment; each is good once.",
			pinMissing: "None is set for you yet, and without one you cannot send from the mailboxes that ask for it:\n  ask the administrator.",
			boxes:      "PEC mailboxes", none: "None: ask the administrator.", noListener: "none: ask the administrator",
			email: "e-mail address", name: "user name", may: "you may", until: "until", included: "included",
			always: "needed for each message", noPIN: "not needed",
			pinElse:  "How each mailbox takes it stands below. It is in no message that leaves and in no copy that is kept.",
			ways:     [4]string{"in the subject, as [PIN:...]", "in a reply to the notice that the message is held, alone in the first line", "in the field X-Pecgate-PIN", "behind the password, after a space"},
			inactive: "not active: nothing is sent or received, what is there can be read",
			archive:  "archive by day", readOnly: "as user name, read-only", profile: "iPhone, iPad, Mac",
			program: "In the mail program",
			advice: []string{
				"The sender (e-mail address) must be that of the PEC mailbox, or the message is refused.",
				"Switch off \"place a copy of sent messages\": the gateway keeps the copy in SENT.",
				"What became of a message is told in OUTCOMES; the signed receipts are in the folders below RECEIPTS.",
			},
			send: "send", receive: "receive", anomalies: "see anomalies", remove: "delete messages for all",
			ownOnly: "see only what you sent and its receipts", day: "2006-01-02",
			compose: "write (another member approves before it leaves)", approve: "approve what others write",
			sendOnly: "only send: no reading by IMAP, the receipts come by mail",
		}
	}
	return sheetText{
		title: "Impostazioni dell'account PEC di", incoming: "Posta in arrivo (IMAP)", outgoing: "Posta in uscita (SMTP)",
		server: "server", port: "porta", security: "sicurezza", or: "oppure", authentication: "autenticazione", plain: "password normale",
		names: "Nome utente", allInOne: "tutte le caselle in un solo account", same: "lo stesso", oneBox: "una sola casella: un account per ciascuna", box: "CASELLA",
		password: "Password", passwordText: "La propria password di pecgate. Non è in questo foglio: la consegna l'amministratore.",
		passwordMissing: "Non è ancora impostata, e senza non si può accedere: rivolgersi all'amministratore.",
		pin:             "PIN",
		pinText: "Dove la casella lo chiede, scrivere [PIN:...] con il proprio PIN in qualunque punto dell'oggetto di\n" +
			"  ogni messaggio. Viene tolto prima dell'invio e dalla copia che si conserva.",
		pinCodes:   "Il PIN è il codice di 6 cifre che l'app mostra in quel momento; ognuno vale una volta sola.",
		pinMissing: "Non è ancora impostato, e senza non si può inviare dalle caselle che lo chiedono:\n  rivolgersi all'amministratore.",
		boxes:      "Caselle PEC", none: "Nessuna: rivolgersi all'amministratore.", noListener: "nessuno: rivolgersi all'amministratore",
		email: "indirizzo e-mail", name: "nome utente", may: "permessi", until: "fino al", included: "compreso",
		always: "richiesto per ogni messaggio", noPIN: "non richiesto",
		pinElse:  "Come darlo è indicato sotto per ogni casella. Non resta nel messaggio che parte né nella copia che si conserva.",
		ways:     [4]string{"nell'oggetto, come [PIN:...]", "in risposta all'avviso che il messaggio è trattenuto, da solo nella prima riga", "nel campo X-Pecgate-PIN", "dopo la password, separato da uno spazio"},
		inactive: "non attiva: non si invia e non arriva nulla, quanto c'è resta leggibile",
		archive:  "archivio per giorno", readOnly: "come nome utente, sola lettura", profile: "iPhone, iPad, Mac",
		program: "Nel programma di posta",
		advice: []string{
			"Il mittente (indirizzo e-mail) deve essere quello della casella PEC, altrimenti il messaggio è rifiutato.",
			"Togliere \"salva una copia dei messaggi inviati\": la copia la tiene il gateway in SENT.",
			"Che cosa è stato di un messaggio si legge in OUTCOMES; le ricevute firmate sono nelle cartelle sotto RECEIPTS.",
		},
		send: "inviare", receive: "ricevere", anomalies: "vedere le anomalie", remove: "eliminare messaggi per tutti",
		ownOnly: "vedere solo ciò che si è inviato e le sue ricevute", day: "02/01/2006",
		compose: "scrivere (un altro membro autorizza prima che parta)", approve: "autorizzare ciò che altri scrivono",
		sendOnly: "solo inviare: niente lettura IMAP, le ricevute arrivano per posta",
	}
}

// rights are what a user may do with a mailbox, in words. Nobody sends from one
// that is not active.
func (w sheetText) rights(r policy.Rights, active bool) string {
	var out []string
	for _, x := range []struct {
		word string
		has  bool
	}{{w.send, r.Send && active && !r.SendOnly}, {w.sendOnly, r.SendOnly}, {w.compose, r.Compose && active}, {w.approve, r.Approve && active}, {w.receive, r.Receive},
		{w.ownOnly, (r.Send || r.Compose) && !r.Receive && !r.SendOnly}, {w.anomalies, r.Anomalies}, {w.remove, r.Delete}} {
		if x.has {
			out = append(out, x.word)
		}
	}
	return strings.Join(out, ", ")
}

// print writes the sheet as plain text.
func (s sheet) print(to io.Writer) error {
	w := sheetWords(s.Language)
	out := new(bytes.Buffer)
	who := s.Name
	if who == "" {
		who = s.User
	}
	fmt.Fprintf(out, "%s %s\n", w.title, who)
	w.servers(out, w.incoming, s.IMAP)
	w.servers(out, w.outgoing, s.SMTP)
	section := func(title, text string) { fmt.Fprintf(out, "\n%s\n  %s\n", title, text) }

	logins := []string{w.allInOne}
	for range s.Logins[1:] {
		logins = append(logins, w.same)
	}
	forms := append(slices.Clone(s.Logins), s.User+"/"+w.box)
	wide := 0
	for _, f := range forms {
		wide = max(wide, len(f))
	}
	fmt.Fprintf(out, "\n%s\n", w.names)
	for i, what := range append(logins, w.oneBox) {
		fmt.Fprintf(out, "  %-*s   %s\n", wide, forms[i], what)
	}
	if s.PasswordSet {
		section(w.password, w.passwordText)
	} else {
		section(w.password, w.passwordMissing)
	}
	if slices.ContainsFunc(s.Mailboxes, func(m sheetMailbox) bool { return m.PINRequired }) {
		bySubject := func(m sheetMailbox) bool { return m.PINRequired && slices.Contains(m.PINMethods, policy.PINBySubject) }
		switch {
		case !s.PINSet:
			section(w.pin, w.pinMissing)
		case slices.ContainsFunc(s.Mailboxes, bySubject):
			section(w.pin, w.pinText)
		default:
			section(w.pin, w.pinElse)
		}
		if s.Codes {
			fmt.Fprintf(out, "  %s\n", w.pinCodes)
		}
	}
	fmt.Fprintf(out, "\n%s\n", w.boxes)
	if len(s.Mailboxes) == 0 {
		fmt.Fprintf(out, "  %s\n", w.none)
	}
	for _, m := range s.Mailboxes {
		w.mailbox(out, m)
	}
	fmt.Fprintf(out, "\n%s\n", w.program)
	for _, a := range w.advice {
		fmt.Fprintf(out, "  - %s\n", strings.NewReplacer("SENT", s.sent, "RECEIPTS", s.receipts, "OUTCOMES", s.outcomes).Replace(a))
	}
	_, err := to.Write(out.Bytes())
	return err
}

// servers prints the server of one direction, with its other ports.
func (w sheetText) servers(out io.Writer, title string, all []sheetServer) {
	fmt.Fprintf(out, "\n%s\n", title)
	if len(all) == 0 {
		w.line(out, w.server, w.noListener)
		return
	}
	w.line(out, w.server, all[0].Host)
	label := w.port
	for _, v := range all {
		security := "SSL/TLS"
		if v.Security == "starttls" {
			security = "STARTTLS"
		}
		w.line(out, label, fmt.Sprintf("%d, %s %s", v.Port, w.security, security))
		label = w.or
	}
	w.line(out, w.authentication, w.plain)
}

func (w sheetText) mailbox(out io.Writer, m sheetMailbox) {
	fmt.Fprintf(out, "  %s", m.Address)
	if m.Name != "" {
		fmt.Fprintf(out, " (%s)", m.Name)
	}
	fmt.Fprintln(out)
	line := func(label, value string) { w.line(out, "  "+label, value) }
	if !m.Active {
		fmt.Fprintf(out, "    %s\n", w.inactive)
	}
	line(w.email, m.Address)
	line(w.name, m.Login)
	line(w.may, m.RightsText)
	switch {
	case !m.Active, !slices.Contains(m.Rights, "send"):
	case !m.PINRequired:
		line(w.pin, w.noPIN)
	case slices.Equal(m.PINMethods, []string{policy.PINBySubject}):
		line(w.pin, w.always) // as the text about the PIN says
	default:
		line(w.pin, w.always+": "+w.waysOf(m.PINMethods))
	}
	if day, err := time.Parse(time.DateOnly, m.Expires); err == nil {
		line(w.until, day.Format(w.day)+" "+w.included)
	}
	if m.ArchiveLogin != "" {
		line(w.archive, m.ArchiveLogin+" ("+w.readOnly+")")
	}
	if m.Profile != "" {
		line(w.profile, m.Profile)
	}
}

func (w sheetText) line(out io.Writer, label, value string) {
	fmt.Fprintf(out, "  %-21s %s\n", label, value)
}

// waysOf names the ways in which a mailbox takes the PIN.
func (w sheetText) waysOf(methods []string) string {
	var ways []string
	for i, way := range []string{policy.PINBySubject, policy.PINByReply, policy.PINByHeader, policy.PINByPassword} {
		if slices.Contains(methods, way) {
			ways = append(ways, w.ways[i])
		}
	}
	return strings.Join(ways, "; ")
}
