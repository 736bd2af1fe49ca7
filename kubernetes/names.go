package kubernetes

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
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
	return strings.TrimPrefix(clean(key, 200)+"-"+hex.EncodeToString(sum[:16]), "-")
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

var unclean = regexp.MustCompile("[^a-z0-9]")

// clean returns what names and labels may be, of lower case letters, digits and "-".
func clean(s string, length int) string {
	s = unclean.ReplaceAllString(strings.ToLower(s), "-")
	return strings.Trim(s[:min(len(s), length)], "-")
}
