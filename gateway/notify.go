package gateway

import (
	"net"
	"os"
	"time"
)

// notify tells systemd how the service stands (sd_notify(3)). Without
// NOTIFY_SOCKET it does nothing; a socket that does not answer is no reason to
// stop serving.
func notify(state string) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	if path[0] == '@' {
		path = "\x00" + path[1:] // abstract socket
	}
	c, err := net.DialTimeout("unixgram", path, time.Second)
	if err != nil {
		return
	}
	_, _ = c.Write([]byte(state)) // best effort, as above
	_ = c.Close()
}
