package mime

import (
	"sync"
	"unicode"
	"unicode/utf8"

	// Bytes that are no UTF-8, and letters with their accents apart.
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/unicode/norm"
)

// Fold gives s in the form in which searches compare texts (RFC 5051,
// i;unicode-casemap): letters of both cases are the same, as are a letter with
// an accent in one character or in two, and a space that may not break. Bytes
// that are no UTF-8 are read as windows-1252.
func Fold(s string) string {
	return string(appendFold(make([]byte, 0, len(s)), s))
}

// appendFold is Fold behind dst. Pieces of a text may be folded one by one if
// they are cut beside a byte below 0x80.
func appendFold[T string | []byte](dst []byte, s T) []byte {
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if 'a' <= c && c <= 'z' {
				c -= 'a' - 'A'
			}
			dst = append(dst, c)
			i++
			continue
		}
		end := i + 1
		for end < len(s) && s[end] >= utf8.RuneSelf {
			end++
		}
		dst = foldRun(dst, []byte(s[i:end]))
		i = end
	}
	return dst
}

// foldRun folds characters beyond ASCII. What combines with the ASCII letter
// before them stands behind it either way.
func foldRun(dst, run []byte) []byte {
	// Nearly always these are single letters with an accent, or marks that word
	// processors write.
	known, start := foldTable(), len(dst)
	for rest := run; ; {
		if len(rest) == 0 {
			return dst
		}
		r, n := utf8.DecodeRune(rest)
		if r == utf8.RuneError && n == 1 {
			r = charmap.Windows1252.DecodeByte(rest[0])
		}
		i, ok := foldIndex(r)
		if !ok {
			break
		}
		dst = append(dst, known[i]...)
		rest = rest[n:]
	}
	return foldAny(dst[:start], run)
}

func foldAny(dst, run []byte) []byte {
	var space, space2 [96]byte
	title := space[:0]
	for len(run) > 0 {
		r, n := utf8.DecodeRune(run)
		if r == utf8.RuneError && n == 1 {
			r = charmap.Windows1252.DecodeByte(run[0])
		}
		title = utf8.AppendRune(title, unicode.ToTitle(r))
		run = run[n:]
	}
	for _, c := range norm.NFKD.Append(space2[:0], title...) {
		if 'a' <= c && c <= 'z' { // of a ligature
			c -= 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst
}

// The characters of the table: Latin ones, and general punctuation up to what
// combines with others.
const (
	latinFrom, latinTo = 0x80, 0x250
	marksFrom, marksTo = 0x2000, 0x20d0
)

func foldIndex(r rune) (int, bool) {
	switch {
	case latinFrom <= r && r < latinTo:
		return int(r - latinFrom), true
	case marksFrom <= r && r < marksTo:
		return int(r-marksFrom) + latinTo - latinFrom, true
	}
	return 0, false
}

// foldTable holds the folded form of each character that foldIndex knows. None
// of them begins with what combines, so that they may stand side by side.
var foldTable = sync.OnceValue(func() []string {
	var out []string
	for r := rune(latinFrom); r < latinTo; r++ {
		out = append(out, string(foldAny(nil, utf8.AppendRune(nil, r))))
	}
	for r := rune(marksFrom); r < marksTo; r++ {
		out = append(out, string(foldAny(nil, utf8.AppendRune(nil, r))))
	}
	return out
})
