package kubernetes

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

const (
	managedLabel = "app.kubernetes.io/managed-by"
	kindLabel    = "distributed/kind"
)

// name returns the name of the Lease of a document: the key, as far as it can be one,
// and 32 digits that make it unambiguous.
func name(key string) string {
	sum := sha256.Sum256([]byte(key))
	digits := hex.EncodeToString(sum[:16])
	if readable := clean(key, 200); readable != "" {
		return readable + "-" + digits
	}
	return digits
}

// labels are for kubectl get leases -l.
func labels(key string) map[string]string {
	l := map[string]string{managedLabel: "distributed"}
	parts := strings.Split(key, "/")
	for i, p := range parts[1:] { // behind the app
		switch p {
		case "nodes", "claims", "info", "lists", "orders", "state", "epoch":
			l["distributed/app"], l[kindLabel] = clean(parts[i], 63), p
		}
	}
	return l
}

// clean returns what names and labels may be, of lower case letters, digits and "-".
func clean(s string, length int) string {
	s = strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' || '0' <= r && r <= '9' {
			return r
		}
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return '-'
	}, s)
	return strings.Trim(s[:min(len(s), length)], "-")
}
