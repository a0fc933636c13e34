package providersim

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// deed changes something and says in one line what was done.
type deed func(v url.Values) (string, error)

// actions are what POST does. The page has a form for each, and the README
// shows them with curl.
func (c *control) actions() map[string]deed {
	p := c.p
	return map[string]deed{
		"/fault": c.setFaults,
		"/behaviour": func(v url.Values) (string, error) {
			address, b := v.Get("address"), v.Get("behaviour")
			return fmt.Sprintf("mail to %s: %s", address, orElse(b, "as usual")), p.SetBehaviour(address, Behaviour(b))
		},
		"/ordinary": func(v url.Values) (string, error) {
			return c.arrive(v, "ordinary mail", func(from, to string, raw []byte) error { return p.Ordinary(to, raw) })
		},
		"/certified": func(v url.Values) (string, error) {
			return c.arrive(v, "certified mail", func(from, to string, raw []byte) error {
				return p.SendRawFromOutside(from, []string{to}, raw)
			})
		},
		"/notice": func(v url.Values) (string, error) {
			return "service notice sent to " + v.Get("mailbox"), p.ServiceNotice(v.Get("mailbox"), v.Get("about"))
		},
		"/renumber": func(v url.Values) (string, error) {
			folder := orElse(v.Get("folder"), "INBOX")
			return folder + " of " + v.Get("mailbox") + " has a new UIDVALIDITY", p.Renumber(v.Get("mailbox"), folder)
		},
		"/folder": func(v url.Values) (string, error) {
			return "folder " + v.Get("folder") + " made", p.CreateFolder(v.Get("mailbox"), v.Get("folder"))
		},
		"/move": func(v url.Values) (string, error) {
			uid, err := strconv.ParseUint(v.Get("uid"), 10, 32)
			if err != nil {
				return "", fmt.Errorf("uid %q is not a number", v.Get("uid"))
			}
			return fmt.Sprintf("message %d moved to %s", uid, v.Get("folder")), p.Move(v.Get("mailbox"), uint32(uid), v.Get("folder"))
		},
		"/password": func(v url.Values) (string, error) {
			return "password of " + v.Get("mailbox") + " changed", p.SetPassword(v.Get("mailbox"), strings.TrimRight(v.Get("password"), "\r\n")) // a file ends with one
		},
	}
}

// action reads what was posted and answers: a browser goes back to the page, a
// script gets one line.
func (c *control) action(do deed) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := posted(w, r)
		var done string
		if err == nil {
			done, err = do(v)
		}
		var tooLarge *http.MaxBytesError
		switch {
		case errors.As(err, &tooLarge):
			http.Error(w, fmt.Sprintf("more than %d bytes were sent", tooLarge.Limit), http.StatusRequestEntityTooLarge)
		case err != nil:
			http.Error(w, err.Error(), http.StatusBadRequest)
		case strings.Contains(r.Header.Get("Accept"), "text/html"):
			http.Redirect(w, r, "/", http.StatusSeeOther)
		default:
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			fmt.Fprintln(w, done)
		}
		if err == nil {
			c.p.log.Info("control page", "path", r.URL.Path)
		}
	}
}

// posted gives the fields of a form; a body of type message/rfc822 becomes the
// field message, beside those of the query.
func posted(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case err == nil && kind == "message/rfc822":
		raw, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		v := r.URL.Query()
		v.Set("message", string(raw))
		return v, nil
	case err == nil && kind == "application/x-www-form-urlencoded":
		r.Body = http.MaxBytesReader(w, r.Body, maxControlForm)
		if err := r.ParseForm(); err != nil {
			return nil, err
		}
		return r.PostForm, nil
	}
	return nil, errors.New("send a form (application/x-www-form-urlencoded) or, where a message is meant, message/rfc822")
}

// setFaults takes NAME=VALUE for one switch or several. If one is faulty none
// is changed.
func (c *control) setFaults(v url.Values) (string, error) {
	var names []string
	for name, values := range v {
		if len(values) != 1 {
			return "", fmt.Errorf("fault %s is given %d times", name, len(values))
		}
		names = append(names, name)
	}
	if len(names) == 0 {
		return "", errors.New("a fault is needed as NAME=VALUE, for example cut-after-dot=1")
	}
	slices.Sort(names)
	var trial Faults
	for _, name := range names {
		if err := trial.Set(name, strings.TrimSpace(v.Get(name))); err != nil {
			return "", err
		}
	}
	var done []string
	for _, name := range names {
		if err := c.p.faults.Set(name, strings.TrimSpace(v.Get(name))); err != nil {
			return "", err
		}
		done = append(done, name+" is "+strings.TrimSpace(v.Get(name)))
	}
	return strings.Join(done, ", "), nil
}

// arrive makes a message out of the fields, unless one is given whole, and
// hands it on for a mailbox.
func (c *control) arrive(v url.Values, what string, deliver func(from, to string, raw []byte) error) (string, error) {
	to, from := v.Get("mailbox"), orElse(v.Get("from"), "mittente@esterno.example")
	if c.p.account(to) == nil {
		return "", fmt.Errorf("no mailbox %s here", to)
	}
	if !compliant(from) {
		return "", fmt.Errorf("from: %q is no address", from)
	}
	raw := []byte(v.Get("message"))
	if len(raw) == 0 {
		raw = c.p.letter(from, to, orElse(v.Get("subject"), "Prova"), orElse(v.Get("text"), "Messaggio di prova."))
	}
	return what + " sent to " + to, deliver(from, to, raw)
}
