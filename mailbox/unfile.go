package mailbox

// Unfile takes the entry at a place away for everybody; ErrNotFound where there
// is none. The message stays.
func (tx *Tx) Unfile(p Place) error { return tx.remove(p) }
