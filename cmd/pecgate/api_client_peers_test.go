//go:build peers

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// What reads the OpenAPI document: tools of others, in modules of their own, so that
// pecgate needs none of them.
const (
	clientGenerator = "github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen@v2.8.2"
	clientRuntime   = "github.com/oapi-codegen/runtime@v1.8.0"
	documentLinter  = "github.com/getkin/kin-openapi/cmd/validate@v0.152.0"
)

// tool runs a command of Go in a directory and returns what it wrote.
func tool(t *testing.T, dir, stdin string, command ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(stdin)
	cmd.Env = append(os.Environ(), "GOFLAGS=-trimpath -mod=mod", "GOWORK=off")
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %v\n%s%s", command, err, out.String(), said.String())
	}
	if said.Len() > 0 {
		t.Logf("%s", said.String())
	}
	return out.String()
}

// document is the OpenAPI document of the docs; TestDocument sees that it is the one
// that is served.
func document(t *testing.T) string {
	t.Helper()
	name, err := filepath.Abs(filepath.Join("..", "..", "docs", "openapi.json"))
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// The document is one by the rules of OpenAPI 3.1, to a reader that is not ours; one with
// a fault is none.
func TestTheDocumentLints(t *testing.T) {
	dir := t.TempDir()
	tool(t, dir, "", "go", "run", documentLinter, "--", document(t))
	raw, err := os.ReadFile(document(t))
	if err != nil {
		t.Fatal(err)
	}
	broken := filepath.Join(dir, "broken.json")
	if err := os.WriteFile(broken, bytes.Replace(raw, []byte("#/components/schemas/ShownRecipient"), []byte("#/components/schemas/Nobody"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "run", documentLinter, "--", broken)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err == nil {
		t.Errorf("the linter finds nothing in a document that is broken: %s", out)
	}
}

// A client that a generator made from the document sends 1,000 letters and reads what
// became of each.
func TestAGeneratedClientSendsAThousandLetters(t *testing.T) {
	dir := t.TempDir()
	program, err := os.ReadFile(filepath.Join("testdata", "apiclient", "main.go"))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "main.go"), program, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	tool(t, dir, "", "go", "mod", "init", "apiclient.example")
	tool(t, dir, "", "go", "run", clientGenerator, "-generate", "types,client", "-package", "main", "-o", "client.go", document(t))
	tool(t, dir, "", "go", "get", clientRuntime)
	tool(t, dir, "", "go", "build", "-o", "apiclient", ".")

	h := newHouse(t, mailboxText(boxA, false, "", "mario"), mailboxText(boxB, false, "", "lucia"))
	app, _ := h.listenForApplications("")
	h.start()
	got := tool(t, dir, app.token+"\n", "./apiclient", app.base, filepath.Join(h.dir, "tls", "ca.pem"), boxA, boxB, "1000")
	if want := "1000 letters, 1000 codes, map[delivered:1000]\n"; got != want {
		t.Errorf("%q, not %q", got, want)
	}
	if n := len(h.provider.Ledger()); n != 1000 {
		t.Errorf("%d messages left", n)
	}
}
