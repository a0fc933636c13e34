package segment

import (
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
)

var errDisk = errors.New("input/output error")

// faultKind says how the chosen call fails.
type faultKind int

const (
	failClean faultKind = iota // nothing happens, an error is returned
	failHalf                   // half of a write, or the whole of another call, happens all the same
	halt                       // the call works, but halted is called just before it
)

// memFS is a file system in memory that knows what a power cut would leave. It
// can fail the nth call that changes anything. A failed sync drops what it
// should have written and the next one succeeds, as Linux does.
type memFS struct {
	mu      sync.Mutex
	names   map[string]*inode // as processes see it
	kept    map[string]*inode // what a power cut leaves
	ops     []nameOp          // between the two, in order
	locked  map[string]bool
	calls   int
	failAt  int // 0: never
	kind    faultKind
	only    string // the call to fail; "" any
	fired   string
	syncs   int
	lying   bool              // Sync does nothing: the negative control
	onSync  func(name string) // called without the lock
	halted  func()            // called with the lock: see cutNow
	handles int
	most    int
}

type inode struct {
	data    []byte
	synced  []byte
	pending []change
}

// change is one block of a write, or a truncation (p nil).
type change struct {
	off int64
	p   []byte
}

type nameOp struct {
	name string
	node *inode // nil: removed
}

func newMemFS() *memFS {
	return &memFS{names: map[string]*inode{}, kept: map[string]*inode{}, locked: map[string]bool{}}
}

// step counts a call and says whether it is the one to fail.
func (m *memFS) step(call string) bool {
	if m.only != "" && m.only != call {
		return false
	}
	m.calls++
	if m.calls != m.failAt {
		return false
	}
	m.fired = call
	if m.kind == halt {
		m.halted()
		return false
	}
	return true
}

// powerCut gives what a machine finds after the current was cut: all that was
// synced, and of the rest whatever the dice say.
func (m *memFS) powerCut(r *rand.Rand) *memFS {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.cutNow(r)
}

// cutNow is powerCut for halted.
func (m *memFS) cutNow(r *rand.Rand) *memFS {
	next := newMemFS()
	names := map[string]*inode{}
	for k, v := range m.kept {
		names[k] = v
	}
	for _, op := range m.ops[:r.IntN(len(m.ops)+1)] {
		if op.node == nil {
			delete(names, op.name)
		} else {
			names[op.name] = op.node
		}
	}
	for name, n := range names {
		data := slices.Clone(n.synced)
		odds := r.IntN(4)
		for _, c := range n.pending {
			if r.IntN(3) >= odds {
				continue
			}
			data = c.apply(data)
		}
		node := &inode{data: data, synced: slices.Clone(data)}
		next.names[name], next.kept[name] = node, node
	}
	return next
}

func (c change) apply(data []byte) []byte {
	if c.p == nil {
		if int64(len(data)) > c.off {
			return data[:c.off]
		}
		return append(data, make([]byte, c.off-int64(len(data)))...)
	}
	if end := c.off + int64(len(c.p)); int64(len(data)) < end {
		data = append(data, make([]byte, end-int64(len(data)))...)
	}
	copy(data[c.off:], c.p)
	return data
}

func (m *memFS) MkdirAll(string) error { return nil }

func (m *memFS) List(string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []string
	for name := range m.names {
		out = append(out, filepath.Base(name))
	}
	return out, nil
}

func (m *memFS) handle(n *inode, name string) File {
	m.handles++
	m.most = max(m.most, m.handles)
	return &memFile{fs: m, node: n, name: name}
}

func (m *memFS) Open(name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.names[name]
	if n == nil {
		return nil, fs.ErrNotExist
	}
	return m.handle(n, name), nil
}

func (m *memFS) Edit(name string) (File, error) { return m.Open(name) }

func (m *memFS) Create(name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.names[name] != nil {
		return nil, fs.ErrExist
	}
	fail := m.step("create")
	if fail && m.kind == failClean {
		return nil, errDisk
	}
	n := &inode{}
	m.names[name] = n
	m.ops = append(m.ops, nameOp{name, n})
	if fail {
		return nil, errDisk
	}
	return m.handle(n, name), nil
}

func (m *memFS) Rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	fail := m.step("rename")
	if fail && m.kind == failClean {
		return errDisk
	}
	n := m.names[from]
	if n == nil {
		return fs.ErrNotExist
	}
	delete(m.names, from)
	m.names[to] = n
	m.ops = append(m.ops, nameOp{from, nil}, nameOp{to, n})
	if fail {
		return errDisk
	}
	return nil
}

func (m *memFS) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	fail := m.step("remove")
	if fail && m.kind == failClean {
		return errDisk
	}
	if m.names[name] == nil {
		return fs.ErrNotExist
	}
	delete(m.names, name)
	m.ops = append(m.ops, nameOp{name, nil})
	if fail {
		return errDisk
	}
	return nil
}

func (m *memFS) SyncDir(string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.step("syncdir") {
		return errDisk
	}
	if m.lying {
		return nil
	}
	m.kept = map[string]*inode{}
	for k, v := range m.names {
		m.kept[k] = v
	}
	m.ops = nil
	return nil
}

type unlock func()

func (u unlock) Close() error { u(); return nil }

func (m *memFS) Lock(name string) (io.Closer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.locked[name] {
		return nil, ErrInUse
	}
	m.locked[name] = true
	return unlock(func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.locked, name)
	}), nil
}

type memFile struct {
	fs   *memFS
	node *inode
	name string
}

func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if off >= int64(len(f.node.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.node.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	var err error
	if f.fs.step("write") {
		if err = errDisk; f.fs.kind == failClean {
			return 0, err
		}
		p = p[:len(p)/2]
	}
	f.node.data = change{off, p}.apply(f.node.data)
	for i := 0; i < len(p); i += block { // a disk keeps blocks, not writes
		part := p[i:min(i+block, len(p))]
		f.node.pending = append(f.node.pending, change{off + int64(i), slices.Clone(part)})
	}
	return len(p), err
}

func (f *memFile) Truncate(size int64) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.fs.step("truncate") {
		return errDisk
	}
	c := change{off: size}
	f.node.data = c.apply(f.node.data)
	f.node.pending = append(f.node.pending, c)
	return nil
}

func (f *memFile) Sync() error {
	if f.fs.onSync != nil {
		f.fs.onSync(f.name)
	}
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	f.fs.syncs++
	if f.fs.step("sync") {
		f.node.pending = nil
		return errDisk
	}
	if f.fs.lying {
		return nil
	}
	for _, c := range f.node.pending {
		f.node.synced = c.apply(f.node.synced)
	}
	f.node.pending = nil
	return nil
}

func (f *memFile) Size() (int64, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return int64(len(f.node.data)), nil
}

func (f *memFile) Close() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	f.fs.handles--
	return nil
}
