package mailbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// inCharge is the keyword by which a person takes charge of an incoming message.
const inCharge = "$PecInCharge"

// Charge says who takes care of a message, and since when.
type Charge struct {
	Person Person    `json:"person"`
	At     time.Time `json:"at"`
}

// ChargeError says that another person is in charge of a message.
type ChargeError struct {
	Login string
	At    time.Time
}

func (e *ChargeError) Error() string {
	return fmt.Sprintf("mailbox: %s is in charge of it since %s", e.Login, e.At.Format(time.RFC3339))
}

// chargeable tells whether messages of a folder can be taken charge of: those
// that came in, and only in the folder that all share.
func chargeable(f *folder) bool {
	return f.Key.Shared() && (f.Key.Role == RoleInbox || f.Key.Role == RoleAnomalies)
}

// asksCharge tells whether a change of flags is about who is in charge. What
// replaces the flags of a message leaves the gateway's keywords, so only taking
// over is asked for by it.
func asksCharge(flags []string) bool {
	return slices.ContainsFunc(flags, func(f string) bool { return strings.EqualFold(f, inCharge) })
}

// charge makes the viewer the one in charge of an entry's message, or ends it.
// The first one stays: ChargeError for another, unless the viewer administers
// the mailbox and ends it. changed is false where nothing was to be done.
func (tx *Tx) charge(ctx context.Context, f *folder, v Viewer, e *entry, op FlagOp) (changed bool, err error) {
	if !chargeable(f) {
		return false, nil
	}
	m, err := tx.Message(e.Message)
	if err != nil {
		return false, err
	}
	take := op != FlagsRemove
	held := m.Charge
	switch {
	case held == nil && !take, held != nil && take && held.Person == v.Person:
		return false, nil
	case held != nil && held.Person != v.Person && (take || !v.Admin):
		login, err := tx.actor(held.Person)
		if err != nil {
			return false, err
		}
		return false, &ChargeError{Login: login, At: held.At}
	}
	result := "ended"
	if m.Charge = nil; take {
		m.Charge, result = &Charge{Person: v.Person, At: tx.now.UTC()}, "taken"
	}
	if err := tx.putJSON(key("m", m.ID), m); err != nil {
		return false, err
	}
	actor, err := tx.actor(v.Person)
	if err != nil {
		return false, err
	}
	line := AuditLine{
		Actor: actor, Event: "charge", Box: f.Key.Box, Result: result, From: peer(ctx),
		More: map[string]string{"message": strconv.FormatUint(uint64(m.ID), 10), "sha256": m.SHA256()},
	}
	if held != nil && held.Person != v.Person {
		if line.More["of"], err = tx.actor(held.Person); err != nil {
			return false, err
		}
	}
	return true, tx.Audit(line)
}

// refusedCharge tells whether err is one that leaves the other changes standing.
func refusedCharge(err error) bool {
	var held *ChargeError
	return errors.As(err, &held)
}
