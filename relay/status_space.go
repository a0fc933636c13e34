package relay

import (
	"context"
	"maps"
	"slices"

	"pecgate/mailbox"
)

// Space is the room on the store's disk, in bytes, and what takes it.
type Space struct {
	Free    int64         `json:"free"`
	AtFloor bool          `json:"at_floor"` // nothing is accepted or fetched until there is more
	Level   mailbox.Level `json:"level"`
	Floor   int64         `json:"floor"`   // min_free
	Ballast int64         `json:"ballast"` // held back, and given up at the floor
	Inodes  *int64        `json:"inodes"`  // free ones; null where the disk does not count them
	Used    []Used        `json:"used"`
}

// Used is what a mailbox takes: bytes that several messages share count once.
type Used struct {
	Mailbox  string `json:"mailbox"` // empty: what belongs to none, as notices and people's own mail
	Messages int64  `json:"messages"`
	Bytes    int64  `json:"bytes"`
}

func spaceOf(ctx context.Context, store *mailbox.Store) (Space, error) {
	d, err := store.Space()
	if err != nil {
		return Space{}, err
	}
	sp := Space{Free: d.Free, AtFloor: d.Level != mailbox.LevelRoom, Level: d.Level, Floor: d.Floor, Ballast: d.Ballast, Used: []Used{}}
	if d.Inodes >= 0 {
		sp.Inodes = &d.Inodes
	}
	used, err := store.Usages(ctx)
	for _, box := range slices.Sorted(maps.Keys(used)) {
		sp.Used = append(sp.Used, Used{Mailbox: box, Messages: used[box].Messages, Bytes: used[box].Bytes})
	}
	return sp, err
}
