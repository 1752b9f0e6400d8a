package metal

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLevelString(t *testing.T) {
	for l, want := range map[Level]string{Normal: "normal", Warn: "warn", Critical: "critical", 7: "Level(7)"} {
		require.Equal(t, want, l.String())
	}
	require.True(t, Normal < Warn && Warn < Critical)
}
