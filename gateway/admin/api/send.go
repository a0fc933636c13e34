package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"pecgate/gateway/smtpd"
)

// Asking is what every submission may have in its header.
type Asking struct {
	Key string `header:"Idempotency-Key" maxLength:"200" pattern:"^[!-~]*$" doc:"A name for this submission, chosen by the application. Asked again with the same name and the same body, nothing is sent a second time and the answer is that of the first; with another body it is refused (409)."`
	PIN string `header:"X-Pecgate-PIN" maxLength:"1000" doc:"PIN of the user, where the mailbox asks for one and takes it so."`
}

type partsInput struct {
	Asking
	Body Letter
}

type emlInput struct {
	Asking
	From    string   `query:"mailbox" required:"true" maxLength:"320" doc:"PEC mailbox to send from; From of the message is the same."`
	To      []string `query:"to,explode" maxItems:"1000" doc:"Recipients; none: all in To and Cc of the message."`
	Each    bool     `query:"each" doc:"Each recipient gets a message of their own."`
	RawBody []byte   `contentType:"message/rfc822"`
}

// Accepted is a submission that is durable.
type Accepted struct {
	ID     string `json:"id" doc:"Unique code of the submission, for all that is asked later."`
	State  string `json:"state" enum:"queued,held,to-approve,known" doc:"queued: it leaves by itself. held: it waits for the PIN. to-approve: it waits for a person who approves it. known: it was submitted before; ask for its status."`
	Status string `json:"status" doc:"Path that tells what became of it."`
}

type acceptedOutput struct {
	Location string `header:"Location"`
	Body     Accepted
}

func (s *Server) sending() {
	large := s.opt.MaxMessage + 1<<20
	huma.Register(s.api, huma.Operation{
		OperationID: "send", Method: http.MethodPost, Path: "/v1/messages", Tags: []string{"send"},
		Summary: "Submit a message given as its parts", DefaultStatus: http.StatusAccepted,
		Description:  "202 means that the message is kept for good and leaves as the mailbox and the policy say.",
		MaxBodyBytes: large/3*4 + 1<<20, BodyReadTimeout: bodyTime, Responses: problems(403, 409, 413, 422, 507),
	}, func(ctx context.Context, in *partsInput) (*acceptedOutput, error) {
		sum := in.Body.sum()
		switch {
		case in.Body.List != "" && len(in.Body.To)+len(in.Body.Cc) > 0, in.Body.List == "" && len(in.Body.To) == 0:
			return nil, problem(ctx, http.StatusUnprocessableEntity, words{"recipients", "Servono i destinatari in to, oppure un elenco in list.", "Give the recipients in to, or a list of them in list."})
		case in.Body.List != "":
			to, no := listed(ctx, in.Body.List)
			if no != nil {
				return nil, no
			}
			in.Body.To, in.Body.Each = to, true
		}
		message, err := in.Body.compose(time.Now())
		if err != nil {
			return nil, problem(ctx, http.StatusUnprocessableEntity, words{"parts", err.italian, err.english})
		}
		return s.submit(ctx, in.Asking, smtpd.Handed{
			From: in.Body.Mailbox, Recipients: in.Body.recipients(), Each: in.Body.Each, Message: message,
		}, sum)
	})
	huma.Register(s.api, huma.Operation{
		OperationID: "send-eml", Method: http.MethodPost, Path: "/v1/messages/eml", Tags: []string{"send"},
		Summary: "Submit a message given whole", DefaultStatus: http.StatusAccepted,
		Description:  "The message leaves byte for byte as it is given, but for what submission by SMTP changes too. Lines end with CR LF.",
		MaxBodyBytes: large, BodyReadTimeout: bodyTime, Responses: problems(403, 409, 413, 422, 507),
	}, func(ctx context.Context, in *emlInput) (*acceptedOutput, error) {
		h := sha256.New()
		fmt.Fprintf(h, "eml %q %q %v\n", in.From, in.To, in.Each)
		h.Write(in.RawBody)
		return s.submit(ctx, in.Asking, smtpd.Handed{From: in.From, Recipients: in.To, Each: in.Each, Message: in.RawBody},
			hex.EncodeToString(h.Sum(nil)))
	})
}

func (s *Server) submit(ctx context.Context, a Asking, h smtpd.Handed, sum string) (*acceptedOutput, error) {
	c := callerOf(ctx)
	h.Identity, h.PIN, h.Remote = c.identity(), a.PIN, c.remote
	if a.Key != "" {
		h.Key, h.KeySum = c.app.Name+"\n"+a.Key, sum
	}
	r, v := s.opt.SMTP.Hand(ctx, h)
	if !v.Allow {
		return nil, refused(ctx, v)
	}
	out := &acceptedOutput{Location: "/v1/messages/" + r.ID, Body: Accepted{ID: r.ID, State: "queued", Status: "/v1/messages/" + r.ID}}
	switch {
	case r.Approval:
		out.Body.State = "to-approve"
	case r.Held:
		out.Body.State = "held"
	case r.Duplicate && !r.Confirmed:
		out.Body.State = "known"
	}
	return out, nil
}
