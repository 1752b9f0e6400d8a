// Package testlock lets a test run where the system refuses to keep memory
// resident: in a child process with a low RLIMIT_MEMLOCK and without
// CAP_IPC_LOCK.
//
//	func TestWiringIsRefused(t *testing.T) {
//		if !testlock.InChild(t, 3<<20) {
//			return // the child did the rest
//		}
//		…
//	}
package testlock

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// inChild is set for child processes.
const inChild = "METALLOC_TESTLOCK_CHILD"

// InChild runs the test that calls it again, alone and in a child process that
// may lock at most limit bytes of memory. There it returns true. Here it returns
// false after the child has ended, and this test fails, or is skipped, as the
// child's was. Call it first; it skips the test, saying why, where such a child
// can't be had.
func InChild(t *testing.T, limit int64) bool {
	t.Helper()
	if os.Getenv(inChild) != "" {
		if err := lower(limit); err != nil {
			t.Skipf("this process still may lock memory: %v", err)
		}
		return true
	}
	self, err := os.Executable()
	if err != nil {
		t.Skipf("the test's own program is not known: %v", err)
	}
	cmd := exec.Command(self, "-test.run="+only(t.Name()), "-test.v", "-test.count=1")
	cmd.Env = append(os.Environ(), inChild+"=1")
	output, err := unprivileged(cmd)
	switch {
	case err != nil:
		t.Fatalf("child: %v\n%s", err, output)
	case strings.Contains(output, "--- SKIP: "+t.Name()+" ("):
		t.Skipf("child:\n%s", output)
	case !strings.Contains(output, "--- PASS: "+t.Name()+" ("):
		t.Fatalf("the child did not run this test:\n%s", output)
	}
	return false
}

// only is a pattern for -test.run that one test matches.
func only(name string) string {
	parts := strings.Split(name, "/")
	for i, p := range parts {
		parts[i] = "^" + regexp.QuoteMeta(p) + "$"
	}
	return strings.Join(parts, "/")
}
