package imapd

// both is a sentence of ours in Italian and English, as all answers to people's
// commands are: nobody chose a language before login. What is not in the table is
// given as it is: answers that name something have both already, and those to
// faults of programs (BAD) are for their makers.
func both(english string) string {
	italian := ""
	switch english {
	case "A fault of the server, try again later":
		italian = "Errore del server, riprovare piu' tardi"
	case "A folder cannot be moved there":
		italian = "Una cartella non si puo' spostare li'"
	case "A folder cannot have this name":
		italian = "Una cartella non puo' chiamarsi cosi'"
	case "A message holds NUL bytes, which only BINARY can give":
		italian = "Un messaggio contiene byte NUL, che si leggono solo con BINARY"
	case "A message that waits for approval can be moved to the folder of approved ones, which sends it, or to the trash, which rejects it":
		italian = "Un messaggio da autorizzare si sposta tra gli autorizzati, e parte, o nel cestino, ed e' respinto"
	case "A message that waits for its PIN can be deleted or moved to the trash, which cancels it":
		italian = "Un messaggio che attende il PIN si elimina o si sposta nel cestino, e cosi' e' annullato"
	case "A part is written in an unknown transfer encoding":
		italian = "Una parte ha una codifica sconosciuta"
	case "A string of this search is too long":
		italian = "Una parola della ricerca e' troppo lunga"
	case "A name of this command is written wrong":
		italian = "Un nome di questo comando e' scritto male"
	case "This message is too big":
		italian = "Il messaggio e' troppo grande"
	case "Access to this folder has ended":
		italian = "L'accesso a questa cartella e' terminato"
	case "An empty message cannot be stored":
		italian = "Un messaggio vuoto non si puo' salvare"
	case "Authentication failed":
		italian = "Nome utente o password non accettati"
	case "Connection cut":
		italian = "Connessione interrotta"
	case "It does not wait here any more: it was released, and leaves, or was taken back before":
		italian = "Non attende piu': e' stato confermato, e parte, o era gia' stato annullato"
	case "Logging in is not possible now, try again later":
		italian = "Accesso non possibile ora, riprovare piu' tardi"
	case "Messages can be put into your own folders only":
		italian = "I messaggi si mettono solo nelle proprie cartelle"
	case "No such folder":
		italian = "Cartella inesistente"
	case "No such quota root":
		italian = "Quota inesistente"
	case "Only the administrator of the mailbox may see that":
		italian = "Solo l'amministratore della casella puo' vederlo"
	case "Only what waits for approval in this mailbox can be moved here, which sends it":
		italian = "Qui si sposta solo cio' che attende autorizzazione in questa casella, e cosi' parte"
	case "Quotas cannot be set here: the disk and the provider limit a mailbox":
		italian = "Le quote non si impostano qui: limitano la casella il disco e il gestore"
	case "Some of the messages have been removed meanwhile":
		italian = "Alcuni messaggi sono stati tolti nel frattempo"
	case "The PIN cannot be taken out of this message's header":
		italian = "Non e' possibile togliere il PIN dall'intestazione del messaggio: cancellarlo e salvare di nuovo"
	case "The archive fills itself and can only be read":
		italian = "L'archivio si riempie da solo e si puo' solo leggere"
	case "The archive is never subscribed: show all folders":
		italian = "L'archivio non si sottoscrive: mostrare tutte le cartelle"
	case "The folder is open for reading only":
		italian = "La cartella e' aperta in sola lettura"
	case "The header of this message is too long":
		italian = "L'intestazione del messaggio e' troppo lunga"
	case "The message was cut off":
		italian = "Il messaggio si e' interrotto"
	case "The selected folder is there no more":
		italian = "La cartella aperta non c'e' piu'"
	case "The server is stopping":
		italian = "Il server si sta fermando"
	case "The special folders are there already":
		italian = "Le cartelle speciali ci sono gia'"
	case "The user or the password has changed: log in again":
		italian = "L'utente o la password sono cambiati: accedere di nuovo"
	case "There are folders below this one":
		italian = "La cartella ne contiene altre"
	case "There is a folder of this name":
		italian = "C'e' gia' una cartella con questo nome"
	case "There is no room on the server's disk, try again later":
		italian = "Spazio insufficiente sul server, riprovare piu' tardi"
	case "These are too many messages to sort; narrow the search":
		italian = "Troppi messaggi da ordinare: restringere la ricerca"
	case "There are too many folders below this one to rename it: move some first":
		italian = "La cartella ne contiene troppe per essere rinominata: prima spostarne alcune"
	case "This is not IMAP":
		italian = "Questo non e' IMAP"
	case "This is not allowed here":
		italian = "Qui non e' permesso"
	case "This keyword is too long":
		italian = "L'etichetta e' troppo lunga"
	case "This message would have too many keywords":
		italian = "Il messaggio avrebbe troppe etichette"
	case "This name belongs to the gateway":
		italian = "Questo nome e' riservato al gateway"
	case "This pattern is too long":
		italian = "Il modello di nome e' troppo lungo"
	case "This search is too long":
		italian = "La ricerca e' troppo lunga"
	case "This search would read too much; narrow it by date or flags":
		italian = "La ricerca leggerebbe troppo: restringerla per data o stato"
	case "Too long without a command":
		italian = "Nessun comando da troppo tempo"
	case "Too many connections, try again later":
		italian = "Troppe connessioni, riprovare piu' tardi"
	case "Too many failed logins":
		italian = "Troppi accessi rifiutati"
	case "Too many flags":
		italian = "Troppi contrassegni"
	case "Too many parts at once":
		italian = "Troppe parti insieme"
	case "Too many patterns":
		italian = "Troppi modelli di nome"
	case "You have too many folders":
		italian = "Le cartelle sono troppe"
	case "policy.yaml rules who may do what; ask the administrator of the mailbox":
		italian = "Chi puo' fare che cosa lo dice policy.yaml: rivolgersi all'amministratore della casella"
	default:
		return english
	}
	return italian + " / " + english
}
