package storetest

import (
	"errors"
	"fmt"
	"strings"

	"github.com/b2552be4/distributed"
)

// maxValue is what every store must take.
const maxValue = 96 << 10

func sizes(r *run) {
	a, b := r.open(), r.open()
	f := b.follow(r.prefix)
	f.awaitSteps(1)
	key := r.prefix + "document"
	at := int64(0)
	for i, size := range []int{1, 2, 1000, 7_999, 8_000, 32 << 10, maxValue - 1, maxValue, 1} {
		value := strings.Repeat(string(rune('a'+i)), size)
		at = a.put(key, value, at)
		b.requireThere(key, value, at)
	}
	text := `{"quoted": "\"'%s$1\\", "more": "äöü 世界 🙂` + "\t\r\n" + `"}`
	at = a.put(key, text, at)
	b.refused(key, []byte("x"), 0, text, at)
	r.sees(f, at)
}

func tooLarge(r *run) {
	if r.space.TooLarge == 0 {
		r.Skip("the store has no limit of its own to be tested")
	}
	a := r.open()
	key := r.prefix + "document"
	at := a.put(key, "small", 0)
	for _, rev := range []int64{0, at} {
		_, err := a.attempt(r.ctx, key, []byte(strings.Repeat("x", r.space.TooLarge)), rev)
		_, refused := errors.AsType[*distributed.ConflictError](err)
		r.require(err != nil, "a Put of %d bytes succeeded", r.space.TooLarge)
		r.require(rev != at || !refused, "a Put of %d bytes was refused as if the document were at another revision", r.space.TooLarge)
	}
	a.requireThere(key, "small", at)
	a.put(key, strings.Repeat("y", maxValue), at)
}

func keys(r *run) {
	a, b := r.open(), r.open()
	f := b.follow(r.prefix)
	f.awaitSteps(1)
	room := 700 - len(r.prefix)
	names := []string{
		"x", "X", " ", "a b", " a", "a ", "a/b", "a//b", "/", "//", ".", "..", "a.b", "*", ">", "a*", "%", "a%", "_", "?", "#", "a?b=c&d", "%2F", "a+b",
		`"`, `'`, "`", `\`, `\x00`, "$1", "{}", "[a]", "(", "é", "e\u0301", "ß", "ẞ", "世界", "🙂", "\u00a0", "\ufeff", "\ufffd", "\U0010ffff",
		"0", "00", "-", "--", "~", "|", ";", ":", ",", "<", "@", "!", "null",
		strings.Repeat("k", room), strings.Repeat("k", room-1), strings.Repeat("世", room/3),
	}
	for i, name := range names {
		a.put(r.prefix+name, fmt.Sprint(i), 0)
	}
	for i, name := range names {
		if i%2 == 0 {
			at := r.truth.revision(r.prefix + name)
			a.put(r.prefix+name, "changed", at)
			continue
		}
		a.delete(r.prefix+name, r.truth.revision(r.prefix+name))
	}
	end := a.mark(r.prefix)
	r.sees(f, end)
	r.sees(a.follow(r.prefix), end)
}

func ownMemory(r *run) {
	a, b := r.open(), r.open()
	f := b.follow(r.prefix)
	f.awaitSteps(1)
	value := []byte("first")
	at, err := a.write(r.prefix+"document", value, 0)
	r.require(err == nil, "Put returned %v", err)
	copy(value, "XXXXX") // the caller may use it again
	f.await(at)
	a.requireThere(r.prefix+"document", "first", at)
	r.sees(f, at)
}
