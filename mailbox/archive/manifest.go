package archive

import (
	"archive/zip"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
)

const (
	manifestName = "manifest.json"
	maxManifest  = 128 << 20 // bytes
)

// Listed returns the SHA-256 sums that manifest.json lists, in the .zip file or the
// folder path, as mailbox/archive/export writes it. Whoever has to choose between
// readings of an mbox message takes the one that is listed. Nil where there is no
// manifest, or none that can be read: it is a help, not a proof.
func Listed(path string, lim Limits) map[[32]byte]bool {
	lim = lim.withDefaults()
	st, err := os.Stat(path)
	if err != nil || !st.IsDir() && !st.Mode().IsRegular() {
		return nil
	}
	if st.IsDir() {
		root, err := os.OpenRoot(path)
		if err != nil {
			return nil
		}
		defer root.Close() // nothing was written
		if st, err := root.Stat(manifestName); err != nil || !st.Mode().IsRegular() {
			return nil
		}
		f, err := root.Open(manifestName)
		if err != nil {
			return nil
		}
		return listedIn(f, lim)
	}
	f, err := os.Open(path)
	if err != nil || st.Size() > lim.Total {
		return nil
	}
	defer f.Close() // read-only
	g := &guard{r: f, left: lim.Entries}
	zr, err := zip.NewReader(g, st.Size())
	if zr == nil || g.full || err != nil && zr.File == nil || len(zr.File) > lim.Entries {
		return nil
	}
	g.off = true
	for _, e := range zr.File {
		if e.Name == manifestName && e.UncompressedSize64 <= maxManifest {
			if r, err := e.Open(); err == nil {
				return listedIn(r, lim)
			}
		}
	}
	return nil
}

// listedIn reads and closes a manifest.
func listedIn(r io.ReadCloser, lim Limits) map[[32]byte]bool {
	defer r.Close() // read-only
	dec := json.NewDecoder(io.LimitReader(r, maxManifest))
	for {
		word, err := dec.Token()
		if err != nil {
			return nil
		}
		if word == "messages" {
			break
		}
	}
	if _, err := dec.Token(); err != nil {
		return nil
	}
	all := map[[32]byte]bool{}
	for dec.More() && len(all) < lim.Entries {
		var m struct {
			SHA256 string `json:"sha256"`
		}
		if dec.Decode(&m) != nil {
			return nil
		}
		b, err := hex.DecodeString(m.SHA256)
		if err != nil || len(b) != 32 {
			return nil
		}
		all[[32]byte(b)] = true
	}
	return all
}
