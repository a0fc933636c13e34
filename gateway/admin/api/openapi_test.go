package api

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"
)

var update = flag.Bool("update", false, "write the golden files")

// The document in docs is the one that is served, and says of each operation what it
// answers and who may ask.
func TestDocument(t *testing.T) {
	doc := Document()
	raw, err := doc.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := json.Indent(&out, raw, "", "  "); err != nil {
		t.Fatal(err)
	}
	out.WriteByte('\n')
	name := filepath.Join("..", "..", "..", "docs", "openapi.json")
	if *update {
		if err := os.WriteFile(name, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, out.Bytes()) {
		t.Error("docs/openapi.json is not what is served: look at the difference, then go test ./gateway/admin/api -update")
	}
	if !strings.HasPrefix(doc.OpenAPI, "3.1") || len(doc.Paths) < 5 || len(doc.Security) == 0 {
		t.Errorf("%s, %d paths", doc.OpenAPI, len(doc.Paths))
	}
	seen := map[string]bool{}
	for path, item := range doc.Paths {
		if item.Get == nil && item.Post == nil {
			t.Errorf("%s has no operation", path)
		}
		for _, op := range []*huma.Operation{item.Get, item.Post} {
			if op == nil {
				continue
			}
			if op.OperationID == "" || seen[op.OperationID] || op.Summary == "" || len(op.Tags) == 0 || op.Responses["401"] == nil || op.Responses["429"] == nil {
				t.Errorf("%s: %+v", path, op)
			}
			seen[op.OperationID] = true
		}
	}
}

func TestLanguageOf(t *testing.T) {
	for header, want := range map[string]string{
		"": "en", "it": "it", "IT-it": "it", "en, it": "en", "it;q=0.1, en;q=0.2": "en", "de, it;q=0.3": "it", "it;q=x": "en", "it;q=0": "en", "fr": "en",
	} {
		if got := languageOf(header); got != want {
			t.Errorf("%q: %s", header, got)
		}
	}
}
