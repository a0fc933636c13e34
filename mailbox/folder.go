package mailbox

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"pecgate/mailbox/kv"
)

// FolderID numbers folders; a number is never used again.
type FolderID uint64

// UID identifies an entry of a folder (RFC 9051 section 2.3.1.1).
type UID uint32

// Role is what a folder is for. The names that people see are made from it by
// the IMAP service, in their language.
type Role string

// The roles of the folders that the gateway files into, and of a person's own.
const (
	RoleInbox              Role = "inbox"               // transport envelopes; at the root: notices to the person
	RoleSent               Role = "sent"                // originals as relayed
	RoleAcceptance         Role = "acceptance"          // receipts of acceptance
	RoleOrdinaryAcceptance Role = "ordinary-acceptance" // the same, all recipients outside PEC
	RoleDelivery           Role = "delivery"            // receipts of delivery
	RoleErrors             Role = "errors"              // non-acceptance, non-delivery, warnings, virus
	RoleAnomalies          Role = "anomalies"           // anomaly envelopes and whatever is not believed
	RoleOutcomes           Role = "outcomes"            // one report for each submission, made by the gateway
	RoleToConfirm          Role = "to-confirm"          // what the person submitted and has not confirmed by PIN yet
	RoleToApprove          Role = "to-approve"          // what members submitted and another must approve; each entry is for its author
	RoleApproved           Role = "approved"            // the same, once it was approved
	RoleDrafts             Role = "drafts"              // the person's own
	RoleTrash              Role = "trash"               // the person's own
	RoleCustom             Role = "custom"              // a folder that a person made; Name says which
)

// FolderKey names a folder.
type FolderKey struct {
	Box   string `json:"box,omitempty"`   // PEC mailbox, lower case; "": outside all PEC trees
	Owner Person `json:"owner,omitempty"` // whose own folder it is; 0: shared by the members
	Role  Role   `json:"role"`
	Name  string `json:"name,omitempty"` // RoleCustom only: path, levels separated by "/", UTF-8
}

// Shared tells whether the folder belongs to the mailbox and not to a person.
func (k FolderKey) Shared() bool { return k.Owner == 0 }

func (k FolderKey) bytes() []byte {
	return key("fk", strings.ToLower(k.Box), k.Owner, string(k.Role), k.Name)
}

// folder is the record of a folder. Each change of the folder writes it.
type folder struct {
	ID          FolderID  `json:"id"`
	Key         FolderKey `json:"key"`
	UIDValidity uint32    `json:"uidvalidity"`
	UIDNext     UID       `json:"uidnext"`
	ModSeq      uint64    `json:"modseq"`
	Made        time.Time `json:"made"`
}

func (tx *Tx) folderByID(id FolderID) (*folder, error) {
	f := new(folder)
	if err := tx.getJSON(key("f", id), f); err != nil {
		return nil, err
	}
	return f, nil
}

func (tx *Tx) folder(k FolderKey) (*folder, error) {
	b, err := tx.r.Get(k.bytes())
	if errors.Is(err, kv.ErrNotFound) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	return tx.folderByID(FolderID(binary.BigEndian.Uint64(b)))
}

func (tx *Tx) putFolder(f *folder) error { return tx.putJSON(key("f", f.ID), f) }

// ensureFolder returns the folder and makes it when there is none.
func (tx *Tx) ensureFolder(k FolderKey) (*folder, error) {
	f, err := tx.folder(k)
	if !errors.Is(err, ErrNotFound) {
		return f, err
	}
	n, err := tx.next("folder")
	if err != nil {
		return nil, err
	}
	v, err := tx.nextUIDValidity()
	if err != nil {
		return nil, err
	}
	k.Box = strings.ToLower(k.Box)
	f = &folder{ID: FolderID(n), Key: k, UIDValidity: v, UIDNext: 1, ModSeq: 1, Made: tx.now.UTC()}
	if err := tx.w.Put(k.bytes(), binary.BigEndian.AppendUint64(nil, n)); err != nil {
		return nil, err
	}
	return f, tx.putFolder(f)
}

// EnsureFolder makes the folder when there is none and returns its number.
func (s *Store) EnsureFolder(ctx context.Context, k FolderKey) (FolderID, error) {
	var f *folder
	err := s.View(ctx, func(tx *Tx) (err error) { f, err = tx.folder(k); return err })
	if errors.Is(err, ErrNotFound) {
		err = s.Update(ctx, func(tx *Tx) (err error) { f, err = tx.ensureFolder(k); return err })
	}
	if err != nil {
		return 0, err
	}
	return f.ID, nil
}

// CreateFolder makes a folder of the person's own; ErrExists when it is there.
func (s *Store) CreateFolder(ctx context.Context, k FolderKey) error {
	return s.Update(ctx, func(tx *Tx) error {
		switch _, err := tx.folder(k); {
		case err == nil:
			return ErrExists
		case !errors.Is(err, ErrNotFound):
			return err
		}
		_, err := tx.ensureFolder(k)
		return err
	})
}

// DeleteFolder takes a custom folder away with its entries; the messages stay
// in the store. A folder made later under the same name has another
// UIDVALIDITY.
func (s *Store) DeleteFolder(ctx context.Context, k FolderKey) error {
	if k.Role != RoleCustom {
		return ErrRefused
	}
	var id FolderID
	var held []MessageID // as they were shortly before, for the audit line
	err := s.View(ctx, func(tx *Tx) error {
		f, err := tx.folder(k)
		if err != nil {
			return err
		}
		return tx.r.Scan(key("e", f.ID), nil, func(_, b []byte) (bool, error) {
			e, err := readEntry(b)
			held = append(held, e.Message)
			return true, err
		})
	})
	if err != nil {
		return err
	}
	err = s.Update(ctx, func(tx *Tx) error {
		f, err := tx.folder(k)
		if err != nil {
			return err
		}
		id = f.ID
		if err := tx.auditDeletion(ctx, f, k.Owner, "folder deleted", held); err != nil {
			return err
		}
		if err := tx.w.Delete(k.bytes()); err != nil {
			return err
		}
		return tx.w.Delete(key("f", f.ID))
	})
	if err != nil {
		return err
	}
	// What is left is unreachable already; it goes in bounded pieces.
	for _, p := range []string{"e", wireEnvelope, wireStructure, wireBody, wireWords, wireFields, "gp", "gc", "h", "c", "v"} {
		if err := s.clear(ctx, key(p, id)); err != nil {
			return fmt.Errorf("clear a deleted folder: %w", err)
		}
	}
	return nil
}

func (s *Store) clear(ctx context.Context, prefix []byte) error {
	for {
		more := false
		err := s.Update(ctx, func(tx *Tx) error {
			more = false
			var keys [][]byte
			err := tx.r.Scan(prefix, nil, func(k, _ []byte) (bool, error) {
				keys = append(keys, append([]byte(nil), k...))
				more = len(keys) >= 500
				return !more, nil
			})
			if err != nil {
				return err
			}
			for _, k := range keys {
				if err := tx.w.Delete(k); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil || !more {
			return err
		}
	}
}

// FolderMove is another name for a custom folder.
type FolderMove struct{ From, To FolderKey }

// MaxMoves is how many folders are renamed at once, so that they fit into one
// fold of the records.
const MaxMoves = 250

// RenameFolders gives custom folders other names, all or none: a folder and those
// below it. Entries, UIDs and UIDVALIDITY stay (RFC 9051 section 6.3.6). More than
// 250 are refused.
func (s *Store) RenameFolders(ctx context.Context, moves ...FolderMove) error {
	if len(moves) > MaxMoves {
		return ErrRefused
	}
	for _, m := range moves {
		if m.From.Role != RoleCustom || m.To.Role != RoleCustom || m.From.Owner != m.To.Owner || m.From.Box != m.To.Box {
			return ErrRefused
		}
	}
	return s.Update(ctx, func(tx *Tx) error {
		for _, m := range moves {
			if err := tx.renameFolder(m.From, m.To); err != nil {
				return err
			}
		}
		return nil
	})
}

func (tx *Tx) renameFolder(from, to FolderKey) error {
	f, err := tx.folder(from)
	if err != nil {
		return err
	}
	if _, err := tx.folder(to); !errors.Is(err, ErrNotFound) {
		if err == nil {
			return ErrExists
		}
		return err
	}
	if err := tx.w.Delete(from.bytes()); err != nil {
		return err
	}
	f.Key = to
	if err := tx.w.Put(to.bytes(), binary.BigEndian.AppendUint64(nil, uint64(f.ID))); err != nil {
		return err
	}
	return tx.putFolder(f)
}

// CustomFolders returns the names of the folders that a person made in a
// mailbox's tree ("" for the root), sorted.
func (s *Store) CustomFolders(ctx context.Context, box string, owner Person) ([]string, error) {
	var names []string
	prefix := key("fk", strings.ToLower(box), owner, string(RoleCustom))
	err := s.View(ctx, func(tx *Tx) error {
		return tx.r.Scan(prefix, nil, func(k, _ []byte) (bool, error) {
			names = append(names, strings.TrimSuffix(string(k[len(prefix):]), "\x00"))
			return true, nil
		})
	})
	return names, err
}

// Subscribe sets or takes away a person's subscription to a folder name as the
// person's client spells it (RFC 9051 section 6.3.7).
func (s *Store) Subscribe(ctx context.Context, p Person, name string, on bool) error {
	return s.Update(ctx, func(tx *Tx) error {
		return tx.w.Put(key("su", p, name), []byte(map[bool]string{true: "1", false: "0"}[on]))
	})
}

// Subscriptions returns what the person chose: true subscribed, false taken
// away. Names not in it are as the service has them by default.
func (s *Store) Subscriptions(ctx context.Context, p Person) (map[string]bool, error) {
	out := map[string]bool{}
	prefix := key("su", p)
	err := s.View(ctx, func(tx *Tx) error {
		return tx.r.Scan(prefix, nil, func(k, v []byte) (bool, error) {
			out[strings.TrimSuffix(string(k[len(prefix):]), "\x00")] = string(v) == "1"
			return true, nil
		})
	})
	return out, err
}
