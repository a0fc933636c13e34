package smtpd

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"pecgate/mailbox/mime"
	"pecgate/policy"
)

// maxEdits bounds how many cut fields are named in the words of the edits.
const maxEdits = 40

// relayHeader is the header of a message from a groupware server, on its way to be
// one that the sender's own mail program would have written.
type relayHeader struct {
	header []byte
	seen   fields
	edits  []string
}

func readRelayHeader(header []byte) (*relayHeader, error) {
	h := &relayHeader{header: header}
	// Received, Return-Path and the like may be there more than once.
	seen, err := readFields(header)
	h.seen = seen
	return h, err
}

// facts are what the policy is asked about.
func (h *relayHeader) facts(r *policy.Relay) (f policy.RelayFacts) {
	for _, one := range h.seen["from"] {
		if a, err := plainAddress(value(one)); err == nil {
			f.From = append(f.From, a)
		} else {
			f.From = append(f.From, "") // no plain address: refused
		}
	}
	if name := r.IdentityField(); name != "" {
		for _, one := range h.seen[strings.ToLower(name)] {
			f.Identity = append(f.Identity, value(one))
		}
	}
	for _, one := range h.seen["subject"] {
		f.Tags = append(f.Tags, r.Tags(mime.DecodeWords(value(one)))...)
	}
	for _, name := range []string{"to", "cc"} {
		for _, one := range h.seen[name] {
			if list, err := addresses(value(one)); err == nil {
				f.Visible = append(f.Visible, list...)
			} // else the judge of the header refuses it
		}
	}
	return f
}

// way is Submission.Way.
func (h *relayHeader) way() string {
	if len(h.seen["message-id"]) > 0 || len(h.seen["received"]) == 0 {
		return ""
	}
	sum := sha256.New()
	for _, f := range h.seen["received"] {
		sum.Write(f.Raw)
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// edit makes the edits that only a relay needs. ordinary are the addresses of the
// sender that nobody outside is to read.
func (h *relayHeader) edit(r *policy.Relay, box string, ordinary []string) error {
	if err := h.cutTag(r); err != nil {
		return err
	}
	return h.fields(r, box, ordinary)
}

// cutTag takes the subject's tag out, also of the copy that Outlook makes of it.
func (h *relayHeader) cutTag(r *policy.Relay) error {
	tag := r.Tag()
	if tag == nil || !r.Counts(policy.MarkSubject) {
		return nil
	}
	edited, found, err := mime.CutMark(h.header, []string{"Subject", "Thread-Topic"}, tag)
	if err != nil {
		return unclearTag()
	}
	if len(found) > 0 {
		h.edits = append(h.edits, "tag cut")
	}
	h.header = edited
	return nil
}

// fields cuts and changes fields.
func (h *relayHeader) fields(r *policy.Relay, box string, ordinary []string) error {
	identity := strings.ToLower(r.IdentityField())
	var out []byte
	var cut []string
	kept, suffixes := 0, 0
	for _, f := range mime.Fields(h.header) {
		name := strings.ToLower(f.Name)
		raw := f.Raw
		switch {
		case name == "from":
			var err error
			if raw, err = fromBox(f, box); err != nil {
				return err
			}
			if !bytes.Equal(raw, f.Raw) {
				h.edits = append(h.edits, "From set")
			}
		case name == "to" || name == "cc":
			if raw = withoutSuffix(f, r); !bytes.Equal(raw, f.Raw) {
				suffixes++
			}
		case isCut(name), name == identity && identity != "", !keptNames[name] && shows(f, ordinary):
			raw = nil
			if !slices.Contains(cut, f.Name) {
				cut = append(cut, f.Name)
			}
		}
		if raw != nil && bytes.Equal(raw, f.Raw) {
			continue
		}
		out = append(append(out, h.header[kept:f.Off]...), raw...)
		kept = f.Off + len(f.Raw)
	}
	h.header = append(out, h.header[kept:]...)
	if suffixes > 0 {
		h.edits = append(h.edits, "suffix removed")
	}
	for i, name := range cut {
		if i == maxEdits {
			h.edits = append(h.edits, strconv.Itoa(len(cut)-i)+" more fields cut")
			break
		}
		h.edits = append(h.edits, name+" cut")
	}
	return nil
}

// fromBox is From with the address of a mailbox in place of its own; the name stays
// byte for byte, unless it shows the address.
func fromBox(f mime.Field, box string) ([]byte, error) {
	a, err := plainAddress(value(f))
	if err != nil {
		return nil, badFrom()
	}
	if strings.EqualFold(a, box) {
		return f.Raw, nil
	}
	open, end := bytes.LastIndexByte(f.Raw, '<'), bytes.LastIndexByte(f.Raw, '>')
	if open < 0 || end < open || strings.ContainsAny(mime.DecodeWords(value(f)[:strings.LastIndexByte(value(f), '<')]), "@") {
		return []byte(f.Name + ": " + box + "\r\n"), nil
	}
	return slices.Concat(f.Raw[:open+1], []byte(box), f.Raw[end:]), nil
}

// withoutSuffix is To or Cc with the suffix of PEC taken off its addresses.
func withoutSuffix(f mime.Field, r *policy.Relay) []byte {
	if r.Suffix == "" {
		return f.Raw
	}
	return domain.ReplaceAllFunc(f.Raw, func(m []byte) []byte {
		if bare, cut := r.WithoutSuffix("x" + string(m)); cut {
			return []byte(bare[1:])
		}
		return m
	})
}

// domain is a whole domain with the @ before it: the suffix counts at its end only.
var domain = regexp.MustCompile(`(?i)@[a-z0-9._-]+`) // read only

// shows tells whether a field shows one of some addresses, also as links (%40) and
// return paths of lists (name=domain) write it, and with blanks inside.
func shows(f mime.Field, addresses []string) bool {
	body := strings.ToLower(mime.DecodeWords(f.Body()))
	body = strings.NewReplacer("%40", "@", " ", "", "\t", "", "\r", "", "\n", "").Replace(body)
	return slices.ContainsFunc(addresses, func(a string) bool {
		a = strings.ToLower(a)
		return a != "" && (strings.Contains(body, a) || strings.Contains(body, strings.Replace(a, "@", "=", 1)))
	})
}

func unclearTag() *refusal {
	return refuse(550, "5.7.1", "Il segno della PEC nell'oggetto non si puo' togliere con certezza: scriverlo una volta sola, all'inizio, e inviare di nuovo.",
		"The tag of PEC in the subject cannot be taken out for certain: write it once, at the beginning, and send again.", "tag-form")
}
