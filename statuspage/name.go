package statuspage

import (
	"cmp"
	"strings"
	"unicode/utf8"
)

// name is what a job or a node is called, cut in two. Where there is no room for all
// of it, the end of the head is left out: names in a list most often begin alike.
type name struct{ Head, Tail string }

const (
	shortName = 6  // bytes of a name that is not cut
	shortTail = 8  // of a tail that is no part of a path
	longTail  = 16 // of one that is
)

// cut is done in the same way by page.js.
func cut(s string) name {
	if len(s) <= shortName {
		return name{Head: s}
	}
	at := strings.LastIndexAny(s, "/-")
	if tail := len(s) - at; at < 0 || tail < 2 || tail > longTail {
		at = len(s) - min(shortTail, len(s)/2)
	}
	for !utf8.RuneStart(s[at]) {
		at--
	}
	return name{Head: s[:at], Tail: s[at:]}
}

// natural compares names so that node-10 comes after node-9.
func natural(a, b string) int {
	for a != "" && b != "" {
		x, y := digits(a), digits(b)
		if x == 0 || y == 0 {
			if a[0] != b[0] {
				return cmp.Compare(a[0], b[0])
			}
			a, b = a[1:], b[1:]
			continue
		}
		m, n := strings.TrimLeft(a[:x], "0"), strings.TrimLeft(b[:y], "0")
		if c := cmp.Or(cmp.Compare(len(m), len(n)), strings.Compare(m, n)); c != 0 {
			return c
		}
		a, b = a[x:], b[y:]
	}
	return cmp.Compare(len(a), len(b))
}

// digits returns how many digits s begins with.
func digits(s string) int {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return i
		}
	}
	return len(s)
}
