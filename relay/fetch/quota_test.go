package fetch

import (
	"context"
	"strings"
	"testing"
)

func TestQuota(t *testing.T) {
	cases := map[string]struct {
		caps, answers string
		want          Quota
		fails         bool
	}{
		"one root": {"QUOTA", `* QUOTAROOT INBOX ""|* QUOTA "" (STORAGE 524288 1048576)|OK done`, Quota{512 << 20, 1 << 30, true}, false},
		"the fullest counts": {"QUOTA QUOTA=RES-STORAGE", "* QUOTAROOT INBOX a b c|* QUOTA a (STORAGE 1 100)|* QUOTA b (MESSAGE 5 6 STORAGE 99 110)|* QUOTA c (STORAGE 0 20)|OK done",
			Quota{99 << 10, 110 << 10, true}, false},
		"over the limit":     {"QUOTA", "* QUOTAROOT INBOX a|* QUOTA a (STORAGE 300 200)|OK done", Quota{300 << 10, 200 << 10, true}, false},
		"messages only":      {"QUOTA", "* QUOTAROOT INBOX a|* QUOTA a (MESSAGE 300 200)|OK done", Quota{}, false},
		"no root":            {"QUOTA", "* QUOTAROOT INBOX|OK done", Quota{}, false},
		"no limit":           {"QUOTA", "* QUOTAROOT INBOX a|* QUOTA a (STORAGE 300 0)|OK done", Quota{}, false},
		"refused":            {"QUOTA", "NO [NOPERM] not for you", Quota{}, false},
		"refused after all":  {"QUOTA", "* QUOTAROOT INBOX a|* QUOTA a (STORAGE 3 4)|NO no", Quota{}, false},
		"not offered":        {"IDLE", "BAD what", Quota{}, false},
		"larger than a disk": {"QUOTA", "* QUOTAROOT INBOX a|* QUOTA a (STORAGE 1 9223372036854775807)|OK done", Quota{1 << 10, 1<<63 - 1, true}, false},
		"nonsense":           {"QUOTA", "* QUOTAROOT INBOX a|* QUOTA a (STORAGE x)|OK done", Quota{}, true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			p := newProvider(t, nil)
			p.caps = "IMAP4rev1 AUTH=PLAIN " + c.caps
			p.on = func(conn *conn, tag, cmd string) bool {
				if !strings.HasPrefix(cmd, "GETQUOTAROOT") {
					return false
				}
				for line := range strings.SplitSeq(c.answers, "|") {
					if !strings.HasPrefix(line, "*") {
						line = tag + " " + line
					}
					conn.say("%s", line)
				}
				return true
			}
			s, err := Dial(context.Background(), p.server())
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			got, err := s.Quota(context.Background(), "INBOX")
			if (err != nil) != c.fails || got != c.want && err == nil {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}
