package mailbox

import "math"

// forgotten bounds how many keys of persons go with the entry that Unfile takes
// away: far more than people look into one folder. What is beyond it is left
// over, which fsck clears.
const forgotten = 200

// Unfile takes the entry at a place away for everybody, with what each person
// had there; ErrNotFound where there is none. The message stays.
func (tx *Tx) Unfile(p Place) error {
	if err := tx.remove(p); err != nil {
		return err
	}
	left, err := tx.ofPersons(p, forgotten)
	if err != nil {
		return err
	}
	for _, k := range left {
		if err := tx.w.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

// allPersonal is no bound.
const allPersonal = math.MaxInt

// ofPersons returns at most most of the keys that people have at a place. It
// asks for each person who ever saw the folder, and for what they have together
// where \Seen is common.
func (tx *Tx) ofPersons(p Place, most int) (keys [][]byte, err error) {
	common := key("gp", p.Folder, Person(0), p.UID)
	if has, err := tx.has(common); err != nil {
		return nil, err
	} else if has {
		keys = append(keys, common)
	}
	err = tx.r.Scan(key("v", p.Folder), nil, func(k, _ []byte) (bool, error) {
		who := Person(tailUint32(k))
		for _, k := range [][]byte{key("gp", p.Folder, who, p.UID), key("h", p.Folder, who, p.UID)} {
			has, err := tx.has(k)
			if err != nil {
				return false, err
			}
			if has {
				keys = append(keys, k)
			}
		}
		return len(keys) < most, nil
	})
	return keys, err
}
