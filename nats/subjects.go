package nats

import (
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"strings"
)

// subject returns the subject of a document: the name of the stream, two digits by
// which a listing is parted if it is long, and the parts of the key, each of
// letters, digits, "-" and "_". Other bytes are "=" and two digits, and an empty part is
// "=".
func (c *Config) subject(key string) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(key)) // never fails
	parts := strings.Split(key, "/")
	for i, p := range parts {
		parts[i] = escape(p)
	}
	sum := h.Sum32()
	return fmt.Sprintf("%s.%x.%x.%s", c.Stream, sum%16, sum/16%16, strings.Join(parts, "."))
}

// key returns the key of the document of a subject, unless it is a stranger's.
func (c *Config) key(subject string) (key string, ok bool) {
	rest, ok := strings.CutPrefix(subject, c.Stream+".")
	if !ok || len(rest) < 5 {
		return "", false
	}
	parts := strings.Split(rest[4:], ".")
	for i, p := range parts {
		parts[i] = unescape(p)
	}
	key = strings.Join(parts, "/")
	return key, c.subject(key) == subject
}

// filter returns what all subjects of documents match whose keys begin with prefix,
// and which have those digits.
func (c *Config) filter(prefix, first, second string) string {
	parts := strings.Split(prefix, "/")
	for i, p := range parts {
		parts[i] = escape(p)
	}
	parts[len(parts)-1] = ">"
	return c.Stream + "." + first + "." + second + "." + strings.Join(parts, ".")
}

// first is the subject of the first message.
func (c *Config) first() string { return c.Stream + ".first" }

func escape(part string) string {
	if part == "" {
		return "="
	}
	var b strings.Builder
	for i := range len(part) {
		if c := part[i]; c == '-' || c == '_' || '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "=%02x", c)
		}
	}
	return b.String()
}

// unescape returns anything for what escape has not made.
func unescape(part string) string {
	pieces := strings.Split(part, "=")
	for i, p := range pieces[1:] {
		if len(p) >= 2 {
			b, _ := hex.DecodeString(p[:2])
			pieces[i+1] = string(b) + p[2:]
		}
	}
	return strings.Join(pieces, "")
}
