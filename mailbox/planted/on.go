//go:build planted

package planted

import (
	"os"
	"sync"
)

// Is tells whether the fault is the one that the environment names.
func Is(b Bug) bool { return b == chosen() }

// chosen is read once: it is asked at every write.
var chosen = sync.OnceValue(func() Bug { return Bug(os.Getenv(Variable)) })
