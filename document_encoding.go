package distributed

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// encode returns v as the value of the document called key. It fails if it is too
// long.
func (k keys) encode(key string, v value) ([]byte, error) {
	body, err := marshal(v)
	if err != nil {
		return nil, fmt.Errorf("distributed: encode %s: %w", key, err)
	}
	size := len(valueStart) + sumLength + len(valueMiddle) + len(body) - 1
	if limit := k.limit(key); size > limit {
		return nil, fmt.Errorf("distributed: document %s has %d bytes, at most %d are allowed", key, size, limit)
	}
	b := make([]byte, 0, size)
	b = append(b, valueStart...)
	b = append(b, k.sum(key, body[1:])...)
	b = append(b, valueMiddle...)
	return append(b, body[1:]...), nil
}

// limit is how long the document called key may be.
func (k keys) limit(key string) int {
	if strings.HasPrefix(key, k.saved("")) {
		return maxSavedDocument
	}
	return maxDocument
}

// decode reads the value of the document called key into v. It returns
// errUnreadable for what was not written as it is under that name, and an
// errVersion for what was written in another version of the format.
func (k keys) decode(key string, b []byte, v value) error {
	rest, ok := bytes.CutPrefix(b, []byte(valueStart))
	if !ok || len(rest) < sumLength+len(valueMiddle) || len(b) > k.limit(key) {
		return k.refuse(key, b)
	}
	sum, body := rest[:sumLength], rest[sumLength+len(valueMiddle):]
	if string(rest[sumLength:sumLength+len(valueMiddle)]) != valueMiddle || string(sum) != k.sum(key, body) {
		return k.refuse(key, b)
	}
	if err := json.Unmarshal(b, v); err != nil || !v.valid() {
		return errUnreadable
	}
	return nil
}

// refuse says what is wrong with a value.
func (k keys) refuse(key string, b []byte) error {
	var other struct {
		Version int `json:"v"`
	}
	if json.Unmarshal(b, &other) == nil && other.Version > formatVersion {
		return &versionError{key, other.Version}
	}
	return errUnreadable
}

const (
	valueStart  = `{"v":1,"sum":"`
	valueMiddle = `",`
	sumLength   = 16
)

// sum is over the name below the prefix and the rest of the value.
func (k keys) sum(key string, rest []byte) string {
	h := sha256.New()
	h.Write([]byte(strings.TrimPrefix(key, k.prefix)))
	h.Write([]byte{0})
	h.Write(rest)
	return hex.EncodeToString(h.Sum(nil)[:sumLength/2])
}

// marshal is json.Marshal without what makes HTML safe: a "<" would take six bytes.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte{'\n'}), nil
}

// errUnreadable says that a value is not one that a session has written.
var errUnreadable = errors.New("distributed: unreadable document")

// versionError says that a document is in a format that is not known here: what it
// claims cannot be known, so nothing may be led beside it.
type versionError struct {
	key     string
	version int
}

func (e *versionError) Error() string {
	return fmt.Sprintf("distributed: document %s has format version %d, this build knows %d: update this program before it takes part", e.key, e.version, formatVersion)
}
