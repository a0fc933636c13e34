package providersim

import (
	"bytes"
	_ "embed" // the page
	"html/template"
	"net/http"
)

//go:embed control.html
var controlHTML string

// pageData is what the template shows.
type pageData struct {
	controlState
	Host    string // as the browser wrote it, for the examples
	Actions []Behaviour
}

// page answers GET /. It is plain HTML: one form per switch, no script.
func (c *control) page(w http.ResponseWriter, r *http.Request) {
	t, err := template.New("control").Parse(controlHTML)
	var b bytes.Buffer
	if err == nil {
		err = t.Execute(&b, pageData{c.snapshot(defaultLast), r.Host, Behaviours()})
	}
	if err != nil {
		http.Error(w, "the page could not be made", http.StatusInternalServerError)
		c.p.log.Error("control page not made", "error", err)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(b.Bytes())
}
