package api

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"pecgate/mailbox"
	"pecgate/mailbox/events"
	"pecgate/policy"
)

// Problem is why a request was not done (RFC 9457).
type Problem struct {
	Type   string `json:"type" format:"uri" doc:"Stable name of the kind of problem." example:"urn:pecgate:problem:not-member"`
	Title  string `json:"title" doc:"The status in words."`
	Status int    `json:"status" minimum:"400" maximum:"599" doc:"HTTP status."`
	Detail string `json:"detail" doc:"One sentence for people, in Italian or English as Accept-Language asks, that says what to do."`
	Reply  string `json:"reply,omitempty" doc:"Reply that the same would have had by SMTP, code and enhanced code." example:"550 5.7.1"`
	Lines  []Line `json:"lines,omitempty" doc:"Of a list of recipients: what is wrong with its lines, the first hundred."`

	after time.Duration
}

// Error is the sentence.
func (p *Problem) Error() string { return p.Detail }

// GetStatus is the HTTP status.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType is that of RFC 9457.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

// GetHeaders tells when to come again.
func (p *Problem) GetHeaders() http.Header {
	h := http.Header{}
	if p.after > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(p.after.Seconds()))))
	}
	if p.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="pecgate"`)
	}
	return h
}

// words are one problem in both languages.
type words struct{ name, italian, english string }

var (
	badToken = words{"token", "Manca un token valido nell'intestazione Authorization: Bearer.",
		"There is no valid token in the header Authorization: Bearer."}
	tooManyTokens   = words{"throttled", "Troppi token errati: riprovare tra un minuto.", "Too many wrong tokens: try again in a minute."}
	tooManyRequests = words{"rate", "Troppe richieste: riprovare piu' tardi.", "Too many requests: try again later."}
	busy            = words{"busy", "Troppe richieste insieme: riprovare tra poco.", "Too many requests at once: try again soon."}
	noSuchPath      = words{"path", "L'indirizzo non esiste: vedere /openapi.json.", "There is no such path: see /openapi.json."}
	noSuchMethod    = words{"method", "Il metodo non vale per questo indirizzo: vedere /openapi.json.", "The method is not one of this path: see /openapi.json."}
	noSuchMessage   = words{"not-found", "Il messaggio non esiste o l'applicazione non puo' leggerlo.", "There is no such message, or the application may not read it."}
	notAllowed      = words{"not-allowed", "L'applicazione non puo' inviare da questa casella, o la casella non esiste.", "The application may not send from this mailbox, or there is none."}
	noMemory        = words{"no-space", "Spazio insufficiente: riprovare piu' tardi.", "Not enough space: try again later."}
)

type langKey struct{}

// languageOf is it where a header Accept-Language prefers Italian to English, else en.
func languageOf(header string) string {
	best, lang := -1.0, "en"
	for _, part := range strings.Split(header[:min(len(header), 1000)], ",") {
		tag, params, _ := strings.Cut(strings.TrimSpace(part), ";")
		tag, _, _ = strings.Cut(strings.ToLower(strings.TrimSpace(tag)), "-")
		q := 1.0
		if v, ok := strings.CutPrefix(strings.TrimSpace(params), "q="); ok {
			q, _ = strconv.ParseFloat(v, 64)
		}
		if (tag == "it" || tag == "en") && q > best && q > 0 {
			best, lang = q, tag
		}
	}
	return lang
}

func italian(ctx context.Context) bool { return ctx.Value(langKey{}) == "it" }

func problem(ctx context.Context, status int, w words) *Problem {
	p := &Problem{Type: "urn:pecgate:problem:" + w.name, Title: http.StatusText(status), Status: status, Detail: w.english}
	if italian(ctx) {
		p.Detail = w.italian
	}
	return p
}

// refused is what the judge says, as an answer. Who may not send from a mailbox does not
// hear whether there is one.
func refused(ctx context.Context, v policy.Verdict) *Problem {
	status := http.StatusUnprocessableEntity
	switch {
	case v.Reason == policy.NotMember || v.Reason == policy.UnknownMailbox || v.Reason == policy.NoSend || v.Reason == policy.BoxMismatch:
		return problem(ctx, http.StatusForbidden, notAllowed)
	case v.Reason == policy.PINMissing || v.Reason == policy.PINWrong || v.Reason == "pin-locked" || v.Reason == "code-spent":
		status = http.StatusForbidden
	case v.Reason == policy.TooBig:
		status = http.StatusRequestEntityTooLarge
	case v.Reason == "key-used":
		status = http.StatusConflict
	case v.Reason == "no-space":
		status = http.StatusInsufficientStorage
	case v.Reason == policy.TooManyRecipients: // nothing that comes again is better
	case v.Code/100 == 4:
		status = http.StatusServiceUnavailable
	}
	p := problem(ctx, status, words{v.Reason, v.Italian, v.English})
	p.Reply = fmt.Sprintf("%d %s", v.Code, v.Enhanced)
	if status == http.StatusServiceUnavailable || status == http.StatusInsufficientStorage {
		p.after = 30 * time.Second
	}
	return p
}

// fault is for an error of ours: the client hears a number, the log holds the error
// under it.
func (s *Server) fault(ctx context.Context, err error) *Problem {
	if errors.Is(err, mailbox.ErrNoSpace) {
		return problem(ctx, http.StatusInsufficientStorage, noMemory)
	}
	id := rand.Text()[:10]
	if ctx.Err() == nil {
		s.opt.Events.Fault("api", "", fmt.Errorf("%s: %w", id, err))
	}
	p := problem(ctx, http.StatusServiceUnavailable, words{"fault", "Errore temporaneo, riprovare piu' tardi (codice " + id + ").",
		"Temporary error, try again later (code " + id + ")."})
	p.after = 30 * time.Second
	return p
}

// asProblem gives what the library finds wrong with a request the form of all others. Its
// words are English: they are about keys of JSON.
func asProblem(c huma.Context, _ string, v any) (any, error) {
	m, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	p := problem(c.Context(), m.Status, words{"request", "La richiesta non e' valida: " + m.Detail, "The request is not valid: " + m.Detail})
	for i, e := range m.Errors {
		if i < 10 {
			p.Detail += "; " + strings.TrimSpace(events.Clip(e.Location)+" "+events.Clip(e.Message))
		}
	}
	return p, nil
}

// write writes a problem where no operation does.
func write(w http.ResponseWriter, _ *http.Request, p *Problem) {
	for k, v := range p.GetHeaders() {
		w.Header()[k] = v
	}
	w.Header().Set("Content-Type", p.ContentType(""))
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // who went does not wait for it
}
