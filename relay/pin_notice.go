package relay

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"pecgate/mailbox"
)

// TellPINLocked tells a user, and the administrator of the mailbox at which it
// happened, that too many wrong PINs were given on a day (in Options.Location);
// once for each day however often it is called, also over restarts.
func (s *Service) TellPINLocked(ctx context.Context, login, box string, at time.Time) error {
	day := at.In(s.opt.Location).Format(time.DateOnly)
	who := []string{login}
	if admin := s.account(box).Admin; admin != "" && !strings.EqualFold(admin, login) {
		who = append(who, admin)
	}
	var errs []error
	for _, to := range who {
		k := "told/pin/" + day + "/" + strings.ToLower(login) + "/" + strings.ToLower(to)
		var told bool
		err := s.opt.Store.View(ctx, func(tx *mailbox.Tx) error { return tx.Space(room).Get(k, &told) })
		if err == nil {
			continue
		}
		if !errors.Is(err, mailbox.ErrNotFound) {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, pinLockedNotice(login, to, box, day, s.opt).fileOnly(ctx, s.opt.Store, func(tx *mailbox.Tx) (bool, error) {
			switch err := tx.Space(room).Get(k, &told); {
			case err == nil:
				return false, nil
			case !errors.Is(err, mailbox.ErrNotFound):
				return false, err
			}
			return true, errors.Join(forgetPINDays(tx, day), tx.Space(room).Put(k, true))
		}))
	}
	return errors.Join(errs...)
}

// forgetPINDays drops what was told on days before one, some at a time.
func forgetPINDays(tx *mailbox.Tx, day string) error {
	sp := tx.Space(room)
	var old []string
	err := sp.Scan("told/pin/", func(k string, _ []byte) (bool, error) {
		if k < "told/pin/"+day {
			old = append(old, k)
		}
		return len(old) < 100 && k < "told/pin/"+day, nil
	})
	for _, k := range old {
		err = errors.Join(err, sp.Delete(k))
	}
	return err
}

// ForgetPINLocked lets the next lock of the day be told again: an administrator
// has unlocked the PIN.
func ForgetPINLocked(tx *mailbox.Tx, login, day string) error {
	sp := tx.Space(room)
	var keys []string
	err := sp.Scan("told/pin/"+day+"/"+strings.ToLower(login)+"/", func(k string, _ []byte) (bool, error) {
		keys = append(keys, k)
		return len(keys) < 100, nil
	})
	for _, k := range keys {
		err = errors.Join(err, sp.Delete(k))
	}
	return err
}

func pinLockedNotice(login, to, box, day string, o Options) *notice {
	if at, err := time.Parse(time.DateOnly, day); err == nil {
		day = at.Format("02/01/2006")
	}
	it := fmt.Sprintf("Per l'utente %s sono stati dati troppi PIN errati oggi (%s), l'ultimo per la casella %s: il PIN è bloccato fino a mezzanotte.\n\n"+
		"Se non è stato l'utente, qualcuno conosce la sua password: cambiarla subito (pecgate password). "+
		"L'amministratore di sistema può sbloccare il PIN prima, con `pecgate pin --unlock %s`.", login, day, box, login)
	en := fmt.Sprintf("Too many wrong PINs were given today (%s) for the user %s, the last one for the mailbox %s: the PIN is locked until midnight.\n\n"+
		"If it was not the user, somebody knows their password: change it at once (pecgate password). "+
		"The system administrator can unlock the PIN before, by `pecgate pin --unlock %s`.", day, login, box, login)
	subject, text := "PIN bloccato: "+login, it+"\n\n"+en
	if o.Language == "en" {
		subject, text = "PIN locked: "+login, en+"\n\n"+it
	}
	now := o.Store.Now()
	return &notice{from: o.Address, to: o.Address, subject: subject, text: text + "\n", user: to, box: box, name: "pin." + fmt.Sprint(now.UnixNano()), at: o.here()}
}
