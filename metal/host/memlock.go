package host

import (
	"io/fs"
	"strconv"
	"strings"
)

// Memlock is how much memory the system lets this process keep resident.
type Memlock struct {
	Limit   int64 `json:"limit"`   // RLIMIT_MEMLOCK, bytes; -1: unlimited
	Used    int64 `json:"used"`    // locked by this process, bytes; -1: unknown
	Capable bool  `json:"capable"` // has CAP_IPC_LOCK, so the limit doesn't count
}

// capIPCLock is CAP_IPC_LOCK's bit (linux/capability.h).
const capIPCLock = 1 << 14

// readMemlock completes a limit with what /proc says.
func readMemlock(root fs.FS, limit int64) Memlock {
	const status = "proc/self/status"
	m := Memlock{Limit: limit, Used: kibField(root, status, "VmLck")}
	text, _ := field(root, status, "CapEff:")
	caps, err := strconv.ParseUint(text, 16, 64)
	m.Capable = err == nil && caps&capIPCLock != 0 && ownsAllUsers(root)
	return m
}

// ownsAllUsers tells whether capabilities hold for the system: in a user
// namespace (a rootless container) they don't, and there not all users are mapped
// to themselves. A system without the file has no namespaces.
func ownsAllUsers(root fs.FS) bool {
	text, err := fs.ReadFile(root, "proc/self/uid_map")
	if err != nil {
		return true
	}
	return strings.Join(strings.Fields(string(text)), " ") == "0 0 4294967295"
}

func (m Memlock) unlimited() bool { return m.Capable || m.Limit < 0 }

// allows tells whether the limit lets size more bytes be locked.
func (m Memlock) allows(size int64) bool {
	return m.unlimited() || max(0, m.Used) <= m.Limit && size <= m.Limit-max(0, m.Used)
}

func (m Memlock) String() string {
	s := "RLIMIT_MEMLOCK = unlimited"
	if m.Limit >= 0 {
		s = "RLIMIT_MEMLOCK = " + strconv.FormatInt(m.Limit, 10) + " bytes"
	}
	if m.Used >= 0 {
		s += ", " + strconv.FormatInt(m.Used, 10) + " locked"
	}
	if m.Capable {
		return s + ", with CAP_IPC_LOCK"
	}
	return s + ", without CAP_IPC_LOCK"
}

// raiseMemlock is how to get more.
const raiseMemlock = "raise it with ulimit -l, systemd's LimitMEMLOCK= or docker's --ulimit memlock=-1, or grant CAP_IPC_LOCK"
