package fetch

import (
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/emersion/go-imap/v2" // another client, at the same mailbox
	"github.com/emersion/go-imap/v2/imapclient"
)

// TestRemove deletes two of four messages at the provider. One that another
// client has marked as deleted, and not expunged, stays.
func TestRemove(t *testing.T) {
	p, in, _ := simulated(t)
	for i := range 4 {
		if err := p.Inject(register, fmt.Appendf(nil, "Subject: %d\r\n\r\n%s\r\n", i, strings.Repeat("x", 10_000*i))); err != nil {
			t.Fatal(err)
		}
	}
	other, err := imapclient.DialTLS(p.IMAPAddr(), &imapclient.Options{TLSConfig: tlsOf(in)})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := errors.Join(other.Login(in.Username, in.Password).Wait(), selectInbox(other),
		other.Store(imap.UIDSetNum(2), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: []imap.Flag{imap.FlagDeleted}}, nil).Close()); err != nil {
		t.Fatal(err)
	}

	s, err := Dial(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	st, err := s.New(t.Context(), "INBOX", Cursor{}, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	here, err := p.Folder(register, "INBOX")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range here {
		raw := string(m.Raw)
		for other, want := range map[string]Sameness{
			raw: Equal, strings.Replace(raw, "Subject", "Xubject", 1): Other, raw + "x": Other, raw[:len(raw)-1]: Other, "": Other,
		} {
			got, err := s.Same(t.Context(), "INBOX", st.UIDValidity, m.UID, strings.NewReader(other), int64(len(other)))
			if err != nil || got != want {
				t.Errorf("message %d beside %.30q (%d bytes): %d, %v", m.UID, other, len(other), got, err)
			}
		}
	}
	if got, err := s.Same(t.Context(), "INBOX", st.UIDValidity, 99, strings.NewReader("x"), 1); err != nil || got != Gone {
		t.Errorf("%d, %v", got, err)
	}
	if got, err := s.Same(t.Context(), "INBOX", st.UIDValidity+1, 1, strings.NewReader(""), 0); err != nil || got != Other {
		t.Errorf("other UIDVALIDITY: %d, %v", got, err)
	}

	if _, err := s.Remove(t.Context(), "INBOX", st.UIDValidity+1, []uint32{1}); !errors.Is(err, ErrRefused) {
		t.Errorf("other UIDVALIDITY: %v", err)
	}
	left, err := s.Remove(t.Context(), "INBOX", st.UIDValidity, []uint32{1, 3, 99})
	if err != nil || len(left) > 0 {
		t.Fatal(left, err)
	}
	s.Close()
	here, err = p.Folder(register, "INBOX")
	if err != nil {
		t.Fatal(err)
	}
	var uids []uint32
	for _, m := range here {
		uids = append(uids, m.UID)
	}
	if !slices.Equal(uids, []uint32{2, 4}) {
		t.Errorf("left are %v", uids)
	}
}

// TestRemoveRefused: without UIDPLUS, or where the provider says no, nothing is
// expunged; what is there still is told.
func TestRemoveRefused(t *testing.T) {
	for name, c := range map[string]struct {
		caps    string
		no      string // the command that is refused
		left    int
		refused bool
	}{
		"no UIDPLUS":      {"IMAP4rev1", "", 0, true},
		"STORE refused":   {"IMAP4rev1 UIDPLUS", "UID STORE", 0, true},
		"EXPUNGE refused": {"IMAP4rev1 UIDPLUS", "UID EXPUNGE", 0, true},
		"SELECT refused":  {"IMAP4rev1 UIDPLUS", "SELECT", 0, false},
		"nothing done":    {"IMAP4rev1 UIDPLUS", "none", 2, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := newProvider(t, map[uint32]string{1: "a\r\n", 2: "b\r\n", 5: "c\r\n"})
			p.caps = c.caps
			p.on = func(conn *conn, tag, cmd string) bool {
				switch {
				case c.no != "" && strings.HasPrefix(cmd, c.no):
					conn.say("%s NO [NOPERM] not you", tag)
				case strings.HasPrefix(cmd, "SELECT"):
					p.command(conn, tag, "EXAMINE INBOX")
				case strings.HasPrefix(cmd, "UID STORE"), strings.HasPrefix(cmd, "UID EXPUNGE"):
					conn.say("%s OK", tag)
				default:
					return false
				}
				return true
			}
			s := p.dial(t)
			left, err := s.Remove(t.Context(), "INBOX", 7, []uint32{1, 2})
			if errors.Is(err, ErrRefused) != c.refused || len(left) != c.left || errors.Is(err, ErrNoFolder) != (c.no == "SELECT") {
				t.Errorf("%v, %v", left, err)
			}
			for _, l := range strings.Split(p.seen(), "\n") {
				if l == "EXPUNGE" || l == "CLOSE" || strings.HasPrefix(l, "UID EXPUNGE") && l != "UID EXPUNGE 1:2" {
					t.Errorf("sent %q", l)
				}
			}
			// The session goes on.
			var list []got
			if _, err := s.New(t.Context(), "INBOX", Cursor{}, 10, keep(&list)); err != nil || len(list) != 3 {
				t.Errorf("%d, %v", len(list), err)
			}
		})
	}
}

func tlsOf(srv Server) *tls.Config { return &tls.Config{RootCAs: srv.Roots, ServerName: srv.Host} }

func selectInbox(c *imapclient.Client) error {
	_, err := c.Select("INBOX", nil).Wait()
	return err
}
