package host

import (
	"fmt"

	"golang.org/x/sys/unix"
)

func totalMemory() (int64, error) {
	n, err := unix.SysctlUint64("hw.memsize")
	if err != nil {
		return 0, fmt.Errorf("host: sysctl hw.memsize: %w", err)
	}
	return int64(n), nil
}
