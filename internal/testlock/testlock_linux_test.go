package testlock

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestChildMayNotLock(t *testing.T) {
	before, err := hasCapability()
	require.NoError(t, err)
	if InChild(t, 1<<20) {
		mem, err := unix.Mmap(-1, 0, 2<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
		require.NoError(t, err)
		require.ErrorIs(t, unix.Mlock(mem), unix.ENOMEM)
		require.NoError(t, unix.Mlock(mem[:os.Getpagesize()]))
		require.NoError(t, unix.Munmap(mem))
		return
	}
	after, err := hasCapability()
	require.NoError(t, err)
	require.Equal(t, before, after, "this process keeps what it had")
}
