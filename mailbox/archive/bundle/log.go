package bundle

import (
	"fmt"
	"strings"

	"pecgate/mailbox/audit"
)

// log adds the extract of the audit log: as JSON, and in pieces that openssl and a
// shell can check.
func (b *writer) log() error {
	files, err := logFiles(b.in.Proof, b.in.Growth, b.in.Public)
	if err != nil {
		return err
	}
	for _, f := range files {
		b.add(f.name, f.about, f.b)
	}
	return nil
}

type logFile struct {
	name, about string
	b           []byte
}

// logFiles are the members of the extract. They follow from the proofs alone, so a
// checker makes them anew.
func logFiles(p *audit.Proof, g *audit.Growth, public string) ([]logFile, error) {
	var files []logFile
	add := func(name, about string, b []byte) { files = append(files, logFile{name, about, b}) }
	proof, err := indent(p)
	if err != nil {
		return nil, err
	}
	growth, err := indent(g)
	if err != nil {
		return nil, err
	}
	add("audit/proof.json", "lines of the audit log, and that they stand in it", proof)
	add("audit/growth.json", "that the audit log only grew", growth)
	var ways strings.Builder
	for _, e := range p.Entries {
		leaf := "=" + e.Leaf.String()
		if e.Text != "" {
			leaf = fmt.Sprintf("audit/%06d.leaf", e.Number)
			add(leaf, fmt.Sprintf("line %d of the audit log, as it is hashed", e.Number), append(append([]byte{0}, e.Salt...), e.Text...))
		}
		fmt.Fprintf(&ways, "%d %s%s\n", e.Number, leaf, hashes(e.Path))
	}
	add("audit/inclusion.txt", "the way of each line to the root, for a shell", []byte(ways.String()))
	old, err := audit.OpenHead(g.Old, public)
	if err != nil {
		return nil, err
	}
	head, err := audit.OpenHead(g.New, public)
	if err != nil {
		return nil, err
	}
	add("audit/consistency.txt", "from the older head to the newer, for a shell", fmt.Appendf(nil, "%d %s %d %s%s\n", old.Size, old.Root, head.Size, head.Root, hashes(g.Path)))
	for _, h := range []struct{ name, note string }{{"old-head", g.Old}, {"head", g.New}} {
		text, sig, err := audit.HeadSignature(h.note, public)
		if err != nil {
			return nil, err
		}
		add("audit/"+h.name+".txt", "a signed head of the audit log", []byte(text))
		add("audit/"+h.name+".sig", "its signature", sig)
	}
	return files, nil
}

// hashes writes hashes, which print as base64, each behind a blank.
func hashes[H fmt.Stringer](list []H) string {
	var b strings.Builder
	for _, h := range list {
		b.WriteString(" " + h.String())
	}
	return b.String()
}
