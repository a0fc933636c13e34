package relay

import (
	"crypto/pbkdf2"
	"crypto/sha256"
	"fmt"
)

// credential is user name and password as one number, for this process alone.
type credential [sha256.Size]byte

func credentialOf(username, password string) credential {
	return sha256.Sum256([]byte(fmt.Sprintf("%d:%s,%s", len(username), username, password)))
}

func slowHash(c credential, salt []byte) []byte {
	h, err := pbkdf2.Key(sha256.New, string(c[:]), salt, hashRounds, sha256.Size)
	if err != nil {
		return nil // only for lengths that nobody asks for; nil matches nothing
	}
	return h
}

// credential reads user name and password of a service; they are kept nowhere.
func (w *worker) credential(service string) (username, password string, c credential, err error) {
	w.mu.Lock()
	l := w.logins.now.loginOf(service)
	w.mu.Unlock()
	if password, err = l.Password(); err != nil {
		return "", "", c, fmt.Errorf("read the provider's password: %w", err)
	}
	return l.Username, password, credentialOf(l.Username, password), nil
}
