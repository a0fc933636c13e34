package mailbox

import "errors"

// Hide takes what stands at a place of a shared folder away for one person, as if
// they had removed it without the right to delete (Remove): for everybody else it
// stays, the message stays in the store, and the person finds it in Archivio. It tells
// whether they saw it there until now. The caller writes the audit line.
func (tx *Tx) Hide(p Place, v Viewer) (bool, error) {
	f, err := tx.folderByID(p.Folder)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	switch _, err := tx.visible(f.ID, v, p.UID); {
	case errors.Is(err, ErrNotFound) || err == nil && !f.Key.Shared():
		return false, nil
	case err != nil:
		return false, err
	}
	// Who never looked into the folder is noted as one who did: what people have at an
	// entry is looked for under those alone when the entry goes.
	if looked, err := tx.has(key("v", f.ID, v.Person)); err != nil {
		return false, err
	} else if !looked {
		if err := tx.putView(f.ID, v, f.UIDValidity); err != nil {
			return false, err
		}
	}
	if err := tx.hide(f, v.Person, p.UID); err != nil {
		return false, err
	}
	return true, tx.putFolder(f)
}

// hide leaves an entry out of what a person sees; the caller writes the folder.
func (tx *Tx) hide(f *folder, who Person, uid UID) error {
	if err := tx.w.Put(key("h", f.ID, who, uid), nil); err != nil {
		return err
	}
	return tx.changed(f, change{UID: uid, Kind: changeHidden, Person: who})
}
