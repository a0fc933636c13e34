package mime

import (
	"encoding/base64"
	"strings"
	"unicode/utf8"
)

const (
	maxColumns   = 76
	wordBegin    = "=?utf-8?B?"
	wordEnd      = "?="
	wordOverhead = len(wordBegin) + len(wordEnd)
	maxPlainWord = 60 // a longer one could not be folded
	maxPlainGap  = 8  // spaces in a row that stay outside encoded words
)

// encodeText writes text as an unstructured field value whose first line begins
// at the given column. Words of plain ASCII stay as they are; others become
// UTF-8 encoded words in base64 (RFC 2047), the spaces between two of them
// within. Lines are folded at 76 columns with eol; the value begins with a fold
// where the first line has no room. text is one line, UTF-8, trimmed.
func encodeText(column int, text, eol string) []byte {
	text = strings.ToValidUTF8(text, "\uFFFD")
	e := &textEncoder{eol: eol, col: column}
	pieces := splitPieces(text)
	for i := 0; i < len(pieces); {
		if !pieces[i].encode {
			e.plain(pieces[i].gap, pieces[i].word)
			i++
			continue
		}
		// Neighbours that need encoding become one text.
		gap := pieces[i].gap
		var joined strings.Builder
		joined.WriteString(pieces[i].word)
		for i++; i < len(pieces) && pieces[i].encode; i++ {
			joined.WriteString(pieces[i].gap)
			joined.WriteString(pieces[i].word)
		}
		e.words(gap, joined.String())
	}
	return e.out
}

// piece of text: a word with the white space before it.
type textPiece struct {
	gap, word string
	encode    bool
}

func splitPieces(text string) []textPiece {
	var list []textPiece
	for text != "" {
		word := strings.TrimLeft(text, " \t")
		gap := text[:len(text)-len(word)]
		end := strings.IndexAny(word, " \t")
		if end < 0 {
			end = len(word)
		}
		text = word[end:]
		list = append(list, textPiece{gap, word[:end], !plainWord(word[:end])})
		// A long gap would make long lines or lines of space: both neighbours are
		// encoded, and the gap between them.
		if n := len(list); n > 1 && len(gap) > maxPlainGap {
			list[n-1].encode, list[n-2].encode = true, true
		}
	}
	return list
}

func plainWord(w string) bool {
	if len(w) > maxPlainWord || strings.Contains(w, "=?") {
		return false // "=?" written plainly would be read as an encoded word
	}
	for i := 0; i < len(w); i++ {
		if w[i] <= ' ' || w[i] >= 0x7f {
			return false
		}
	}
	return true
}

type textEncoder struct {
	out []byte
	eol string
	col int
}

func (e *textEncoder) write(s string) {
	e.out = append(e.out, s...)
	e.col += len(s)
}

// gap writes white space, after a fold where n more bytes would not fit. The
// first word has its space already, unless a fold is needed.
func (e *textEncoder) gap(gap string, n int) {
	if e.col+len(gap)+n > maxColumns {
		if gap == "" {
			gap = " "
		}
		e.out = append(e.out, e.eol...)
		e.col = 0
	}
	e.write(gap)
}

func (e *textEncoder) plain(gap, word string) {
	e.gap(gap, len(word))
	e.write(word)
}

func (e *textEncoder) words(gap, text string) {
	e.gap(gap, wordOverhead+8) // room for one character at least
	for {
		n := fit(text, (maxColumns-1-e.col-wordOverhead)/4*3)
		e.write(wordBegin)
		e.write(base64.StdEncoding.EncodeToString([]byte(text[:n])))
		e.write(wordEnd)
		if text = text[n:]; text == "" {
			return
		}
		e.out = append(e.out, e.eol...)
		e.col = 0
		e.write(" ")
	}
}

// fit is how much of text, in whole characters, n bytes hold; at least one.
func fit(text string, n int) int {
	if len(text) <= n {
		return len(text)
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	if n <= 0 {
		_, n = utf8.DecodeRuneInString(text)
	}
	return n
}
