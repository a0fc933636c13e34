package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"sync"
	"time"
)

// maxCached bounds the cache of verified logins, in entries.
const maxCached = 4096

// cache remembers logins that were verified, so that a client which connects
// anew every few seconds does not cost a hash each time. An entry is a keyed
// digest of login, hash in the policy and password: without the key, which is
// random and never leaves the process, it says nothing, and a changed hash in
// the policy is another entry.
type cache struct {
	life time.Duration
	now  func() time.Time
	seed []byte

	mu      sync.Mutex
	entries map[[32]byte]time.Time // until when
}

func newCache(life time.Duration, now func() time.Time) *cache {
	return &cache{life: life, now: now, seed: random(32), entries: map[[32]byte]time.Time{}}
}

func (c *cache) key(login, hash, password string) (k [32]byte) {
	m := hmac.New(sha256.New, c.seed)
	fmt.Fprintf(m, "%d:%d:%d:", len(login), len(hash), len(password))
	m.Write([]byte(login))
	m.Write([]byte(hash))
	m.Write([]byte(password))
	m.Sum(k[:0])
	return k
}

// all is one key of several.
func (c *cache) all(keys [][32]byte) (k [32]byte) {
	m := hmac.New(sha256.New, c.seed)
	for _, one := range keys {
		m.Write(one[:])
	}
	m.Sum(k[:0])
	return k
}

func (c *cache) holds(k [32]byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	until, ok := c.entries[k]
	return ok && c.now().Before(until)
}

// put remembers an entry from now; one that is there keeps its end, so that a
// hash is computed once in a life in any case.
func (c *cache) put(k [32]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if until, ok := c.entries[k]; ok && now.Before(until) || c.life < 0 {
		return
	}
	if len(c.entries) >= maxCached {
		for e, until := range c.entries {
			if !now.Before(until) {
				delete(c.entries, e)
			}
		}
		for e := range c.entries { // all alive: any one goes, it costs a hash
			if len(c.entries) < maxCached {
				break
			}
			delete(c.entries, e)
		}
	}
	c.entries[k] = now.Add(c.life)
}
