package badger

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"pecgate/mailbox/kv"
	"pecgate/mailbox/planted"
)

// badger's write-ahead logs (*.mem), one for each table it still holds in
// memory. A log is a header and entries, zeros behind them:
//
//	header: number of an encryption key (8 bytes, 0 here), 12 random bytes
//	entry:  meta, user meta (1 byte each); length of key, length of value,
//	        expiry (varints); key with ^version (8 bytes) at its end; value;
//	        CRC-32C of all before it in the entry
//
// The entries of a commit have metaTxn; one with metaEnd, which has the version
// as text, ends it. At the first entry that is not whole badger ends its replay
// and cuts the log, without a word. So the logs are read here before it.
const (
	logExt     = ".mem"
	logHeader  = 20
	metaDelete = 1 << 0
	metaTxn    = 1 << 6
	metaEnd    = 1 << 7
)

// logFile is what one log holds.
type logFile struct {
	name  string
	end   int64 // behind its last whole commit; 0 when it has no header
	size  int64
	clean bool // nothing but zeros, or nothing, follows
}

// where says how the log ends, for whoever looks for what is missing.
func (l logFile) where() string {
	if l.clean {
		return fmt.Sprintf("file %s ends at byte %d", l.name, l.end)
	}
	return fmt.Sprintf("file %s is damaged behind byte %d", l.name, l.end)
}

// commit is one fold as it stands in a log.
type commit struct {
	seq   uint64
	items []item // in ascending order of their keys
	chain []byte // nil: it has none
}

// show lets a sighting see what the commit wrote.
func (c commit) show(s *sighting) {
	for _, i := range c.items {
		if string(i.key) != string(s.key) {
			continue
		}
		var v []byte
		if !i.deleted {
			v = append([]byte{}, i.value...)
		}
		s.see(c.seq, v)
	}
}

// logsOf lists the logs of a folder in the order they were written.
func logsOf(dir string) ([]string, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*"+logExt))
	if err != nil {
		return nil, err
	}
	order := map[string]int{}
	for _, name := range names {
		n, err := strconv.Atoi(strings.TrimSuffix(filepath.Base(name), logExt))
		if err != nil {
			return nil, fmt.Errorf("file %s: %w: not a name of a log", filepath.Base(name), kv.ErrCorrupt)
		}
		order[name] = n
	}
	slices.SortFunc(names, func(a, b string) int { return order[a] - order[b] })
	return names, nil
}

// checkLogs goes on from the mark of the tables through all logs, and gives the
// mark they end with. It fails when a commit is missing between them, and when
// there are fewer than counted. form sees what they say of its key.
func checkLogs(dir string, tables, counted mark, form *sighting) (mark, []logFile, error) {
	names, err := logsOf(dir)
	if err != nil {
		return mark{}, nil, err
	}
	at := tables
	if err := sameChain(at, counted); err != nil {
		return at, nil, err
	}
	var logs []logFile
	for _, name := range names {
		l, err := readLog(name, func(c commit) error {
			switch {
			case len(c.chain) == 0:
				return fmt.Errorf("%w: commit %d has no chain", kv.ErrCorrupt, c.seq)
			case c.seq <= tables.seq:
				return nil // in a table already: the log was not removed yet
			case c.seq != at.seq+1:
				return fmt.Errorf("%w: records are missing: commit %d follows commit %d%s", kv.ErrCorrupt, c.seq, at.seq, lastLog(logs))
			}
			c.show(form)
			next := at.next(c.items)
			if !bytes.Equal(next.chain[:], c.chain) {
				return fmt.Errorf("%w: commit %d does not follow from those before it", kv.ErrCorrupt, c.seq)
			}
			at = next
			return sameChain(at, counted)
		})
		if err != nil {
			return at, nil, fmt.Errorf("file %s: %w", filepath.Base(name), err)
		}
		logs = append(logs, l)
	}
	if at.seq < counted.seq && !planted.Is(planted.SkipRecordCount) {
		return at, nil, fmt.Errorf("%w: records are missing: found %d commits, counted %d%s", kv.ErrCorrupt, at.seq, counted.seq, lastLog(logs))
	}
	return at, logs, nil
}

// sameChain compares the hash of the commit that was counted last.
func sameChain(at, counted mark) error {
	if at.seq == counted.seq && at.chain != counted.chain {
		return fmt.Errorf("%w: commit %d is not the one that file %s counted", kv.ErrCorrupt, at.seq, journalName)
	}
	return nil
}

// lastLog names the log behind which something is missing.
func lastLog(logs []logFile) string {
	if len(logs) == 0 {
		return "; no file *" + logExt + " holds them"
	}
	// The first damaged one is where badger would stop.
	at := slices.IndexFunc(logs, func(l logFile) bool { return !l.clean })
	if at < 0 {
		at = len(logs) - 1
	}
	return "; " + logs[at].where()
}

// readLog calls fn for each whole commit of a log.
func readLog(name string, fn func(commit) error) (logFile, error) {
	l := logFile{name: filepath.Base(name)}
	f, err := os.Open(name)
	if err != nil {
		return l, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return l, err
	}
	l.size = st.Size()
	r := &logReader{in: bufio.NewReaderSize(f, 256<<10)}
	header := make([]byte, logHeader)
	if _, err := io.ReadFull(r.in, header); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return l, nil // cut short, or just made: it holds nothing
	} else if err != nil {
		return l, err
	}
	if binary.BigEndian.Uint64(header) != 0 {
		return l, fmt.Errorf("%w: its header is damaged", kv.ErrCorrupt)
	}
	r.at = logHeader
	l.end = r.at
	for {
		c, err := r.commit()
		switch {
		case errors.Is(err, errLogEnds):
			l.clean, err = onlyZeros(f, l.end)
			return l, err
		case err != nil:
			return l, err
		}
		l.end = r.at
		if err := fn(c); err != nil {
			return l, err
		}
	}
}

// onlyZeros looks at what stands behind the end of a log, as far as an entry
// would begin there.
func onlyZeros(f *os.File, end int64) (bool, error) {
	b := make([]byte, 64)
	n, err := f.ReadAt(b, end)
	if err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	return len(bytes.Trim(b[:n], "\x00")) == 0, nil
}

// errLogEnds: no whole commit follows.
var errLogEnds = errors.New("the log ends")

// logReader reads entries.
type logReader struct {
	in *bufio.Reader
	at int64
}

// entry is one entry of a log.
type entry struct {
	meta    byte
	key     []byte // without its version
	version uint64
	value   []byte
}

// maxEntries bounds a commit: what an Update may write, and the chain.
const maxEntries = kv.MaxUpdateKeys + 1

// commit reads the entries of one commit.
func (r *logReader) commit() (commit, error) {
	var c commit
	for n := 0; ; n++ {
		e, err := r.entry()
		if err != nil {
			return c, err
		}
		if n == 0 {
			c.seq = e.version
		}
		if e.version != c.seq || n > maxEntries {
			return c, errLogEnds
		}
		switch {
		case e.meta&metaEnd != 0:
			if string(e.value) != strconv.FormatUint(c.seq, 10) {
				return c, errLogEnds
			}
			slices.SortFunc(c.items, func(a, b item) int { return bytes.Compare(a.key, b.key) })
			return c, nil
		case e.meta&metaTxn == 0:
			return c, errLogEnds
		case string(e.key) == chainKey:
			c.chain = e.value
		default:
			c.items = append(c.items, item{key: e.key, value: e.value, deleted: e.meta&metaDelete != 0})
		}
	}
}

// entry reads one entry.
func (r *logReader) entry() (entry, error) {
	var e entry
	h := &hashed{in: r.in}
	head := [2]byte{}
	for i := range head {
		c, err := h.ReadByte()
		if err != nil {
			return e, ends(err)
		}
		head[i] = c
	}
	e.meta = head[0]
	var lens [3]uint64 // key, value, expiry
	for i := range lens {
		n, err := binary.ReadUvarint(h)
		if err != nil {
			return e, ends(err)
		}
		lens[i] = n
	}
	if lens[0] <= 8 || lens[0] > kv.MaxKey+8 || lens[1] > kv.MaxRecord {
		return e, errLogEnds
	}
	b := make([]byte, lens[0]+lens[1]+4)
	if _, err := io.ReadFull(r.in, b); err != nil {
		return e, ends(err)
	}
	body, sum := b[:len(b)-4], binary.BigEndian.Uint32(b[len(b)-4:])
	if crc32.Update(h.sum, castagnoli(), body) != sum {
		return e, errLogEnds
	}
	r.at += h.n + int64(len(b))
	key := body[:lens[0]]
	e.key, e.version = key[:len(key)-8], ^binary.BigEndian.Uint64(key[len(key)-8:])
	e.value = body[lens[0]:]
	return e, nil
}

// ends takes the end of the file, and numbers that are none, for the end of
// the log; other errors are of the disk.
func ends(err error) error {
	var path *os.PathError
	if errors.As(err, &path) {
		return err
	}
	return errLogEnds
}

// hashed reads bytes of an entry's beginning and sums them.
type hashed struct {
	in  *bufio.Reader
	n   int64
	sum uint32
}

func (h *hashed) ReadByte() (byte, error) {
	c, err := h.in.ReadByte()
	if err == nil {
		h.n++
		h.sum = crc32.Update(h.sum, castagnoli(), []byte{c})
	}
	return c, err
}
