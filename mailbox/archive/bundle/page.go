package bundle

import (
	"bytes"
	"html/template"
	"slices"
	"strings"
	"time"

	"pecgate/mailbox/pec"
)

// timeline makes timeline.json: what the appliance noted, what arrived, and what the
// provider says of when it happened, by time.
func timeline(r *Report) []Moment {
	list := []Moment{}
	for _, c := range r.Cases {
		for _, e := range c.Events {
			list = append(list, Moment{At: e.At, Case: c.ID, By: "appliance", What: e.What, Text: e.Text})
		}
		for _, m := range c.Messages {
			if !m.Arrived.IsZero() && m.Role != RoleSubmission {
				list = append(list, Moment{At: m.Arrived, Case: c.ID, By: "appliance", What: "arrival", Text: m.Role, File: m.File})
			}
			// What proves nothing does not say when anything happened.
			if m.Pec != nil && m.Pec.Believed() && !m.Pec.At.IsZero() {
				list = append(list, Moment{At: m.Pec.At, Case: c.ID, By: "provider", What: string(m.Pec.Kind), Text: m.About, File: m.File})
			}
		}
	}
	// A provider tells whole seconds. What it says of the second in which something was
	// noted here stands behind that, but before the arrival of what says it.
	arrived := map[string]time.Time{}
	for _, m := range list {
		if m.What == "arrival" && m.File != "" {
			arrived[m.File] = m.At
		}
	}
	place := func(m Moment) time.Time {
		if m.By != "provider" {
			return m.At
		}
		end := m.At.Add(time.Second - 1)
		if at, ok := arrived[m.File]; ok && at.After(m.At) && at.Before(end) {
			return at.Add(-1)
		}
		return end
	}
	// Who wrote a Date header of the year 9999 is not asked: all these times are
	// those of the appliance or signed by a provider.
	slices.SortStableFunc(list, func(a, b Moment) int { return place(a).Compare(place(b)) })
	return list
}

// page writes report.html.
func page(r *Report, fingerprint string) ([]byte, error) {
	t, err := template.New("report").Funcs(template.FuncMap{
		"when": func(t time.Time) string {
			if t.IsZero() {
				return "-"
			}
			return t.UTC().Format("2006-01-02 15:04:05") + " UTC"
		},
		"kind": kindText, "verdict": verdictText, "state": stateText, "likeness": likenessText, "clock": clockText, "role": roleText,
		"count": countText,
	}).Parse(pageText)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = t.Execute(&b, struct {
		*Report
		Fingerprint string
		Timeline    []Moment
	}{r, fingerprint, timeline(r)})
	return b.Bytes(), err
}

func countText(c *Case) map[string]int {
	n := map[string]int{}
	for _, r := range c.Recipients {
		n[r.State]++
	}
	return n
}

func roleText(role string) string {
	switch role {
	case RoleSubmission:
		return "Messaggio consegnato al gestore / message handed to the provider"
	case RoleEnvelope:
		return "Messaggio ricevuto / message received"
	}
	return "Ricevuta / receipt"
}

func kindText(k pec.Kind) string {
	switch k {
	case pec.Transport:
		return "Busta di trasporto / transport envelope"
	case pec.Acceptance:
		return "Ricevuta di accettazione / acceptance"
	case pec.NonAcceptance:
		return "Avviso di non accettazione / non-acceptance"
	case pec.TakenInCharge:
		return "Presa in carico / taken in charge"
	case pec.Anomaly:
		return "Busta di anomalia / anomaly envelope"
	case pec.VirusDetected:
		return "Rilevazione virus / virus detected"
	case pec.Delivery:
		return "Ricevuta di avvenuta consegna / delivery"
	case pec.DeliveryError:
		return "Avviso di mancata consegna / failed delivery"
	case pec.DeliveryWarning:
		return "Superamento dei tempi / late delivery"
	case pec.Ordinary:
		return "Posta ordinaria / ordinary mail"
	}
	return "Non riconosciuto / " + string(k)
}

func verdictText(v string) string {
	switch v {
	case pec.Valid:
		return "FIRMA VALIDA / valid signature"
	case pec.ValidHistoric:
		return "FIRMA VALIDA alla data / valid as of its time (valid-historic)"
	case pec.Invalid:
		return "FIRMA NON VALIDA: non prova nulla / INVALID: proves nothing"
	case pec.Unverifiable:
		return "NON VERIFICABILE: non prova nulla / UNVERIFIABLE: proves nothing"
	}
	return "SENZA FIRMA: non prova nulla / not signed: proves nothing"
}

func stateText(s string) string {
	it := map[string]string{
		"delivered": "consegnato", "failed": "non consegnato", "late": "in ritardo", "waiting": "in attesa", "uncertified": "fuori PEC, senza ricevuta",
		"accepted": "accettato dal gestore", "not-accepted": "non accettato", "handed-over": "consegnato al gestore, accettazione attesa",
		"cancelled": "annullato", "held": "trattenuto", "queued": "in coda", "uncertain": "esito incerto", "attempting": "in invio", "to-approve": "da approvare",
	}[s]
	if it == "" {
		return s
	}
	return it + " / " + s
}

func likenessText(l pec.Likeness) string {
	switch l {
	case pec.LikeSame:
		return "uguale al messaggio inviato / same as what was sent"
	case pec.LikeHeader:
		return "contenuto uguale, intestazioni diverse / same content, other header fields"
	case pec.LikeBody:
		return "CONTENUTO DIVERSO da quello inviato / ANOTHER CONTENT than was sent"
	}
	return "non confrontabile / cannot be compared"
}

func clockText(s string) string {
	switch s {
	case "synchronised":
		return "orologio sincronizzato / clock synchronised"
	case "not synchronised":
		return "OROLOGIO NON SINCRONIZZATO / clock NOT synchronised"
	}
	return "sincronizzazione dell'orologio non nota / not known whether the clock was synchronised"
}

// pageText has no script, loads nothing, and prints.
var pageText = strings.TrimPrefix(`
<!DOCTYPE html>
<html lang="it"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Prova di un messaggio PEC / PEC evidence</title>
<style>
body{font:15px/1.45 sans-serif;max-width:62em;margin:2em auto;padding:0 1em;color:#111}
h1{font-size:1.5em}h2{font-size:1.25em;border-top:2px solid #444;padding-top:.8em;margin-top:2em}h3{font-size:1.05em;margin-bottom:.3em}
table{border-collapse:collapse;width:100%;margin:.5em 0 1.2em}td,th{border:1px solid #bbb;padding:.3em .5em;text-align:left;vertical-align:top;overflow-wrap:anywhere}
th{background:#f0f0f0;font-weight:600}code{font-size:.88em;overflow-wrap:anywhere}.bad{background:#fbe3e3}.good{background:#e7f5e7}.note{background:#fff6d6;padding:.4em .7em}
tr{break-inside:avoid}
</style></head><body>
<h1>Prova di un messaggio PEC <small>/ evidence of a certified message</small></h1>
<table>
<tr><th>Fatto da / made by</th><td>{{.Appliance}}</td></tr>
<tr><th>Il / on</th><td>{{when .MadeAt}} ({{clock .Clock}})</td></tr>
<tr><th>Chiave / key (SHA-256)</th><td><code>{{.Fingerprint}}</code></td></tr>
</table>
<p>Come verificare tutto senza questo programma: README.txt. Le ore sono UTC. Una ricevuta conta solo se la firma del gestore è valida.<br>
How to check it all without this program: README.txt. Times are UTC. A receipt counts only where the provider's signature is valid.</p>
{{range .Cases}}{{$case := .}}
<h2>{{if eq .Direction "incoming"}}Messaggio ricevuto / received{{else}}Messaggio inviato / sent{{end}}: {{.Subject}}</h2>
<table>
<tr><th>Casella PEC / mailbox</th><td>{{.Mailbox}}</td></tr>
<tr><th>Mittente / sender</th><td>{{.Sender}}</td></tr>
<tr><th>Message-ID</th><td><code>{{.MsgID}}</code></td></tr>
{{with .ClientMsgID}}<tr><th>Message-ID del client / of the client</th><td><code>{{.}}</code></td></tr>{{end}}
<tr><th>Identificativo PEC / identifier</th><td><code>{{.Identifier}}</code></td></tr>
{{with .Register}}<tr><th>Protocollo / register</th><td>{{.}}</td></tr>{{end}}
{{if ne .State ""}}<tr><th>Esito / state</th><td><b>{{state .State}}</b>{{with .StateReason}} ({{.}}){{end}}</td></tr>{{end}}
{{if not .SubmittedAt.IsZero}}<tr><th>Affidato al gateway / submitted</th><td>{{when .SubmittedAt}}</td></tr>
<tr><th>Consegnato al gestore / handed over</th><td>{{when .HandedOver}}</td></tr>{{end}}
{{with .Part}}<tr><th>Parte di / part of</th><td>{{.}}</td></tr>{{end}}
{{if .Parts}}<tr><th>Inviato in / sent in</th><td>{{.Parts}} messaggi distinti, ognuno qui sotto / separate messages, each below</td></tr>{{end}}
</table>
{{range .Notes}}<p class="note">{{.}}</p>{{end}}
{{if .Recipients}}<h3>Destinatari / recipients ({{len .Recipients}}{{range $s, $n := count .}}; {{$n}} {{$s}}{{end}})</h3>
<table><tr><th>Indirizzo / address</th><th>Stato / state</th><th>Ricevute / receipts</th></tr>
{{range .Recipients}}<tr{{if eq .State "delivered"}} class="good"{{else if eq .State "failed"}} class="bad"{{end}}><td>{{.Address}}</td><td>{{state .State}}</td><td>{{range .Receipts}}<code>{{.}}</code><br>{{else}}-{{end}}</td></tr>
{{end}}</table>{{end}}
<h3>Messaggi e ricevute / messages and receipts</h3>
{{range .Messages}}<table>
<tr><th colspan="2">{{.File}}</th></tr>
<tr><td>Che cosa / what</td><td>{{if .Pec}}{{kind .Pec.Kind}}{{with .Pec.Receipt}} ({{.}}){{end}}{{else}}{{role .Role}}{{end}}</td></tr>
<tr><td>SHA-256</td><td><code>{{.SHA256}}</code> ({{.Size}} byte)</td></tr>
{{if not .Arrived.IsZero}}<tr><td>Qui dal / here since</td><td>{{when .Arrived}} ({{clock .Clock}})</td></tr>{{end}}
{{with .About}}<tr><td>Destinatario / recipient</td><td>{{.}}</td></tr>{{end}}
{{if .Pec}}<tr class="{{if or (eq .Pec.Verdict "valid") (eq .Pec.Verdict "valid-historic")}}good{{else}}bad{{end}}"><td>Firma / signature</td><td><b>{{verdict .Pec.Verdict}}</b>{{with .Pec.Reason}}<br>{{.}}{{end}}</td></tr>
{{with .Pec.Issuer}}<tr><td>Firmato da / signed by</td><td>{{.}}</td></tr>{{end}}
{{if not .Pec.SignedAt.IsZero}}<tr><td>Firmato il / signed on</td><td>{{when .Pec.SignedAt}}</td></tr>{{end}}
{{if not .Pec.At.IsZero}}<tr><td>Avvenuto il / happened on</td><td>{{when .Pec.At}} (ora locale / local zone {{.Pec.Zone}})</td></tr>{{end}}
{{with .Pec.Identifier}}<tr><td>Identificativo / identifier</td><td><code>{{.}}</code></td></tr>{{end}}
{{with .Pec.MsgID}}<tr><td>Message-ID</td><td><code>{{.}}</code></td></tr>{{end}}
{{if or .Pec.Error .Pec.ErrorText}}<tr><td>Errore / error</td><td>{{.Pec.Error}} {{.Pec.ErrorText}}</td></tr>{{end}}{{end}}
{{with .Original}}<tr{{if eq .Likeness "body"}} class="bad"{{end}}><td>Allegato / message inside</td><td>{{likeness .Likeness}}{{range .Differences}}<br>{{.}}{{end}}</td></tr>{{end}}
{{with .Content}}<tr><td>Contenuto / content</td><td><code>{{.}}</code></td></tr>{{end}}
{{with .Daticert}}<tr><td>daticert.xml</td><td><code>{{.}}</code></td></tr>{{end}}
{{with .Chain}}<tr><td>Certificati / certificates</td><td>{{range .}}{{.Subject}}<br>&nbsp; {{when .NotBefore}} - {{when .NotAfter}}, n. {{.Serial}}<br>{{end}}</td></tr>{{end}}
{{if .Pec}}<tr><td>Revoca / revocation</td><td>{{range .Revocation}}{{.Kind}}: {{.Status}}, {{when .At}} <code>{{.File}}</code><br>{{else}}{{.RevocationText}}{{end}}</td></tr>{{end}}
</table>
{{end}}{{end}}
<h2>Cronologia / timeline</h2>
<table><tr><th>Ora / time</th><th>Orologio / clock of</th><th>Che cosa / what</th></tr>
{{range .Timeline}}<tr><td>{{when .At}}</td><td>{{if eq .By "provider"}}gestore / provider{{else}}apparecchio / appliance{{end}}</td><td>{{.What}} {{.Text}}{{with .File}} <code>{{.}}</code>{{end}}</td></tr>
{{end}}</table>
</body></html>
`, "\n")
