package providersim

// Judgement is what the provider's access point reads in a submission, and what
// it thinks of it.
type Judgement struct {
	Fault      string   // why an avviso di non accettazione would follow; empty: accepted
	From       []string // every address of every From
	Named      []string // every address of To and Cc
	MessageID  string   // as written; empty if none
	AnswersTo  string   // where an answer to the message would go
	ReceiptFor string   // the form of receipt for the first recipient: completa, breve or sintetica
}

// Judge applies the formal checks of RFC 6109 3.1.1 to a message as it came after
// dot-unstuffing, as a Provider does behind its 250. product is the limit of size
// times recipients in bytes; 0: none. It is for tests that want to know whether a
// message would get through without sending it.
func Judge(raw []byte, from string, recipients []string, product int64) Judgement {
	fields, _, _ := split(raw)
	f := readFacts(raw, from)
	j := Judgement{
		Fault: formalFault(raw, from, recipients, product), From: fieldAddresses(fields, "From"),
		Named:     append(fieldAddresses(fields, "To"), fieldAddresses(fields, "Cc")...),
		MessageID: f.msgID, AnswersTo: f.replyTo,
	}
	if len(recipients) > 0 {
		j.ReceiptFor = f.receiptFor(recipients[0])
	}
	return j
}
