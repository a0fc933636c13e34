package pop3

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// FuzzLogin: whatever a server answers up to the login, the password goes to
// nobody before Secure was asked, commands are single lines, and no error holds
// the password.
func FuzzLogin(f *testing.F) {
	f.Add([]byte("+OK ready\r\n+OK\r\nUSER\r\nSASL PLAIN\r\n.\r\n+OK\r\n+OK\r\n.\r\n"), false)
	f.Add([]byte("+OK ready\r\n-ERR what?\r\n+OK\r\n-ERR [AUTH] "+password+"\r\n"), false)
	f.Add([]byte("+OK ready\r\n+OK\r\nUTF8\r\nUSER\r\n.\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n.\r\n"), false)
	f.Add([]byte("+OK ready\r\n+OK begin\r\n"), true)
	f.Add([]byte("+OK ready\r\n+OK begin\r\n+OK injected\r\n"), true)
	f.Add([]byte("+OK ready\r\n-ERR no TLS\r\n"), true)
	f.Add([]byte("+OK\r\n+OK\r\nSASL PLAIN\r\n.\r\n+ \r\n+ \r\n+ \r\n"), false)
	f.Fuzz(func(t *testing.T, answers []byte, starttls bool) {
		here, there := net.Pipe()
		var said bytes.Buffer
		var peer sync.WaitGroup
		peer.Go(func() { io.Copy(&said, there) })
		peer.Go(func() { there.Write(answers); there.Close() })
		secured := false
		o := Options{
			Security: "tls", Username: user, Password: password, Timeout: time.Minute,
			Secure: func(_ context.Context, c net.Conn) (net.Conn, error) {
				if secured = true; starttls {
					return nil, errors.New("no TLS here")
				}
				return c, nil
			},
		}
		if starttls {
			o.Security = "starttls"
		}
		c, err := New(t.Context(), here, o)
		if err == nil {
			c.Close()
		}
		there.Close()
		peer.Wait()
		out := said.String()
		secret := strings.Contains(out, password) || strings.Contains(out, base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00"+password)))
		if secret && (!secured || starttls) {
			t.Errorf("the password was sent before TLS: %q", out)
		}
		if err == nil && starttls {
			t.Error("logged in without TLS")
		}
		if err != nil && strings.Contains(err.Error(), password) {
			t.Errorf("the password stands in the error: %v", err)
		}
		for line := range strings.SplitSeq(strings.TrimSuffix(out, "\r\n"), "\r\n") {
			if strings.ContainsAny(line, "\r\n") || len(line)+2 > maxCommand {
				t.Errorf("a command of %q", line)
			}
		}
	})
}
