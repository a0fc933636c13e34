package configs

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3" // see parse.go
)

// maxNodes bounds the work of one file, aliases counted each time they are used.
const maxNodes = 500_000

// decoder puts YAML nodes into a struct: strictly, collecting every fault. Paths look like mailboxes[1].smtp.port.
//
// Tags of a field: yaml (key), default (text), oneof (allowed words), secret (the command that makes the value: it is
// never quoted in a fault).
type decoder struct {
	file   string
	faults []Fault
	at     map[string]Position // every key that is written, with the position of its value
	values map[string]any      // every leaf that was good: its text, or []string
	bad    map[string]bool     // every path with a fault at it or inside it
	hollow map[string]bool     // every path where a struct belongs and something else stands
	nodes  int
}

func newDecoder(file string) *decoder {
	return &decoder{file: file, at: map[string]Position{}, values: map[string]any{}, bad: map[string]bool{}, hollow: map[string]bool{}}
}

var (
	durationType = reflect.TypeFor[time.Duration]()
	positionType = reflect.TypeFor[Position]()
	secretType   = reflect.TypeFor[Secret]()
	sealedType   = reflect.TypeFor[Sealed]()
	termType     = reflect.TypeFor[Term]()
	textType     = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// isLeaf says that a value is written as one scalar.
func isLeaf(t reflect.Type) bool {
	return t.Kind() != reflect.Struct && t.Kind() != reflect.Slice || reflect.PointerTo(t).Implements(textType)
}

func (d *decoder) fault(p Position, format string, args ...any) {
	d.faults = append(d.faults, Fault{p, fmt.Sprintf(format, args...)})
}

func (d *decoder) position(n *yaml.Node) Position { return Position{d.file, n.Line, n.Column} }

// where is the position of a key, or of the nearest thing around it that is written.
func (d *decoder) where(path string) Position {
	for {
		if p, ok := d.at[path]; ok {
			return p
		}
		cut := strings.LastIndexAny(path, ".[")
		if cut < 0 {
			break
		}
		path = path[:cut]
	}
	if p, ok := d.at[""]; ok {
		return p
	}
	return Position{d.file, 1, 1}
}

// written reports whether a key stands in the file.
func (d *decoder) written(path string) bool {
	_, ok := d.at[path]
	return ok
}

// refuse adds a fault at a path and marks it, so that no second fault follows from the first.
func (d *decoder) refuse(path, format string, args ...any) {
	d.fault(d.where(path), format, args...)
	d.mark(path)
}

func (d *decoder) mark(path string) {
	for !d.bad[path] {
		d.bad[path] = true
		cut := strings.LastIndexAny(path, ".[")
		if cut < 0 {
			return
		}
		path = path[:cut]
	}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// label is what a fault calls a path: the last key.
func label(path string) string { return path[strings.LastIndexByte(path, '.')+1:] }

// mapping decodes into a struct that has its defaults.
func (d *decoder) mapping(path string, n *yaml.Node, v reflect.Value) {
	n, ok := d.enter(path, n)
	if !ok {
		d.hollow[path] = true
		return
	}
	if n.Kind != yaml.MappingNode {
		what := "needs keys with values"
		switch v.Type() {
		case secretType:
			what = "a password in plain text is refused here: write {file: NAME} or {env: NAME}"
		case sealedType:
			what = "needs what `pecgate pin --totp USER` prints, {sealed: \"...\"}"
		}
		d.refuse(path, "%s", named(path, what))
		d.hollow[path] = true
		return
	}
	fields := map[string]int{}
	var known []string
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if f.Type == positionType {
			v.Field(i).Set(reflect.ValueOf(d.position(n)))
		}
		if key := f.Tag.Get("yaml"); key != "" && key != "-" {
			fields[key] = i
			known = append(known, key)
		}
	}
	first := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if d.nodes > maxNodes {
			return
		}
		before := len(d.faults)
		switch index, ok := fields[key.Value]; {
		case key.Kind != yaml.ScalarNode:
			d.fault(d.position(key), "a key must be a plain word")
		case first[key.Value] > 0 && isKey(key.Value):
			d.fault(d.position(key), "key %s is written twice, first at line %d", quote(key.Value), first[key.Value])
		case !ok && key.Value == "<<":
			d.fault(d.position(key), "merge keys (<<) are not supported: write the keys out")
		case !ok:
			d.fault(d.position(key), "%s", unknownKey(key.Value, known, v.Type() == secretType || v.Type() == sealedType))
		default:
			d.field(join(path, key.Value), value, v.Field(index), v.Type().Field(index).Tag)
		}
		if first[key.Value] == 0 {
			first[key.Value] = key.Line
		}
		if len(d.faults) > before {
			d.mark(path)
		}
	}
}

// enter notes the position of a value, follows an alias and refuses what is written without a value.
func (d *decoder) enter(path string, n *yaml.Node) (*yaml.Node, bool) {
	if d.nodes++; d.nodes > maxNodes {
		return n, false // the caller of the decoder reports it
	}
	d.at[path] = d.position(n)
	n = plainNode(n)
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" {
		d.refuse(path, "%s", named(path, "has no value: write one or take the key out"))
		return n, false
	}
	return n, true
}

// plainNode follows an alias.
func plainNode(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

func named(path, what string) string {
	if path == "" {
		return "the file " + what
	}
	return label(path) + ": " + what
}

func (d *decoder) field(path string, n *yaml.Node, v reflect.Value, tag reflect.StructTag) {
	switch {
	case v.Type() == termType && plainNode(n).Kind == yaml.MappingNode:
		d.mapping(path, n, v)
	case isLeaf(v.Type()):
		d.leaf(path, n, v, tag)
	case v.Kind() == reflect.Struct:
		d.mapping(path, n, v)
	default:
		d.list(path, n, v, tag)
	}
}

func (d *decoder) list(path string, n *yaml.Node, v reflect.Value, tag reflect.StructTag) {
	n, ok := d.enter(path, n)
	if !ok {
		return
	}
	if n.Kind != yaml.SequenceNode {
		d.refuse(path, "%s", named(path, "needs a list"))
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), 0, min(len(n.Content), 1024)))
	texts := make([]string, 0, len(n.Content))
	good := len(d.faults)
	for i, item := range n.Content {
		if d.nodes > maxNodes {
			return
		}
		p := path + "[" + strconv.Itoa(i) + "]"
		e := reflect.New(v.Type().Elem()).Elem()
		if e.Kind() == reflect.Struct {
			d.defaults(e)
		}
		d.field(p, item, e, tag)
		// A faulty item stays in the list, so that indexes fit positions.
		v.Set(reflect.Append(v, e))
		if t, ok := d.values[p].(string); ok {
			texts = append(texts, t)
			delete(d.values, p)
		}
	}
	if len(d.faults) == good && isLeaf(v.Type().Elem()) {
		d.values[path] = texts
	}
}

func (d *decoder) leaf(path string, n *yaml.Node, v reflect.Value, tag reflect.StructTag) {
	n, ok := d.enter(path, n)
	if !ok {
		return
	}
	if n.Kind != yaml.ScalarNode {
		d.refuse(path, "%s", named(path, "needs one value, not a list or keys"))
		return
	}
	err := scalarFits(n, v.Type())
	if err == nil {
		err = setText(v, tag, n.Value)
	}
	if err != nil {
		what := err.Error()
		if command := tag.Get("secret"); command != "" {
			what = "needs what `" + command + "` prints, not the plain text"
		} else if n.Value != "" {
			what += ", not " + quote(n.Value)
		}
		d.refuse(path, "%s", named(path, what))
		return
	}
	d.values[path] = n.Value
}

// scalarFits checks how a scalar is written. The text itself is read by setText, so that no number is ever taken as
// octal and no word as a truth value.
func scalarFits(n *yaml.Node, t reflect.Type) error {
	tag := n.ShortTag()
	switch {
	case n.Style&yaml.TaggedStyle != 0:
		return errors.New("needs a value without a tag")
	case n.Value == "":
		return errors.New("needs a value that is not empty")
	case t.Kind() == reflect.Bool && tag != "!!bool":
		return errors.New("needs true or false without quotes")
	case t.Kind() == reflect.Int && tag != "!!int":
		return errors.New("needs a whole number in plain digits")
	case t.Kind() == reflect.String && tag == "!!bool":
		return errors.New("needs text: quote it")
	}
	return nil
}

// setText is the one reader of values: for files, defaults and the environment.
func setText(v reflect.Value, tag reflect.StructTag, text string) error {
	switch {
	case v.Type() == durationType:
		t, err := parseDuration(text)
		if err != nil {
			return err
		}
		v.SetInt(int64(t))
	case v.Addr().Type().Implements(textType):
		return v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(text))
	case v.Kind() == reflect.String:
		if words := tag.Get("oneof"); words != "" && !slices.Contains(strings.Split(words, ","), text) {
			return errors.New("needs " + either(strings.Split(words, ",")))
		}
		if strings.ContainsAny(text, "\r\n\t") {
			return errors.New("needs text on one line")
		}
		v.SetString(text)
	case v.Kind() == reflect.Bool:
		if text != "true" && text != "false" {
			return errors.New("needs true or false")
		}
		v.SetBool(text == "true")
	case v.Kind() == reflect.Int:
		i, err := wholeNumber(text)
		if err != nil || i > 1<<31-1 {
			return errors.New("needs a whole number in plain digits")
		}
		v.SetInt(i)
	default:
		return fmt.Errorf("has a type this reader does not know: %s", v.Type())
	}
	return nil
}

// setList reads a list from text, separated by commas.
func setList(v reflect.Value, tag reflect.StructTag, text string) error {
	v.Set(reflect.MakeSlice(v.Type(), 0, 4))
	for _, item := range splitList(text) {
		e := reflect.New(v.Type().Elem()).Elem()
		if err := setText(e, tag, item); err != nil {
			return err
		}
		v.Set(reflect.Append(v, e))
	}
	return nil
}

func splitList(text string) []string {
	out := []string{}
	for _, item := range strings.Split(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			out = append(out, item)
		}
	}
	return out
}

// defaults fills an item of a list. A default that cannot be read is a fault of this program, shown as one.
func (d *decoder) defaults(v reflect.Value) {
	if err := setDefaults(v); err != nil {
		d.fault(Position{File: d.file}, "%v", err)
	}
}

// setDefaults fills a struct from its default tags. Items of lists get theirs when they are read.
func setDefaults(v reflect.Value) error {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if f.Tag.Get("yaml") == "" || f.Tag.Get("yaml") == "-" {
			continue
		}
		text, ok := f.Tag.Lookup("default")
		var err error
		switch {
		case v.Field(i).Kind() == reflect.Struct && !isLeaf(f.Type):
			err = setDefaults(v.Field(i))
		case ok && v.Field(i).Kind() == reflect.Slice:
			err = setList(v.Field(i), f.Tag, text)
		case ok:
			err = setText(v.Field(i), f.Tag, text)
		}
		if err != nil {
			return fmt.Errorf("default of %s: %w", f.Name, err)
		}
	}
	return nil
}

func either(words []string) string {
	if len(words) == 1 {
		return words[0]
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}
