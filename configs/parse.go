package configs

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3" // YAML nodes: the only decoder that keeps line and column of every key
)

// parseYAML reads one document to its nodes. Aliases stay unexpanded, so no input grows here. The fault, if any, tells
// where the text stops being YAML; it never quotes the text.
func parseYAML(file string, b []byte) (*yaml.Node, *Fault) {
	if f := unreadable(file, b); f != nil {
		return nil, f
	}
	lines := &lineReader{rest: b}
	dec := yaml.NewDecoder(lines)
	var doc, more yaml.Node
	if err := dec.Decode(&doc); err != nil && !errors.Is(err, io.EOF) {
		return nil, syntaxFault(file, b, lines.read, err)
	}
	if len(doc.Content) == 0 || doc.Content[0].ShortTag() == "!!null" {
		return nil, &Fault{Position{file, 1, 1}, "the file is empty"}
	}
	switch err := dec.Decode(&more); {
	case err == nil:
		return nil, &Fault{Position{file, max(more.Line, 1), 1}, "a second document begins here: one file holds one document"}
	case !errors.Is(err, io.EOF):
		return nil, syntaxFault(file, b, lines.read, err)
	}
	return doc.Content[0], nil
}

// lineReader gives one line at each read and counts them, so that the line at which the reader stopped is known.
type lineReader struct {
	rest []byte
	read int
	cut  bool // the last read ended inside a line
}

func (l *lineReader) Read(p []byte) (int, error) {
	if len(l.rest) == 0 {
		return 0, io.EOF
	}
	if !l.cut {
		l.read++
	}
	n := len(l.rest)
	if i := bytes.IndexByte(l.rest, '\n'); i >= 0 {
		n = i + 1
	}
	l.cut = n > len(p)
	n = copy(p, l.rest[:n])
	l.rest = l.rest[n:]
	return n, nil
}

// unreadable finds what the YAML reader reports without a position: octets that are not UTF-8 text.
func unreadable(file string, b []byte) *Fault {
	line, column := 1, 1
	for i := 0; i < len(b); {
		r, size := utf8.DecodeRune(b[i:])
		switch {
		case r == utf8.RuneError && size <= 1:
			return &Fault{Position{file, line, column}, "this is not UTF-8 text"}
		case r < ' ' && r != '\t' && r != '\n' && r != '\r', r == 0x7f:
			return &Fault{Position{file, line, column}, "control characters are not allowed"}
		}
		i += size
		column++
		if r == '\n' {
			line, column = line+1, 1
		}
	}
	return nil
}

var (
	errLine   = regexp.MustCompile(`^yaml: line (\d+): `)
	errAnchor = regexp.MustCompile(`^yaml: unknown anchor '(.*)' referenced`)
)

// syntaxFault turns the reader's error into a position. Of a broken structure the reader tells where the structure began,
// which is of little help, so the line it had come to is taken. It leaves line 1 out, and it quotes only the names of
// anchors, which may be a password that begins with `*`.
func syntaxFault(file string, b []byte, read int, err error) *Fault {
	text, line := err.Error(), 1
	if m := errAnchor.FindStringSubmatch(text); m != nil {
		text = "an unquoted * begins the name of an anchor, and there is no such anchor: quote the value"
		if at := bytes.Index(b, []byte("*"+m[1])); at >= 0 {
			before := b[:at]
			line = bytes.Count(before, []byte("\n")) + 1
			return &Fault{Position{file, line, at - bytes.LastIndexByte(before, '\n')}, text}
		}
		return &Fault{Position{file, 1, 1}, text}
	}
	if m := errLine.FindStringSubmatch(text); m != nil {
		line, _ = strconv.Atoi(m[1])
		text = text[len(m[0]):]
	}
	text = strings.TrimPrefix(text, "yaml: ")
	if strings.HasPrefix(text, "did not find expected") || strings.Contains(text, "a tab character") {
		line = read
	}
	lines := bytes.Split(b, []byte("\n"))
	line = max(1, min(line, len(lines)))
	here := lines[line-1]
	column := len(here) - len(bytes.TrimLeft(here, " ")) + 1
	if strings.HasPrefix(string(here[column-1:]), "\t") {
		text = "a tab stands where blanks are needed"
	}
	return &Fault{Position{file, line, column}, "this is not YAML: " + text}
}
