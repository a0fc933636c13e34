package api

import (
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"
)

// problems documents the refusals of an operation, besides those that every one may have.
func problems(codes ...int) map[string]*huma.Response {
	out := map[string]*huma.Response{}
	for _, code := range append(codes, 400, 401, 422, 429, 503) {
		out[strconv.Itoa(code)] = &huma.Response{Description: http.StatusText(code), Content: map[string]*huma.MediaType{
			"application/problem+json": {Schema: &huma.Schema{Ref: "#/components/schemas/Problem"}},
		}}
	}
	return out
}

// emlAnd documents an operation that answers with a message.
func emlAnd(codes ...int) map[string]*huma.Response {
	out := problems(codes...)
	out["200"] = &huma.Response{Description: "The message.", Content: map[string]*huma.MediaType{
		"message/rfc822": {Schema: &huma.Schema{Type: "string", Format: "binary"}},
	}}
	return out
}
