package testlock

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// unprivileged runs cmd without CAP_IPC_LOCK and returns what it wrote. cmd
// inherits the bounding set of the thread that starts it, so that even root gets
// no more.
func unprivileged(cmd *exec.Cmd) (output string, err error) {
	onLostThread(func() {
		// Where this is not allowed there mostly is no capability to take away. If
		// there is, the child finds out.
		_ = dropCapability()
		var out []byte
		out, err = cmd.CombinedOutput()
		output = string(out)
	})
	return output, err
}

// onLostThread runs f on a thread that is not used again: a goroutine that ends
// without unlocking its thread takes it along. The process's first thread can't be
// lost like that, and /proc/self tells about it.
func onLostThread(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			onLostThread(f) // on another one, since this one is held
			runtime.UnlockOSThread()
			return
		}
		f()
	}()
	<-done
}

// dropCapability takes CAP_IPC_LOCK from the calling thread and from all that it
// starts.
func dropCapability() error {
	err := unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_IPC_LOCK, 0, 0, 0)
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if e := unix.Capget(&header, &data[0]); e != nil {
		return errors.Join(err, e)
	}
	const bit = 1 << unix.CAP_IPC_LOCK
	data[0].Effective &^= bit
	data[0].Permitted &^= bit
	data[0].Inheritable &^= bit
	return errors.Join(err, unix.Capset(&header, &data[0]))
}

// lower bounds what this process may lock, for good.
func lower(limit int64) error {
	held, err := hasCapability()
	if err != nil {
		return err
	}
	if held {
		return errors.New("CAP_IPC_LOCK could not be taken away")
	}
	var now unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &now); err != nil {
		return fmt.Errorf("getrlimit(RLIMIT_MEMLOCK): %w", err)
	}
	if now.Max < uint64(limit) {
		return fmt.Errorf("the test wants to lock %d bytes, RLIMIT_MEMLOCK is at most %d", limit, now.Max)
	}
	if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: uint64(limit), Max: uint64(limit)}); err != nil {
		return fmt.Errorf("setrlimit(RLIMIT_MEMLOCK, %d): %w", limit, err)
	}
	return nil
}

func hasCapability() (bool, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return false, err
	}
	for line := range strings.Lines(string(status)) {
		if text, ok := strings.CutPrefix(line, "CapEff:"); ok {
			caps, err := strconv.ParseUint(strings.TrimSpace(text), 16, 64)
			return caps&(1<<unix.CAP_IPC_LOCK) != 0, err
		}
	}
	return false, errors.New("/proc/self/status doesn't name the capabilities")
}
