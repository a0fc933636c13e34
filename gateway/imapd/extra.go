package imapd

import (
	"errors"

	"github.com/emersion/go-imap/v2" // the error type, which carries a response code
)

// extra is a command that the library does not know. It writes its untagged
// answers itself and returns as the library's commands do. It runs on the
// goroutine that reads, as they do.
type extra struct {
	run      func(s *session, a *arguments) error
	selected bool // it belongs to the selected state
	numbers  bool // it speaks of sequence numbers, so that none may change under it
}

// extraCommands are the commands of the extensions that stand in extraCaps.
func extraCommands() map[string]extra {
	return map[string]extra{
		"GETQUOTA":     {run: (*session).getQuota},
		"GETQUOTAROOT": {run: (*session).getQuotaRoot},
		"SETQUOTA":     {run: (*session).setQuota},
		"MYRIGHTS":     {run: (*session).myRights},
		"GETACL":       {run: (*session).getACL},
		"LISTRIGHTS":   {run: (*session).listRights},
		"SETACL":       {run: (*session).setACL},
		"DELETEACL":    {run: (*session).setACL},
	}
}

// extraCaps is what the filter adds to every list of capabilities.
const extraCaps = " ID QUOTA QUOTA=RES-STORAGE ACL SORT THREAD=REFERENCES THREAD=ORDEREDSUBJECT WITHIN"

// runExtra answers a command of an extension and says whether it is one.
func (f *filter) runExtra() bool {
	e, ok := f.srv.extras[f.cur.name]
	if !ok {
		return false
	}
	f.answer(f.cur.tag + " " + f.extraAnswer(e))
	return true
}

func (f *filter) extraAnswer(e extra) string {
	ses := f.srv.session(f)
	if ses == nil || !f.isLoggedIn() {
		return "BAD [CLIENTBUG] Log in first"
	}
	a := readArguments(f.cur.text, f.cur.name)
	var err error
	if e.selected {
		_, err = ses.selected()
	} else {
		err = ses.begin()
	}
	if err == nil {
		err = ses.reply(f.cur.name, e.run(ses, a))
	}
	var told *imap.Error
	switch {
	case errors.As(err, &told):
		code := ""
		if told.Code != "" {
			code = "[" + string(told.Code) + "] "
		}
		return string(told.Type) + " " + code + told.Text
	case err != nil:
		return "NO [UNAVAILABLE] A fault of the server, try again later"
	}
	_ = ses.Poll(nil, !e.numbers) // it has no error of its own
	return "OK " + f.cur.name + " completed"
}
