package statuspage

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNamesAreCutBeforeWhatTellsThemApart(t *testing.T) {
	for whole, head := range map[string]string{
		"":                                       "",
		"job-00001":                              "job",
		"mailer":                                 "mailer",
		"shop-worker-7d9f8b6c5-x2x4q":            "shop-worker-7d9f8b6c5",
		"tenants/acme/eu-1/invoices/shard":       "tenants/acme/eu-1/invoices",
		"invoices-of-the-last-year-a":            "invoices-of-the-last-year",
		"0123456789abcdef":                       "01234567",
		"invoices/a-name-that-is-too-longwinded": "invoices/a-name-that-is-too",
		"äääääääääääääää":                        "äääääääääää",
	} {
		n := cut(whole)
		require.Equal(t, whole, n.Head+n.Tail)
		require.Equal(t, head, n.Head, whole)
	}
}
