package play

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestMillis(t *testing.T) {
	require.Equal(t, "1.5 ms", millis(1500*time.Microsecond))
	require.Equal(t, "2.50 s", millis(2500*time.Millisecond))
}
