//go:build !linux

package testlock

import (
	"errors"
	"os/exec"
)

func unprivileged(cmd *exec.Cmd) (output string, err error) {
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func lower(int64) error { return errors.New("limits on locked memory are set on Linux only") }
