package configs

import (
	"slices"
	"strings"
)

// maxKey is the longest key that a fault shows.
const maxKey = 40

// isKey says that a text looks like the name of a key. Whatever else stands where a key belongs may be a piece of a secret:
// commas inside {} tear an unquoted hash into keys.
func isKey(s string) bool {
	return s != "" && len(s) <= maxKey && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789_-") == ""
}

// unknownKey tells of a key that is not known and shows it only where it cannot be a secret: below password: even a plain
// word may be the password itself.
func unknownKey(key string, known []string, secret bool) string {
	section, _, dotted := strings.Cut(key, ".")
	switch lower := strings.ToLower(key); {
	case secret:
		return "unknown key: " + suggest(key, known)
	case isKey(key):
		return "unknown key " + quote(key) + ": " + suggest(key, known)
	case slices.Contains(known, lower):
		return "unknown key: keys are in small letters: " + quote(lower)
	case dotted && slices.Contains(known, section):
		return "unknown key with a dot: write " + section + ": and the rest as a key below it"
	}
	return "a key that is no name (is a quote missing around a value with commas?)"
}

// suggest names the known word nearest to one that is not known, or all known words where none is near.
func suggest(word string, known []string) string {
	if best := nearest(word, known); best != "" {
		return "did you mean " + quote(best) + "?"
	}
	return "known: " + strings.Join(known, ", ")
}

// nearest is the known word (lower case) that a slip of the pen could have made into this one, or empty.
func nearest(word string, known []string) string {
	best, distance := "", len(word)/2+2
	for _, k := range known {
		if d := editDistance(strings.ToLower(word), k, distance); d < distance {
			best, distance = k, d
		}
	}
	return best
}

// editDistance counts inserted, dropped, changed and swapped characters. It stops at limit.
func editDistance(a, b string, limit int) int {
	if len(a) > 64 || len(b) > 64 || len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	var before, last []int
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, last, row = last, row, make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return min(row[len(b)], limit)
}
