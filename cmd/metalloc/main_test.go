package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// binary is the command, built as users build it: exit codes are the process's.
var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "metalloc")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "metalloc.exe")
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-o", binary, ".").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(dir)
		os.Exit(code)
	}))
}

// metalloc runs the built command.
func metalloc(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errOut bytes.Buffer
	cmd := exec.Command(binary, args...)
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	return out.String(), errOut.String(), cmd.ProcessState.ExitCode()
}

// requireRefused runs a command that must fail: with that code, one line on
// stderr that has each of the texts, and nothing on stdout.
func requireRefused(t *testing.T, code int, texts []string, args ...string) {
	t.Helper()
	stdout, stderr, got := metalloc(t, args...)
	require.Equal(t, code, got, "%v: %s", args, stderr)
	require.Empty(t, stdout)
	require.True(t, strings.HasPrefix(stderr, "metalloc: "), stderr)
	require.Equal(t, 1, strings.Count(stderr, "\n"), stderr)
	require.True(t, strings.HasSuffix(stderr, "\n"), stderr)
	for _, text := range texts {
		require.Contains(t, stderr, text)
	}
}

func TestUsageErrors(t *testing.T) {
	for _, c := range []struct {
		args string
		want string
	}{
		{"bogus", `"bogus"`},
		{"--bogus", "--bogus"},
		{"replay", "one FILE"},
		{"replay one two", "got 2"},
		{"replay --bogus x", "--bogus"},
		{"replay --memory", "--memory"},
		{"replay --memory=0 x", "more than 0"},
		{"replay --memory=-1 x", `"-1"`},
		{"replay --memory=12XB x", `"12XB"`},
		{"replay --memory=1,5G x", `"1,5G"`},
		{"replay --memory= x", `""`},
		{"replay --memory=8EiB x", `"8EiB"`},
		{"replay --memory=99999999999EiB x", "99999999999EiB"},
		{"replay --memory=1KiB x", "1024"}, // less than a page
		{"replay --memory-limit=-5GiB x", `"-5GiB"`},
		{"replay --cache-limit=NaN x", `"NaN"`},
		{"replay --page-size=2MiB x", "--device sim"},
		{"replay --device=sim --page-size=3MiB x", "3145728"},
		{"replay --device=sim --page-size=0 x", "more than 0"},
		{"replay --device=tpu x", `"tpu"`},
		{"replay --policy=wait x", `"wait"`},
		{"replay --json=perhaps x", "perhaps"},
		{"inspect", "one FILE to inspect"},
		{"inspect one two", "got 2"},
		{"inspect --device=sim x", "--device"},
		{"devices host", `"host"`},
		{"devices --bogus", "--bogus"},
		{"replay --window=5 x", "--concurrent"},
		{"replay --concurrent --window=-1 x", `"-1"`},
		{"replay --concurrent --window=many x", `"many"`},
		{"replay --lag=-10ms x", `"-10ms"`},
		{"replay --lag=10 x", `"10"`},
	} {
		t.Run(c.args, func(t *testing.T) {
			requireRefused(t, exitUsage, []string{c.want}, strings.Fields(c.args)...)
		})
	}
}

func TestVersionAndHelp(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"--version", "metalloc version"},
		{"--help", "replay"},
		{"--help", "inspect"},
		{"--help", "devices"},
		{"inspect --help", "--json"},
		{"", "replay"},
		{"replay --help", "--cache-limit SIZE"},
	} {
		stdout, stderr, code := metalloc(t, strings.Fields(c.args)...)
		require.Zero(t, code)
		require.Empty(t, stderr)
		require.Contains(t, stdout, c.want)
	}
}
