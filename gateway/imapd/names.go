package imapd

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/emersion/go-imap/v2" // the protocol's words: attributes, response codes

	"pecgate/mailbox"
)

const delim = "/"

// treeName is the level below which the PEC trees stand.
const treeName = "PEC"

// labels are the names of the fixed folders in one language.
type labels struct {
	inbox, contents, sent, drafts, trash              string
	receipts, acceptance, ordinary, delivery, failing string
	anomalies, outcomes, archive, toConfirm           string
	toApprove, approved                               string
}

func italian() labels {
	return labels{
		inbox: "Posta in arrivo", contents: "Contenuti", sent: "Posta inviata", drafts: "Bozze", trash: "Cestino",
		receipts: "Ricevute", acceptance: "Accettazione", ordinary: "Accettazione ordinaria",
		delivery: "Consegna", failing: "Errori", anomalies: "Anomalie", outcomes: "Esiti", archive: "Archivio", toConfirm: "Da confermare",
		toApprove: "Da autorizzare", approved: "Autorizzati",
	}
}

func english() labels {
	return labels{
		inbox: "Inbox", contents: "Contents", sent: "Sent", drafts: "Drafts", trash: "Trash",
		receipts: "Receipts", acceptance: "Acceptance", ordinary: "Ordinary acceptance",
		delivery: "Delivery", failing: "Errors", anomalies: "Anomalies", outcomes: "Outcomes", archive: "Archive", toConfirm: "To confirm",
		toApprove: "To approve", approved: "Approved",
	}
}

func labelsFor(language string) labels {
	if language == "en" {
		return english()
	}
	return italian()
}

// reserved tells whether nobody may make a folder of this name at the first
// level of the root or of a PEC tree: the fixed names of both languages, so
// that a change of language meets no folder of the same name, and the names
// that interface.md keeps for the gateway.
func reserved(level string, inTree bool) bool {
	root := []string{"INBOX", treeName, "Posta inviata", "Sent", "Bozze", "Drafts", "Cestino", "Trash"}
	tree := []string{
		"Posta in arrivo", "Inbox", "Ricevute", "Receipts", "Anomalie", "Anomalies",
		"Contenuti", "Contents", "Esiti", "Outcomes", "Da confermare", "To confirm",
		"Da autorizzare", "To approve", "Autorizzati", "Approved", "Archivio", "Archive",
	}
	same := func(s string) bool { return strings.EqualFold(s, level) }
	return slices.ContainsFunc(root, same) || inTree && slices.ContainsFunc(tree, same)
}

// Limits of the names of folders that people make.
const (
	maxName   = 400 // bytes of the whole name, in UTF-8
	maxLevels = 16
	maxCustom = 1000 // folders of one person in one tree
)

// goodName tells whether a person may give a folder this name. The name has
// been decoded from modified UTF-7 before (RFC 9051 section 5.1).
func goodName(name string) bool {
	if name == "" || len(name) > maxName || !utf8.ValidString(name) || strings.Count(name, delim) >= maxLevels {
		return false
	}
	for level := range strings.SplitSeq(name, delim) {
		if level == "" || level == "." || level == ".." || level != strings.TrimSpace(level) {
			return false
		}
	}
	if name[0] == '#' {
		return false // names of other name spaces (RFC 9051 section 5.1.2)
	}
	for _, r := range name {
		if unicode.IsControl(r) || r == '*' || r == '%' || r == '\\' || r == utf8.RuneError || r == '\u2028' || r == '\u2029' {
			return false
		}
	}
	return true
}

// parents returns the names above name, the topmost first.
func parents(name string) []string {
	var out []string
	for i := range len(name) {
		if name[i] == delim[0] {
			out = append(out, name[:i])
		}
	}
	return out
}

// node is one name of the tree that a session sees.
type node struct {
	name   string
	id     string // for subscriptions: the same in both languages and logins
	folder bool   // false: only a level of the hierarchy
	key    mailbox.FolderKey
	inner  bool             // shows the messages inside; see contents.go
	use    imap.MailboxAttr // special use (RFC 6154), or ""
	period *mailbox.Period  // of an archive; nil: none
}

// own tells whether the person may put messages there.
func (n node) own() bool { return n.personal() && n.key.Role != mailbox.RoleToConfirm }

// personal tells whether nobody else sees it.
func (n node) personal() bool { return n.folder && !n.key.Shared() }

func (n node) custom() bool { return n.key.Role == mailbox.RoleCustom }

func keyID(k mailbox.FolderKey) string {
	return strings.Join([]string{k.Box, string(k.Role), k.Name}, delim)
}

func levelID(box, level string) string { return strings.Join([]string{box, "level", level}, delim) }
