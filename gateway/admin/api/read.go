package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"pecgate/mailbox"
	"pecgate/relay"
)

// Named names a submission.
type Named struct {
	ID string `path:"id" minLength:"1" maxLength:"998" doc:"Unique code of the submission; also its Message-ID or PEC identifier."`
}

type shownOutput struct{ Body relay.Shown }

// Receipt is a receipt of a submission.
type Receipt struct {
	relay.ShownReceipt
	Recipient string `json:"recipient" doc:"Whom it is about; empty: the whole message."`
	Error     string `json:"error,omitempty" doc:"The provider's words."`
	Size      int64  `json:"size" doc:"Octets of the receipt."`
	EML       string `json:"eml" doc:"Path of the receipt as it came."`
}

type receiptsOutput struct {
	Body struct {
		Receipts []Receipt `json:"receipts"`
	}
}

type receiptInput struct {
	Named
	SHA256 string `path:"sha256" pattern:"^[0-9a-f]{64}$" doc:"SHA-256 of the receipt, as the list has it."`
}

func (s *Server) reading() {
	huma.Register(s.api, huma.Operation{
		OperationID: "status", Method: http.MethodGet, Path: "/v1/messages/{id}", Tags: []string{"read"},
		Summary: "What became of a submission, for each recipient", Description: "The same as `pecgate show --json`.", Responses: problems(404),
	}, func(ctx context.Context, in *Named) (*shownOutput, error) {
		shown, _, err := s.submission(ctx, in.ID)
		if err != nil {
			return nil, err
		}
		return &shownOutput{shown}, nil
	})
	huma.Register(s.api, huma.Operation{
		OperationID: "receipts", Method: http.MethodGet, Path: "/v1/messages/{id}/receipts", Tags: []string{"read"},
		Summary: "The receipts of a submission", Responses: problems(404),
	}, func(ctx context.Context, in *Named) (*receiptsOutput, error) {
		shown, _, err := s.submission(ctx, in.ID)
		if err != nil {
			return nil, err
		}
		all, err := relay.Receipts(ctx, s.opt.Store, shown.ID)
		if err != nil {
			return nil, s.fault(ctx, err)
		}
		out := &receiptsOutput{}
		out.Body.Receipts = []Receipt{}
		for _, r := range all {
			out.Body.Receipts = append(out.Body.Receipts, Receipt{
				ShownReceipt: relay.ShownReceipt{Kind: r.Kind, Verdict: r.Verdict, At: r.At, SHA256: r.SHA256}, Recipient: r.Recipient, Error: r.Error,
				Size: r.Size, EML: "/v1/messages/" + shown.ID + "/receipts/" + r.SHA256,
			})
		}
		return out, nil
	})
	huma.Register(s.api, huma.Operation{
		OperationID: "receipt", Method: http.MethodGet, Path: "/v1/messages/{id}/receipts/{sha256}", Tags: []string{"read"},
		Summary: "A receipt as it came, byte for byte", Responses: emlAnd(404),
	}, func(ctx context.Context, in *receiptInput) (*huma.StreamResponse, error) {
		shown, _, err := s.submission(ctx, in.ID)
		if err != nil {
			return nil, err
		}
		all, err := relay.Receipts(ctx, s.opt.Store, shown.ID)
		if err != nil {
			return nil, s.fault(ctx, err)
		}
		for _, r := range all {
			if r.SHA256 == in.SHA256 {
				return s.stored(ctx, r.Message)
			}
		}
		return nil, problem(ctx, http.StatusNotFound, noSuchMessage)
	})
	huma.Register(s.api, huma.Operation{
		OperationID: "original", Method: http.MethodGet, Path: "/v1/messages/{id}/original", Tags: []string{"read"},
		Summary: "A submission as it was or will be handed over, byte for byte", Responses: emlAnd(404),
	}, func(ctx context.Context, in *Named) (*huma.StreamResponse, error) {
		shown, _, err := s.submission(ctx, in.ID)
		if err != nil {
			return nil, err
		}
		c, err := relay.Bytes(ctx, s.opt.Store, shown.ID)
		if errors.Is(err, mailbox.ErrNotFound) || errors.Is(err, relay.ErrNotFound) { // removed by its age
			return nil, problem(ctx, http.StatusNotFound, noSuchMessage)
		}
		if err != nil {
			return nil, s.fault(ctx, err)
		}
		return s.eml(c), nil
	})
}

// stored is a message of the store as an answer.
func (s *Server) stored(ctx context.Context, id mailbox.MessageID) (*huma.StreamResponse, error) {
	m, err := s.opt.Store.Message(ctx, id)
	if errors.Is(err, mailbox.ErrNotFound) {
		return nil, problem(ctx, http.StatusNotFound, noSuchMessage)
	}
	if err != nil {
		return nil, s.fault(ctx, err)
	}
	r, err := s.opt.Store.Open(m)
	if err != nil {
		return nil, s.fault(ctx, err)
	}
	return s.eml(r), nil
}

// bytesOf are the bytes of a message.
type bytesOf interface {
	io.ReaderAt
	io.Closer
	Size() int64
}

func (s *Server) eml(r bytesOf) *huma.StreamResponse {
	return &huma.StreamResponse{Body: func(c huma.Context) {
		defer r.Close() // read only: nothing to lose
		c.SetHeader("Content-Type", "message/rfc822")
		c.SetHeader("Content-Length", strconv.FormatInt(r.Size(), 10))
		c.SetStatus(http.StatusOK)
		n, err := io.Copy(c.BodyWriter(), io.NewSectionReader(r, 0, r.Size()))
		if err != nil && c.Context().Err() == nil || err == nil && n != r.Size() {
			s.opt.Events.Fault("api", "", fmt.Errorf("%d of %d bytes written: %w", n, r.Size(), err))
			panic(http.ErrAbortHandler) // so that the client sees that it is cut
		}
	}}
}
