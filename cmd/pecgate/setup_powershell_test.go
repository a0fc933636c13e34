package main

import (
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"pgregory.net/rapid"
)

// psCmdlets reads the table that was written from the documentation of the products.
func psCmdlets(t *testing.T) psTable {
	t.Helper()
	table := psTable{}
	for i, line := range strings.Split(strings.TrimSpace(string(readFile(t, "../../testdata/groupware/cmdlets.tsv"))), "\n") {
		cells := strings.Split(line, "\t")
		if len(cells) != 4 {
			t.Fatalf("cmdlets.tsv:%d has %d cells", i+1, len(cells))
		}
		if i == 0 {
			continue
		}
		if table[cells[0]] == nil {
			table[cells[0]] = map[string]psParameter{}
		}
		table[cells[0]][cells[1]] = psParameter{cells[2], cells[3]}
	}
	return table
}

// psScripts are the golden scripts, by name, with their product.
func psScripts(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("../../testdata/golden/setup/*.ps1")
	if err != nil || len(files) < 8 {
		t.Fatalf("%d scripts, %v", len(files), err)
	}
	out := map[string]string{}
	for _, f := range files {
		out[filepath.Base(f)] = string(readFile(t, f))
	}
	return out
}

func psProduct(name string) string {
	product, _, _ := strings.Cut(name, "-")
	return product
}

// Every printed script is read by a strict reader of PowerShell: strings, tables, brackets, and each cmdlet and parameter is
// one that the product has, by its documentation. No line of the table is unused.
func TestSetupPowerShellParses(t *testing.T) {
	table, all := psCmdlets(t), map[string]bool{}
	for name, src := range psScripts(t) {
		used, err := readPowerShell(src, psProduct(name), table)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		maps.Copy(all, used)
	}
	for cmdlet := range table {
		if !all[cmdlet] {
			t.Errorf("%s is in the table and nowhere printed", cmdlet)
		}
	}
}

// A fault that is planted into a script is found, wherever it stands.
func TestSetupPowerShellFaults(t *testing.T) {
	table := psCmdlets(t)
	planted, seen := 0, map[string]bool{}
	for name, src := range psScripts(t) {
		lines := strings.Split(src, "\n")
		tokens, err := psTokens(src)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		find := func(what, mutated string, line int) {
			planted++
			if _, err := readPowerShell(mutated, psProduct(name), table); err == nil {
				t.Errorf("%s:%d: %s was not found", name, line, what)
			}
		}
		splatted := psSplatted(src)
		inTable := ""
		for i, k := range tokens {
			cut := func(at, n int, in string) string { return src[:at] + in + src[at+n:] }
			text := psProduct(name) + lines[k.line-1] // the same line of another script is as well seen there
			first := !seen[text]
			if k.kind == "newline" {
				seen[text] = true
			}
			switch {
			case !first:
			case k.kind == "string":
				end := k.pos + len("'"+strings.ReplaceAll(k.text, "'", "''")+"'")
				find("a missing quote", cut(k.pos, 1, ""), k.line)
				find("a missing quote at the end", cut(end-1, 1, ""), k.line)
				find("a quote in a value", cut(k.pos+1, 0, "x'"), k.line)
				find("a quote with a command behind it", cut(k.pos+1, 0, "'; Remove-Mailbox -Identity '"), k.line)
				find("a typographic quote in a value", cut(k.pos+1, 0, "x\u2019"), k.line)
			case k.kind == "expandable":
				find("a missing double quote", cut(k.pos, 1, ""), k.line)
			case k.kind == "param":
				find("an unknown parameter", cut(k.pos, 1+len(k.text), "-"+k.text+"x"), k.line)
			case k.kind == "punct" && strings.ContainsAny(k.text, "{}()[]"):
				find("an unbalanced bracket", cut(k.pos, len(k.text), ""), k.line)
				find("a bracket too many", cut(k.pos, len(k.text), k.text+k.text), k.line)
			case k.kind == "word" && strings.Contains(k.text, "-"):
				find("an unknown cmdlet", cut(k.pos, len(k.text), k.text+"s"), k.line)
			case k.kind == "var" && !(i+1 < len(tokens) && (tokens[i+1].text == "=" || tokens[i+1].text == "+=")) && k.text != "_" && !strings.Contains(k.text, "script:"):
				find("an unknown variable", cut(k.pos, 1+len(k.text), "$"+k.text+"Zz"), k.line)
			}
			// Keys of the tables that become parameters.
			if k.text == "@{" && i > 1 {
				inTable = tokens[i-2].text
			} else if k.text == "}" {
				inTable = ""
			}
			if first && k.kind == "word" && slices.Contains(splatted, inTable) && tokens[i+1].text == "=" {
				find("an unknown key", cut(k.pos, len(k.text), k.text+"x"), k.line)
			}
		}
		for _, x := range []string{"& calc", "iex $Name", "Get-Mailbox > out.txt", "$(", "'", "\"", "@'\nx", "<# x", "Remove-TransportRule -Identity", "if ($Name) {", "New-TransportRule -Name x"} {
			find("unknown text "+x, src+"\n"+x+"\n", 0)
		}
	}
	if planted < 1500 {
		t.Errorf("only %d faults planted", planted)
	}
}

// psSplatted are the variables whose keys become parameters.
func psSplatted(src string) []string {
	out := []string{"rule"} // through the function
	for _, m := range regexp.MustCompile(`@([a-z]+)\n`).FindAllStringSubmatch(src, -1) {
		out = append(out, m[1])
	}
	return out
}

// What the reader knows besides what is printed today.
func TestSetupPowerShellReader(t *testing.T) {
	table := psCmdlets(t)
	for src, good := range map[string]bool{
		"$a = @'\nx ' y\n'@\n":                          true,
		"$a = @\"\nx $true\n\"@\n":                      true,
		"<# a\n b #>\n$a = 1\n":                         true,
		"Write-Host `\n    'x'\n":                       true,
		"Get-SendConnector | ForEach-Object { $_ }\n":   true,
		"$a = ('x' + [char]0x2019 + 'y')\n":             true,
		"Remove-SendConnector -Identity 'x' -Confirm:1": false,
		"New-SendConnector -Name 'x' -Port 'x'\n":       false,
		"New-SendConnector -Name 'x' -RequireTLS 1\n":   false,
		"New-SendConnector -Name 'x' 'y'\n":             false,
		"New-SendConnector -Name 'x' -TlsAuthLevel No":  false,
		"New-OutboundConnector -Name 'x'\n":             false, // not on premises
		"$a = @{ b = 1; b = 2 }\n":                      false,
		"$a = @{ b = c }\n":                             false,
		"$a = 'x\ny'\n":                                 false,
		"Write-Host \u2018x\u2019\n":                    false,
	} {
		if _, err := readPowerShell(src, "exchange", table); (err == nil) != good {
			t.Errorf("%q: %v", src, err)
		}
	}
}

// psQuote writes every string as an expression of PowerShell that has exactly that value, in ASCII.
func TestSetupPowerShellQuote(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parts := []*rapid.Generator[string]{rapid.String(), rapid.SampledFrom([]string{"'", "''", "\u2019", "\u2018", "\u201b", "$(x)", "`", "\"", "'; Remove-Mailbox '", "\n", "\U0001f4e7", "@'", "#"})}
		s := strings.ToValidUTF8(strings.Join(rapid.SliceOfN(rapid.OneOf(parts...), 0, 6).Draw(t, "parts"), ""), "?")
		quoted := psQuote(s)
		if got, err := psEvaluate(quoted); err != nil || got != s {
			t.Fatalf("%q is written as %s, which is %q, %v", s, quoted, got, err)
		}
	})
}

// psEvaluate is the value of what psQuote writes.
func psEvaluate(src string) (string, error) {
	tokens, err := psTokens(src)
	if err != nil {
		return "", err
	}
	var units []uint16
	for i, k := range tokens {
		switch {
		case k.kind == "string":
			for _, r := range k.text {
				if r > '~' || r < ' ' {
					return "", fmt.Errorf("%q is not ASCII", r)
				}
				units = append(units, uint16(r))
			}
		case k.kind == "number" && tokens[i-1].text == "[char]":
			var n uint16
			if _, err := fmt.Sscanf(k.text, "0x%x", &n); err != nil {
				return "", err
			}
			units = append(units, n)
		case k.kind == "type" && k.text == "[char]" && i > 1, k.kind == "punct" && strings.Contains("(+)", k.text):
		default:
			return "", fmt.Errorf("%q", k.text)
		}
	}
	return string(utf16.Decode(units)), nil
}
