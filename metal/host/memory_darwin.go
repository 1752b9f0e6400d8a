package host

import (
	"fmt"

	"golang.org/x/sys/unix"
)

func machineLimits() (limits, error) {
	n, err := unix.SysctlUint64("hw.memsize")
	if err != nil {
		return limits{}, fmt.Errorf("host: sysctl hw.memsize: %w", err)
	}
	return limits{memory: int64(n), high: noLimit}, nil
}
