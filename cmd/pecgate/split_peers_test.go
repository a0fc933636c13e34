//go:build peers

package main

import "testing"

// TestSplitOfAThousand is TestSplitAlways with as many as a batch may have.
func TestSplitOfAThousand(t *testing.T) { sendBulk(t, 1000) }
