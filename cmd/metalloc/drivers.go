package main

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// machine is what the search for drivers looks at; tests bring their own.
type machine struct {
	os, arch    string
	libraryPath string // LD_LIBRARY_PATH
	root        fs.FS  // of the file system; on Windows of the system's drive
}

func (m machine) has(file string) bool {
	_, err := fs.Stat(m.root, strings.TrimPrefix(file, "/"))
	return err == nil
}

func (m machine) read(file string) string {
	text, _ := fs.ReadFile(m.root, strings.TrimPrefix(file, "/"))
	return string(text)
}

// cudaReport tells whether CUDA's driver is here. It is looked for, not loaded.
func cudaReport(m machine) deviceReport {
	r := deviceReport{Kind: "cuda", Name: "NVIDIA GPU", State: notBuiltIn, Can: []string{}, Missing: []string{}}
	add := func(format string, args ...any) { r.Missing = append(r.Missing, fmt.Sprintf(format, args...)) }
	switch m.os {
	case "linux":
		dirs := m.libraryDirs()
		if at := m.find("libcuda.so.1", dirs); at != "" {
			r.Name = "NVIDIA GPU, driver library " + at
		} else {
			add("no libcuda.so.1 in %s: install NVIDIA's driver; in a container, start it with docker's --gpus all or set LD_LIBRARY_PATH to where it is",
				strings.Join(dirs, ", "))
		}
		if !m.has("/dev/nvidiactl") && !m.has("/dev/dxg") { // dxg: the Windows Subsystem for Linux
			add("no /dev/nvidiactl: this machine has no NVIDIA GPU, its kernel module is not loaded (modprobe nvidia), or the container was started without it")
		}
	case "windows":
		const library = `/Windows/System32/nvcuda.dll`
		if !m.has(library) {
			add(`no %s on the system's drive: install NVIDIA's driver`, strings.ReplaceAll(library, "/", `\`))
		}
	default:
		r.State = notHere
		add("CUDA needs Linux or Windows with an NVIDIA GPU; this is %s/%s", m.os, m.arch)
	}
	return r
}

// find is the first of the folders that has a file, with the file; "": none.
func (m machine) find(file string, dirs []string) string {
	for _, dir := range dirs {
		if at := path.Join(dir, file); m.has(at) {
			return at
		}
	}
	return ""
}

// libraryDirs is where Linux's loader looks for libraries, near enough: its
// configuration's cache is not read, the configuration is.
func (m machine) libraryDirs() (dirs []string) {
	add := func(dir string) {
		if dir = strings.TrimSpace(dir); strings.HasPrefix(dir, "/") && !slices.Contains(dirs, path.Clean(dir)) {
			dirs = append(dirs, path.Clean(dir))
		}
	}
	for dir := range strings.SplitSeq(m.libraryPath, ":") {
		add(dir)
	}
	more, _ := fs.Glob(m.root, "etc/ld.so.conf.d/*.conf")
	for _, file := range append(more, "etc/ld.so.conf") {
		for line := range strings.Lines(m.read(file)) {
			add(line)
		}
	}
	triple := map[string]string{"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}[m.arch]
	if triple != "" {
		add("/lib/" + triple)
		add("/usr/lib/" + triple)
	}
	for _, dir := range []string{"/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/lib/wsl/lib"} {
		add(dir)
	}
	return dirs
}

// metalReport tells whether Metal can be here.
func metalReport(m machine) deviceReport {
	r := deviceReport{Kind: "metal", Name: "Apple GPU", State: notBuiltIn, Can: []string{}, Missing: []string{}}
	if m.os != "darwin" || m.arch != "arm64" {
		r.State = notHere
		r.Missing = append(r.Missing, fmt.Sprintf("Metal needs macOS on Apple silicon; this is %s/%s", m.os, m.arch))
	}
	return r
}
