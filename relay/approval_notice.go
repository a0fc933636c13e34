package relay

// rejectedNotice tells the author that nobody gets what they wrote; who is the
// login of the approver, "" for an administrator.
func rejectedNotice(sub *Submission, who string, o Options) *notice {
	if sub.mayHaveLeft() {
		return cancelNotice(sub, o) // the store was restored: it may have been approved, and have left
	}
	it, en := "L'amministratore non ha autorizzato", "The administrator has not approved"
	if who != "" {
		it, en = who+" non ha autorizzato", who+" has not approved"
	}
	return makeNotice(sub, o,
		"PEC non autorizzata: non è stata inviata", "PEC not approved: it was not sent",
		it+" questo messaggio: è annullato e nessun destinatario lo riceve. Una copia è nel Cestino della casella PEC; per inviarlo occorre spedirlo di nuovo.",
		en+" this message: it is cancelled and no recipient gets it. A copy is in the trash of the PEC mailbox; to send it, submit it again.",
		"")
}

// unapprovedNotice tells the author that nobody approved in time.
func unapprovedNotice(sub *Submission, o Options) *notice {
	if sub.mayHaveLeft() {
		return doubtfulEndNotice(sub, o, "di un'autorizzazione", "an approval")
	}
	return makeNotice(sub, o,
		"PEC annullata: nessuno l'ha autorizzata in tempo", "PEC cancelled: nobody approved it in time",
		"Questo messaggio attendeva un'autorizzazione. Il termine è passato: è annullato e nessun destinatario lo riceve. Una copia è nel Cestino della casella PEC; per inviarlo occorre spedirlo di nuovo.",
		"This message waited for an approval. The time is over: it is cancelled and no recipient gets it. A copy is in the trash of the PEC mailbox; to send it, submit it again.",
		"")
}

// forApproval are the words for the member who approves, in place of those for
// the sender.
func (w holdWords) forApproval(author string, english bool) holdWords {
	if english {
		w.title = "Confirm the approval with your PIN"
		w.why = map[Lack]string{ForApproval: "You have approved the message below, which " + author + " wrote. The approval needs your PIN."}
		w.notSent = "The message has not left yet."
		w.cancel = "To take the approval back: delete it from the folder %q; it then waits for approval again."
		w.until = "Without a confirmation by %s it is cancelled, and its author told."
		return w
	}
	w.title = "Confermare l'autorizzazione con il PIN"
	w.why = map[Lack]string{ForApproval: "Ha autorizzato il messaggio qui sotto, scritto da " + author + ". L'autorizzazione va confermata con il PIN."}
	w.notSent = "Il messaggio non è ancora partito."
	w.cancel = "Per ritirare l'autorizzazione: eliminarlo dalla cartella %q; torna tra quelli da autorizzare."
	w.until = "Senza conferma entro il %s il messaggio viene annullato e l'autore avvisato."
	return w
}
