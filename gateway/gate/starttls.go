package gate

import (
	"bufio"
	"bytes"
	"strings"

	"pecgate/mailbox/netconn"
)

// Bounds of the conversation before STARTTLS.
const (
	maxClearLine     = 1024 // bytes with CRLF; RFC 5321 section 4.5.3.1.4 asks for 512
	maxClearCommands = 20
)

// startTLS holds the SMTP conversation in clear until the client asks for TLS
// (RFC 3207) and returns "" when the handshake may begin, else a word for the
// event log. It knows no state: nothing said here counts after the handshake.
func (l *Listener) startTLS(line *netconn.Conn) string {
	r := bufio.NewReaderSize(line, maxClearLine)
	say := func(s string) bool {
		_, err := line.Write([]byte(s + "\r\n"))
		return err == nil
	}
	if !say("220 " + l.opt.Hostname + " ESMTP pecgate") {
		return "gone"
	}
	for range maxClearCommands {
		raw, err := r.ReadSlice('\n')
		if err != nil {
			if err == bufio.ErrBufferFull {
				return "line too long"
			}
			return reason(err)
		}
		text, ok := bytes.CutSuffix(raw, []byte("\r\n"))
		if !ok || bytes.IndexFunc(text, func(c rune) bool { return c < ' ' || c > '~' }) >= 0 {
			return "not SMTP"
		}
		verb, arg, _ := strings.Cut(string(text), " ")
		ok = true
		switch strings.ToUpper(verb) {
		case "EHLO":
			ok = say("250-" + l.opt.Hostname + "\r\n250-ENHANCEDSTATUSCODES\r\n250 STARTTLS")
		case "HELO":
			ok = say("250 " + l.opt.Hostname)
		case "NOOP", "RSET":
			ok = say("250 2.0.0 OK")
		case "QUIT":
			say("221 2.0.0 Bye")
			return "quit"
		case "STARTTLS":
			if arg != "" {
				ok = say("501 5.5.4 STARTTLS non ha argomenti / STARTTLS takes no argument")
				break
			}
			// Bytes that came with the command were not protected and would be
			// read as if they were (RFC 3207 section 6, command injection).
			if r.Buffered() > 0 {
				return "bytes after STARTTLS"
			}
			if !say("220 2.0.0 Ready to start TLS") {
				return "gone"
			}
			return ""
		case "AUTH":
			// The secret is on the wire already; to go on would only let the
			// client believe that this is a way to log in.
			l.opt.Events.ClearAuth(l.opt.Name, remoteAddr(line).String())
			say("538 5.7.11 Attivare STARTTLS nel programma di posta: la password non va inviata in chiaro / turn on STARTTLS: the password must not be sent in clear")
			return "AUTH in clear"
		case "MAIL", "RCPT", "DATA", "VRFY", "EXPN", "HELP":
			ok = say("530 5.7.0 Attivare prima STARTTLS / issue STARTTLS first")
		case "BDAT", "GET", "POST", "PUT", "HEAD", "OPTIONS", "CONNECT", "DELETE", "TRACE", "PATCH", "PRI", "PROXY":
			// A chunk or the rest of an HTTP request would follow as commands; a PROXY
			// header comes from a balancer that is not listed, for a client who waits.
			return "not SMTP"
		default:
			ok = say("500 5.5.2 Comando sconosciuto / unknown command")
		}
		if !ok {
			return "gone"
		}
	}
	say("421 4.7.0 Troppi comandi senza STARTTLS / too many commands without STARTTLS")
	return "too many commands"
}
