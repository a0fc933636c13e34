package main

import (
	"fmt"
	"math/rand/v2"
)

// damage is one thing done to one file of a stopped data_dir.
type damage struct {
	Kind damageKind `json:"kind"`
	File string     `json:"file"`           // relative to the data_dir
	At   int64      `json:"at,omitempty"`   // offset of the byte, or the new length
	Mask byte       `json:"mask,omitempty"` // what is flipped in the byte
}

type damageKind string

const (
	damageNone   damageKind = ""
	damageFlip   damageKind = "flip"
	damageCut    damageKind = "truncate"
	damageRemove damageKind = "remove"
)

func (d damage) String() string {
	switch d.Kind {
	case damageFlip:
		return fmt.Sprintf("byte %d of %s, bits %08b flipped", d.At, d.File, d.Mask)
	case damageCut:
		return fmt.Sprintf("%s cut to %d bytes", d.File, d.At)
	case damageRemove:
		return d.File + " removed"
	}
	return "nothing"
}

// flips chooses n places. Every kind of file gets its turn, since the smallest
// matter most; within a file most places are where something is written. The
// ballast holds nothing, so it is hit once.
func (im *image) flips(n int, rnd *rand.Rand) []damage {
	names, files := im.kinds()
	var out []damage
	ballast := false
	for turn := 0; len(out) < n && len(names) > 0; turn++ {
		kind := names[turn%len(names)]
		if turn/len(names)%2 == 1 && rnd.IntN(2) == 0 {
			kind = im.byWeight(rnd).kind() // where the bytes are
		}
		f := files[kind][rnd.IntN(len(files[kind]))]
		if kind == "ballast" {
			if ballast {
				if len(names) == 1 {
					return out
				}
				continue
			}
			ballast = true
		}
		d := damage{Kind: damageFlip, File: f.name, At: rnd.Int64N(f.size), Mask: byte(1 + rnd.IntN(255))}
		if rnd.IntN(2) == 0 {
			d.Mask = 1 << rnd.IntN(8)
		}
		if len(f.full) > 0 && rnd.IntN(8) > 0 {
			s := f.full[rnd.IntN(len(f.full))]
			d.At = s.at + rnd.Int64N(int64(len(s.data)))
		}
		out = append(out, d)
	}
	return out
}

// byWeight chooses a file by how much is written in it.
func (im *image) byWeight(rnd *rand.Rand) *imageFile {
	total := 0
	for i := range im.files {
		total += len(im.files[i].full)
	}
	at := rnd.IntN(max(total, 1))
	for i := range im.files {
		if at -= len(im.files[i].full); at < 0 {
			return &im.files[i]
		}
	}
	return &im.files[0]
}

// cuts chooses most lengths for each file: none, all but a byte, around the end
// of what is written, block borders and random ones.
func (im *image) cuts(most int, rnd *rand.Rand) []damage {
	var out []damage
	for i := range im.files {
		f := &im.files[i]
		if f.size == 0 || f.kind() == "ballast" && most > 1 && f.size > spanSize {
			continue
		}
		written := int64(0)
		if n := len(f.full); n > 0 {
			written = f.full[n-1].at + int64(len(f.full[n-1].data))
		}
		seen := map[int64]bool{}
		add := func(at int64) {
			if at >= 0 && at < f.size && !seen[at] && len(seen) < most {
				seen[at] = true
				out = append(out, damage{Kind: damageCut, File: f.name, At: at})
			}
		}
		firm := []int64{0, f.size - 1, written - 1, written - 512, written / 2, 1, 20, 512, written, f.size - 512, f.size - 1024}
		rnd.Shuffle(len(firm), func(i, j int) { firm[i], firm[j] = firm[j], firm[i] })
		for _, at := range firm {
			add(at)
		}
		for try := 0; try < 4*most && len(seen) < most; try++ {
			if at := rnd.Int64N(max(written, 1)); try%4 > 0 {
				add(at)
			} else {
				add(at &^ 511)
			}
		}
	}
	return out
}

// removals takes each file away, one at a time.
func (im *image) removals() []damage {
	var out []damage
	for i := range im.files {
		out = append(out, damage{Kind: damageRemove, File: im.files[i].name})
	}
	return out
}
