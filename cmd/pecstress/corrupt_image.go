package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// image is a data_dir that nobody has open, held in memory, so that hundreds of
// damaged copies of it can be written without reading the disk.
type image struct {
	files []imageFile // in the order of their names
	dirs  []string
}

type imageFile struct {
	name string // relative to the data_dir
	size int64
	mode fs.FileMode
	full []span // blocks that are not all zero
}

// span is a piece of a file that holds something.
type span struct {
	at   int64
	data []byte
}

// spanSize is the unit in which empty parts of files are passed over: the logs
// of the records are 16 MiB of which little is written.
const spanSize = 4096

// readImage takes a data_dir up. Sockets are no part of it.
func readImage(dir string) (*image, error) {
	im := &image{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		switch {
		case d.IsDir():
			im.dirs = append(im.dirs, name)
			return nil
		case !d.Type().IsRegular():
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		f := imageFile{name: name, size: int64(len(b)), mode: info.Mode().Perm()}
		zeros := make([]byte, spanSize)
		for at := 0; at < len(b); at += spanSize {
			if part := b[at:min(at+spanSize, len(b))]; !bytes.Equal(part, zeros[:len(part)]) {
				f.full = append(f.full, span{int64(at), bytes.Clone(part)})
			}
		}
		im.files = append(im.files, f)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the data_dir %s: %w", dir, err)
	}
	return im, nil
}

// write makes dir, which must not be there, a copy with one damage.
func (im *image) write(dir string, d damage) error {
	for _, name := range im.dirs {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil && !(name == "." && errors.Is(err, fs.ErrExist)) {
			return err
		}
	}
	for i := range im.files {
		f := &im.files[i]
		if f.name == d.File && d.Kind == damageRemove {
			continue
		}
		if err := f.write(filepath.Join(dir, f.name), d); err != nil {
			return err
		}
	}
	return nil
}

func (f *imageFile) write(path string, d damage) error {
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, f.mode)
	if err != nil {
		return err
	}
	err = out.Truncate(f.size)
	for i := 0; i < len(f.full) && err == nil; i++ {
		_, err = out.WriteAt(f.full[i].data, f.full[i].at)
	}
	if err == nil && f.name == d.File {
		switch d.Kind {
		case damageFlip:
			_, err = out.WriteAt([]byte{f.byteAt(d.At) ^ d.Mask}, d.At)
		case damageCut:
			err = out.Truncate(d.At)
		}
	}
	return errors.Join(err, out.Close())
}

func (f *imageFile) byteAt(at int64) byte {
	for _, s := range f.full {
		if at >= s.at && at < s.at+int64(len(s.data)) {
			return s.data[at-s.at]
		}
	}
	return 0
}

// kind puts files that play one part together: damage is spread over the parts,
// since some of them are small and matter most.
func (f *imageFile) kind() string {
	base := filepath.Base(f.name)
	ext := filepath.Ext(base)
	switch {
	case strings.HasPrefix(f.name, "segments") && ext == ".tar":
		// Even numbers hold many messages, odd ones one large message.
		if strings.ContainsAny(base[len(base)-len(ext)-1:len(base)-len(ext)], "13579") {
			return "large segment"
		}
		return "segment"
	case ext == ".mem", ext == ".sst", ext == ".vlog":
		return "*" + ext
	}
	return base
}

// kinds lists the files by the part they play, those that hold anything.
func (im *image) kinds() (names []string, files map[string][]*imageFile) {
	files = map[string][]*imageFile{}
	for i := range im.files {
		f := &im.files[i]
		if f.size == 0 {
			continue
		}
		if _, known := files[f.kind()]; !known {
			names = append(names, f.kind())
		}
		files[f.kind()] = append(files[f.kind()], f)
	}
	slices.Sort(names)
	return names, files
}
