package statuspage

import (
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
