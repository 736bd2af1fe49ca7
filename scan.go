package distributed

import (
	"bytes"
	"strconv"
	"unicode/utf8"
)

// scan reads a document of claims that is written just as this build writes it, some
// five times as fast as encoding/json, which reads all others: where many nodes start,
// nothing takes longer than to read what they claim. It reports whether it could; if so,
// the outcome is the same.
func (v *claimsValue) scan(b []byte) bool {
	s := scanner{rest: b, ok: true}
	s.skip(valueStart)
	s.rest = s.rest[min(len(s.rest), sumLength):]
	s.skip(valueMiddle)
	s.skip(`"ttl":`)
	v.TTL = s.integer()
	s.skip(`,"drift":`)
	v.Drift = s.fraction()
	s.skip(`,"seq":`)
	v.Seq = s.integer()
	s.skip(`,"made":`)
	v.Made = s.integer()
	s.skip(`,"guard":`)
	v.Guard = s.integer()
	if s.ok && s.try(`,"jobs":`) {
		v.Jobs = s.lines()
		s.skip(`,"numbers":`)
		v.Numbers = s.integers()
	}
	s.skip("}")
	if !s.ok || len(s.rest) > 0 {
		*v = claimsValue{}
		return false
	}
	return true
}

// scanner takes JSON apart, in the form in which it is written here. Once ok is false,
// what it returns means nothing.
type scanner struct {
	rest []byte
	ok   bool
}

func (s *scanner) skip(what string) { s.ok = s.try(what) && s.ok }

func (s *scanner) try(what string) (found bool) {
	s.rest, found = bytes.CutPrefix(s.rest, []byte(what))
	return found
}

// digits takes one or more.
func (s *scanner) digits() []byte {
	n := 0
	for n < len(s.rest) && '0' <= s.rest[n] && s.rest[n] <= '9' {
		n++
	}
	digits := s.rest[:n]
	s.rest = s.rest[n:]
	s.ok = s.ok && n > 0
	return digits
}

// whole takes the digits of a whole number.
func (s *scanner) whole() []byte {
	digits := s.digits()
	s.ok = s.ok && (len(digits) == 1 || digits[0] != '0')
	return digits
}

// integer takes a number from 0 on, which surely is an int64.
func (s *scanner) integer() (n int64) {
	digits := s.whole()
	s.ok = s.ok && len(digits) < 19
	for _, c := range digits {
		n = n*10 + int64(c-'0')
	}
	return n
}

// integers takes an array of them that is not empty.
func (s *scanner) integers() (all []int64) {
	s.skip("[")
	for more := s.ok; more; more = s.ok && s.try(",") {
		all = append(all, s.integer())
	}
	s.skip("]")
	return all
}

// fraction takes a number such as 0.02.
func (s *scanner) fraction() float64 {
	from := s.rest
	s.whole()
	if s.ok && s.try(".") {
		s.digits()
	}
	f, err := strconv.ParseFloat(string(from[:len(from)-len(s.rest)]), 64)
	s.ok = s.ok && err == nil
	return f
}

// lines takes a string in which nothing is escaped but the ends of lines.
func (s *scanner) lines() string {
	s.skip(`"`)
	end := max(0, bytes.IndexByte(s.rest, '"'))
	quoted := s.rest[:end]
	s.rest = s.rest[end:]
	s.skip(`"`)
	text := make([]byte, 0, len(quoted))
	for found := true; found; {
		var line []byte
		line, quoted, found = bytes.Cut(quoted, []byte{'\\'})
		text = append(text, line...)
		if found {
			quoted, found = bytes.CutPrefix(quoted, []byte{'n'})
			text = append(text, '\n')
			s.ok = s.ok && found
		}
	}
	s.ok = s.ok && utf8.Valid(text) && !bytes.ContainsFunc(text, func(r rune) bool { return r < ' ' && r != '\n' })
	return string(text)
}
