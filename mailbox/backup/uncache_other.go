//go:build !linux

package backup

import "pecgate/mailbox/segment"

// uncache is for Linux only.
func uncache(segment.File) {}
