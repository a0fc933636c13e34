package dsn

import (
	"fmt"
	"strings"
)

// sentence is what is said of an action, in both languages.
type sentence struct{ subject, head, it string }

func (r *Report) sentences(a Action, english bool) sentence {
	if r.Ordinary {
		return ordinary(a, english)
	}
	it := map[Action]sentence{
		Failed:    {"PEC non consegnata", "La PEC non è stata consegnata a:", "non consegnata"},
		Delayed:   {"PEC in ritardo", "La PEC non risulta ancora consegnata a:", "in ritardo"},
		Delivered: {"PEC consegnata", "La PEC è stata consegnata (ricevuta di avvenuta consegna) a:", "consegnata"},
		Relayed:   {"PEC inoltrata", "La PEC è stata inoltrata a un indirizzo non PEC, da cui non arrivano ricevute di consegna:", "inoltrata"},
		Expanded:  {"PEC inoltrata", "La PEC è stata inoltrata a una lista:", "inoltrata"},
	}
	en := map[Action]sentence{
		Failed:    {"PEC not delivered", "The PEC was not delivered to:", "not delivered"},
		Delayed:   {"PEC delayed", "The PEC is not known to be delivered yet to:", "delayed"},
		Delivered: {"PEC delivered", "The PEC was delivered (delivery receipt) to:", "delivered"},
		Relayed:   {"PEC relayed", "The PEC was passed on to an address outside PEC, which sends no delivery receipts:", "relayed"},
		Expanded:  {"PEC relayed", "The PEC was passed on to a list:", "relayed"},
	}
	if english {
		return en[a]
	}
	return it[a]
}

// ordinary is sentences for a message that is no PEC.
func ordinary(a Action, english bool) sentence {
	it := map[Action]sentence{
		Failed:    {"Messaggio non consegnato", "Il messaggio (posta ordinaria) non è stato consegnato a:", "non consegnato"},
		Delayed:   {"Messaggio in ritardo", "Il messaggio (posta ordinaria) non risulta ancora consegnato a:", "in ritardo"},
		Delivered: {"Messaggio consegnato", "Il messaggio (posta ordinaria) è stato consegnato a:", "consegnato"},
		Relayed:   {"Messaggio inoltrato", "Il messaggio (posta ordinaria) è stato inoltrato a un server che non manda conferme di consegna:", "inoltrato"},
		Expanded:  {"Messaggio inoltrato", "Il messaggio (posta ordinaria) è stato inoltrato a una lista:", "inoltrato"},
	}
	en := map[Action]sentence{
		Failed:    {"Message not delivered", "The message (ordinary mail) was not delivered to:", "not delivered"},
		Delayed:   {"Message delayed", "The message (ordinary mail) is not known to be delivered yet to:", "delayed"},
		Delivered: {"Message delivered", "The message (ordinary mail) was delivered to:", "delivered"},
		Relayed:   {"Message relayed", "The message (ordinary mail) was passed on to a server that sends no delivery reports:", "relayed"},
		Expanded:  {"Message relayed", "The message (ordinary mail) was passed on to a list:", "relayed"},
	}
	if english {
		return en[a]
	}
	return it[a]
}

// title is the subject of the report.
func (r *Report) title() string {
	t := r.sentences(r.Worst(), r.English).subject
	if r.Title != "" {
		t += ": " + oneLine(cut(r.Title, 300))
	}
	return t
}

// text is the part for people.
func (r *Report) text() string {
	first, second := r.language(r.English), r.language(!r.English)
	return first + "\n----------\n\n" + second
}

func (r *Report) language(english bool) string {
	var b strings.Builder
	said := r.Said
	if english {
		said = r.SaidEN
	}
	for _, a := range []Action{Failed, Delayed, Relayed, Expanded, Delivered} {
		head := false
		for i := range r.Recipients {
			to := &r.Recipients[i]
			if to.Action != a {
				continue
			}
			if !head {
				b.WriteString(r.sentences(a, english).head + "\n")
				head = true
			}
			fmt.Fprintf(&b, "  %s", oneLine(to.Final.Addr))
			if !to.At.IsZero() {
				b.WriteString(", " + to.At.Format("02/01/2006 15:04:05 (-0700)"))
			}
			if to.Said != "" {
				b.WriteString("\n    " + oneLine(cut(to.Said, maxValue)))
			}
			b.WriteString("\n")
		}
		if head {
			b.WriteString("\n")
		}
	}
	for _, s := range said {
		b.WriteString(oneLine(s) + "\n")
	}
	if len(said) > 0 {
		b.WriteString("\n")
	}
	if r.Title != "" {
		name := "Oggetto"
		if english {
			name = "Subject"
		}
		fmt.Fprintf(&b, "%s: %s\n", name, oneLine(cut(r.Title, 300)))
	}
	if len(r.Refers) > 0 {
		fmt.Fprintf(&b, "Message-ID: <%s>\n", oneLine(r.Refers[0]))
	}
	return b.String()
}

// oneLine is text that makes no line of its own.
func oneLine(s string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if control(r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, s))
}
