package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// psTable says of cmdlets which parameters they have, with their type and the products where they are.
type psTable map[string]map[string]psParameter

type psParameter struct{ kind, products string }

// psReader reads a script by the grammar that setup uses and holds each cmdlet, parameter and value against the table.
type psReader struct {
	table   psTable
	product string // exchange or m365
	tokens  []psToken
	at      int

	known     map[string]bool               // variables that have a value
	functions map[string][]string           // parameters of the script's own
	tables    map[string]map[string]psValue // keys of the hash tables that a variable holds
	splats    []psSplat
	used      map[string]bool // cmdlets, and cmdlet -parameter
}

type psValue struct {
	kind, text string // of a literal; kind is empty for an expression
	line       int
}

type psSplat struct {
	command, variable string
	line              int
}

// readPowerShell returns what a script uses, or its first fault.
func readPowerShell(src, product string, table psTable) (used map[string]bool, err error) {
	r := &psReader{table: table, product: product, known: map[string]bool{}, functions: map[string][]string{}, tables: map[string]map[string]psValue{}, used: map[string]bool{}}
	if r.tokens, err = psTokens(src); err != nil {
		return nil, err
	}
	for _, v := range []string{"_", "true", "false", "null", "env:COMPUTERNAME"} {
		r.known[v] = true
	}
	defer func() {
		if f, ok := recover().(psFault); ok {
			used, err = nil, f
		}
	}()
	r.block("")
	for _, s := range r.splats {
		keys, ok := r.tables[s.variable]
		if !ok {
			panic(psFault{s.line, "@" + s.variable + " is no table"})
		}
		for key, v := range keys {
			r.parameter(s.command, key, v)
		}
	}
	return r.used, nil
}

func (r *psReader) fail(format string, args ...any) {
	line := 0
	if r.at < len(r.tokens) {
		line = r.tokens[r.at].line
	}
	panic(psFault{line, fmt.Sprintf(format, args...)})
}

func (r *psReader) peek() psToken {
	if r.at < len(r.tokens) {
		return r.tokens[r.at]
	}
	return psToken{kind: "end"}
}

func (r *psReader) is(kind, text string) bool {
	t := r.peek()
	return t.kind == kind && t.text == text
}

func (r *psReader) take(kind, text string) {
	if !r.is(kind, text) {
		r.fail("%q stands where %q has to", r.peek().text, text)
	}
	r.at++
}

func (r *psReader) lines() {
	for r.peek().kind == "newline" || r.is("punct", ";") {
		r.at++
	}
}

// block reads statements up to a closing bracket, or to the end.
func (r *psReader) block(end string) {
	for r.lines(); ; r.lines() {
		if r.peek().kind == "end" {
			if end != "" {
				r.fail("%q is missing at the end", end)
			}
			return
		}
		if end != "" && r.is("punct", end) {
			r.at++
			return
		}
		r.statement()
		if t := r.peek(); t.kind != "newline" && t.kind != "end" && !(t.kind == "punct" && (t.text == ";" || t.text == end && end != "")) {
			r.fail("%q follows a statement", t.text)
		}
	}
}

func (r *psReader) braces() {
	r.take("punct", "{")
	r.block("}")
}

func (r *psReader) statement() {
	t := r.peek()
	if t.kind == "word" {
		switch t.text {
		case "if":
			r.at++
			r.condition()
			for r.is("word", "elseif") {
				r.at++
				r.condition()
			}
			if r.is("word", "else") {
				r.at++
				r.braces()
			}
			return
		case "foreach":
			r.at++
			r.take("punct", "(")
			r.known[r.variable()] = true
			r.take("word", "in")
			r.pipeline()
			r.take("punct", ")")
			r.braces()
			return
		case "function":
			r.function()
			return
		case "throw":
			r.at++
			r.expression()
			return
		}
	}
	if t.kind == "var" && r.at+1 < len(r.tokens) && r.tokens[r.at+1].kind == "punct" && (r.tokens[r.at+1].text == "=" || r.tokens[r.at+1].text == "+=") {
		name := r.variable()
		if r.is("punct", "+=") && !strings.HasPrefix(name, "script:") {
			r.read(name)
		}
		r.at++
		if r.is("punct", "@{") {
			r.keep(name, r.hash())
		} else {
			r.pipeline()
		}
		r.known[name] = true
		return
	}
	r.pipeline()
}

func (r *psReader) condition() {
	r.take("punct", "(")
	r.pipeline()
	r.take("punct", ")")
	r.braces()
}

func (r *psReader) function() {
	r.at++
	name := r.peek()
	if name.kind != "word" {
		r.fail("a function has no name")
	}
	r.at++
	r.take("punct", "{")
	r.lines()
	r.take("word", "param")
	r.take("punct", "(")
	var params []string
	for {
		if r.peek().kind != "type" {
			r.fail("a parameter has no type")
		}
		r.at++
		v := r.variable()
		r.known[v] = true
		params = append(params, v)
		if !r.is("punct", ",") {
			break
		}
		r.at++
	}
	r.take("punct", ")")
	r.functions[name.text] = params
	r.block("}")
}

func (r *psReader) variable() string {
	t := r.peek()
	if t.kind != "var" {
		r.fail("%q is no variable", t.text)
	}
	r.at++
	return t.text
}

func (r *psReader) read(name string) {
	if !r.known[name] {
		r.fail("$%s has no value", name)
	}
}

// keep adds the keys of a table to those of a variable: it may hold several in turn.
func (r *psReader) keep(name string, keys map[string]psValue) {
	if r.tables[name] == nil {
		r.tables[name] = map[string]psValue{}
	}
	for k, v := range keys {
		r.tables[name][k] = v
	}
}

func (r *psReader) pipeline() {
	for {
		if r.peek().kind == "word" {
			r.command()
		} else {
			r.expression()
		}
		if !r.is("punct", "|") {
			return
		}
		r.at++
	}
}

// command reads a cmdlet or a function of the script with its parameters.
func (r *psReader) command() {
	name := r.peek().text
	own, isOwn := r.functions[name]
	params, isCmdlet := r.table[name]
	if !isOwn && !isCmdlet {
		r.fail("there is no cmdlet %s", name)
	}
	r.used[name] = true
	r.at++
	positional := 0
	for {
		t := r.peek()
		switch {
		case t.kind == "splat":
			r.splats = append(r.splats, psSplat{name, t.text, t.line})
			r.at++
		case t.kind == "param" && isOwn:
			if !slices.Contains(own, t.text) {
				r.fail("%s has no parameter -%s", name, t.text)
			}
			r.at++
			if v := r.peek(); v.kind == "var" && r.tables[v.text] != nil {
				r.keep(t.text, r.tables[v.text])
			}
			r.argument()
		case t.kind == "param":
			p, ok := params[t.text]
			if !ok {
				r.fail("%s has no parameter -%s", name, t.text)
			}
			r.at++
			if p.kind == "SwitchParameter" {
				if t.colon && !slices.Contains([]string{"true", "false"}, r.variable()) {
					r.fail("-%s: takes $true or $false", t.text)
				}
				r.parameter(name, t.text, psValue{"var", "true", t.line})
				continue
			}
			r.parameter(name, t.text, r.argument())
		case t.kind == "newline", t.kind == "end", t.kind == "punct" && strings.Contains("|;)}", t.text):
			return
		default:
			if positional++; positional > 1 || !slices.Contains([]string{"Where-Object", "ForEach-Object", "Write-Host", "Write-Warning"}, name) {
				r.fail("%s: %q stands where a parameter has to", name, t.text)
			}
			r.argument()
		}
	}
}

// argument is the value of a parameter: a word, or an expression without operators.
func (r *psReader) argument() psValue {
	if t := r.peek(); t.kind == "word" {
		r.at++
		return psValue{"word", t.text, t.line}
	}
	return r.postfix()
}

func (r *psReader) expression() psValue {
	for r.is("operator", "not") {
		r.at++
	}
	v := r.postfix()
	for {
		t := r.peek()
		if !(t.kind == "operator" && t.text != "not") && !(t.kind == "punct" && (t.text == "+" || t.text == ",")) {
			return v
		}
		r.at++
		for r.is("operator", "not") {
			r.at++
		}
		r.postfix()
		v = psValue{line: t.line}
	}
}

// postfix is a value with its members and indexes.
func (r *psReader) postfix() psValue {
	v := r.primary()
	for {
		t := r.peek()
		switch {
		case t.kind == "punct" && t.text == "." && t.tight:
			r.at++
			if r.peek().kind != "word" {
				r.fail("a member has no name")
			}
			r.at++
			if n := r.peek(); n.kind == "punct" && n.text == "(" && n.tight {
				r.at++
				r.expression()
				r.take("punct", ")")
			}
		case t.kind == "punct" && t.text == "[" && t.tight:
			r.at++
			r.expression()
			r.take("punct", "]")
		default:
			return v
		}
		v = psValue{line: t.line}
	}
}

func (r *psReader) primary() psValue {
	t := r.peek()
	switch {
	case t.kind == "string", t.kind == "number":
		r.at++
		return psValue{t.kind, t.text, t.line}
	case t.kind == "expandable":
		for _, name := range psInside(t.text) {
			r.read(name)
		}
		r.at++
		return psValue{line: t.line}
	case t.kind == "var":
		r.read(t.text)
		r.at++
		if slices.Contains([]string{"true", "false", "null"}, t.text) {
			return psValue{"var", t.text, t.line}
		}
	case t.kind == "type":
		r.at++
		if n := r.peek(); n.kind == "number" || n.kind == "string" || n.kind == "var" { // a cast
			r.postfix()
		}
	case t.kind == "punct" && t.text == "(":
		r.at++
		r.pipeline()
		r.take("punct", ")")
	case t.kind == "punct" && t.text == "@(":
		r.at++
		r.block(")")
	case t.kind == "punct" && t.text == "@{":
		r.hash()
	case t.kind == "punct" && t.text == "{":
		r.braces()
	default:
		r.fail("%q is no value", t.text)
	}
	return psValue{line: t.line}
}

// hash reads a table and returns its keys.
func (r *psReader) hash() map[string]psValue {
	r.take("punct", "@{")
	keys := map[string]psValue{}
	for r.lines(); !r.is("punct", "}"); r.lines() {
		t := r.peek()
		if t.kind != "word" && t.kind != "string" && t.kind != "number" && !(t.kind == "punct" && t.text == "(") {
			r.fail("%q is no key of a table", t.text)
		}
		if t.kind == "punct" { // what it is, is known when it runs
			t.text = fmt.Sprint("at ", r.at)
			r.primary()
		} else {
			r.at++
		}
		if _, twice := keys[t.text]; twice {
			r.fail("%q stands twice in a table", t.text)
		}
		r.take("punct", "=")
		keys[t.text] = r.value()
		if n := r.peek(); n.kind != "newline" && !(n.kind == "punct" && (n.text == ";" || n.text == "}")) {
			r.fail("%q follows a value of a table", n.text)
		}
	}
	r.take("punct", "}")
	return keys
}

func (r *psReader) value() psValue {
	if t := r.peek(); t.kind == "word" {
		r.fail("%q stands without quotes", t.text)
	}
	return r.expression()
}

// parameter holds one parameter of a cmdlet against the table: that it has it on this product, and that a literal is of its type.
func (r *psReader) parameter(cmdlet, name string, v psValue) {
	fail := func(format string, args ...any) {
		panic(psFault{v.line, cmdlet + " -" + name + ": " + fmt.Sprintf(format, args...)})
	}
	p, ok := r.table[cmdlet][name]
	if !ok {
		fail("there is no such parameter")
	}
	if !strings.Contains(p.products, r.product) && p.products != "powershell" {
		fail("%s does not have it", r.product)
	}
	r.used[cmdlet+" -"+name] = true
	enum, isEnum := strings.CutPrefix(p.kind, "Enum ")
	switch {
	case v.kind == "":
	case isEnum:
		if v.kind != "string" && v.kind != "word" || !slices.Contains(strings.Split(enum, "|"), v.text) {
			fail("%q is none of %s", v.text, enum)
		}
	case p.kind == "Boolean" || p.kind == "SwitchParameter":
		if v.kind != "var" || v.text == "null" {
			fail("%q is not $true or $false", v.text)
		}
	case p.kind == "Int32" || p.kind == "SclValue":
		if v.kind != "number" {
			fail("%q is no number", v.text)
		}
	case name == "MaxMessageSize":
		if !regexp.MustCompile(`^[0-9]+(KB|MB|GB)$`).MatchString(v.text) {
			fail("%q is no size", v.text)
		}
	case v.kind != "string":
		fail("%q is no string", v.text)
	}
}
