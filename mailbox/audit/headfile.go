package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"pecgate/mailbox/planted"
)

const maxHeadFile = 256 << 20 // bytes: at one head an hour, more than 80 years

// headLine is a line of the file of heads.
type headLine struct {
	Note string `json:"note"`
}

// readHeads gives the notes of the file, one for each whole line. A line that
// is not as headLines writes it gives an empty note. What stands behind the last newline was cut
// by a crash; its head is in the records.
func readHeads(file string) ([]string, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close() // read only: nothing to lose
	b, err := io.ReadAll(io.LimitReader(f, maxHeadFile+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxHeadFile {
		return nil, fmt.Errorf("%s is larger than %d bytes: %w", file, maxHeadFile, ErrDamaged)
	}
	var notes []string
	for {
		line, rest, whole := bytes.Cut(b, []byte("\n"))
		if !whole {
			return notes, nil
		}
		var h headLine
		if json.Unmarshal(line, &h) == nil {
			// One form only, so that no byte of the file can change unseen.
			again, err := headLines([]string{h.Note})
			if err != nil || string(again) != string(line)+"\n" {
				h.Note = ""
			}
		}
		notes, b = append(notes, h.Note), rest
	}
}

// makeHeads makes a file with these heads, in the place of any other.
func makeHeads(file string, notes []string) error {
	b, err := headLines(notes)
	if err != nil {
		return err
	}
	return writeFile(file, b)
}

// addHeads appends to the file, durably.
func addHeads(file string, notes []string) error {
	b, err := headLines(notes)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	end, err := wholeLines(f)
	if err == nil {
		err = f.Truncate(end)
	}
	if err == nil {
		_, err = f.WriteAt(b, end)
	}
	if err == nil && !planted.Is(planted.NoSync) {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// wholeLines is the size of the file without what a crash left behind the last
// newline.
func wholeLines(f *os.File) (int64, error) {
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil || end == 0 {
		return 0, err
	}
	tail := make([]byte, min(end, 2*maxNote))
	if _, err := f.ReadAt(tail, end-int64(len(tail))); err != nil {
		return 0, err
	}
	last := bytes.LastIndexByte(tail, '\n')
	if last < 0 && int64(len(tail)) < end {
		return 0, fmt.Errorf("the end of %s is no line: %w", f.Name(), ErrDamaged)
	}
	return end - int64(len(tail)) + int64(last) + 1, nil
}

func headLines(notes []string) ([]byte, error) {
	var b bytes.Buffer
	w := json.NewEncoder(&b)
	w.SetEscapeHTML(false) // readable: the em dash and slashes stay
	for _, n := range notes {
		if err := w.Encode(headLine{n}); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
}
