package tests

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/metalloc/metalloc"

// mayImport says which other packages of ours those of a folder may import. A
// package belongs to the longest folder that its path begins with. What users
// start from (cmd, examples, tests) may import all.
var mayImport = map[string][]string{
	"metal":            {},
	"internal/steps":   {},
	"streams":          {"metal", "internal/steps"},
	"telemetry":        {},
	"internal/seam":    {},
	"actors/turn":      {"internal/seam", "internal/steps"},
	"actors/ledger":    {"streams", "telemetry", "internal/steps"},
	"actors":           {"streams", "metal", "telemetry", "internal/seam", "internal/steps"},
	"allocator":        {"actors", "metal", "telemetry", "internal/seam"},
	"internal/replay":  {"allocator", "metal", "telemetry", "telemetry/torch"},
	"internal/inspect": {"telemetry/torch"},
}

// homes are the only folders that may import a foreign package directly.
var homes = map[string][]string{
	"github.com/asynkron/protoactor-go": {"actors", "tests/bench"}, // there: what a plain actor costs
	"github.com/ebitengine/purego":      {"metal/apple", "metal/cuda"},
	"go.uber.org/zap":                   {"actors", "allocator", "telemetry"},
	"github.com/nlpodyssey/gopickle":    {"telemetry/torch"},
	"github.com/spf13/cobra":            {"cmd"},
}

// notLinked is what a program that imports allocator must not get with it from
// us. (protoactor itself brings otel, prometheus's client and net/http.)
var notLinked = []string{
	"github.com/spf13/cobra", "github.com/spf13/pflag", "github.com/nlpodyssey/gopickle",
	"github.com/jedib0t/go-pretty", "github.com/guptarohit/asciigraph", "github.com/schollz/progressbar", "github.com/stretchr/testify",
	"github.com/ebitengine/purego", "testing",
	module + "/telemetry/", module + "/metal/", module + "/internal/replay", module + "/internal/inspect", module + "/cmd",
}

// onlyByOthers may be linked, but none of our packages below allocator imports
// it: an exporter or a web page is a package of its own.
var onlyByOthers = []string{"net/http", "go.opentelemetry.io/", "github.com/prometheus/", "google.golang.org/grpc"}

var systems = []string{"linux/amd64", "darwin/arm64", "windows/amd64"}

type goPackage struct {
	ImportPath string
	Imports    []string
	Deps       []string
}

func TestImportsPointOneWay(t *testing.T) {
	for _, system := range systems {
		t.Run(system, func(t *testing.T) {
			packages := list(t, system, "./...")
			require.NotEmpty(t, packages)
			for _, p := range packages {
				for _, imported := range p.Imports {
					if why := forbidden(p.ImportPath, imported); why != "" {
						t.Errorf("%s imports %s: %s", p.ImportPath, imported, why)
					}
				}
			}
		})
	}
}

func TestAllocatorLinksOnlyWhatItNeeds(t *testing.T) {
	for _, system := range systems {
		t.Run(system, func(t *testing.T) {
			packages := list(t, system, "./allocator")
			require.Len(t, packages, 1)
			deps := packages[0].Deps
			require.Contains(t, deps, module+"/actors", "the list of what is linked must be complete")
			for _, d := range deps {
				for _, n := range notLinked {
					require.False(t, under(d, n), "allocator links %s", d)
				}
			}
			for _, p := range list(t, system, ours(deps)...) {
				for _, imported := range p.Imports {
					for _, o := range onlyByOthers {
						require.False(t, under(imported, o), "%s, linked by allocator, imports %s", p.ImportPath, imported)
					}
				}
			}
		})
	}
}

// The rules are only worth something if they can be broken.
func TestForbidden(t *testing.T) {
	for _, c := range []struct{ from, to string }{
		{module + "/metal/host", module + "/streams"},
		{module + "/streams", module + "/actors"},
		{module + "/streams", module + "/internal/seam"},
		{module + "/actors/turn", module + "/actors"},
		{module + "/actors", module + "/allocator"},
		{module + "/actors", module + "/metal/sim"},
		{module + "/actors", module + "/telemetry/torch"},
		{module + "/allocator", module + "/internal/replay"},
		{module + "/telemetry", module + "/metal"},
		{module + "/allocator", "github.com/asynkron/protoactor-go/actor"},
		{module + "/metal/host", "github.com/ebitengine/purego"},
		{module + "/streams", "go.uber.org/zap"},
		{module + "/unheard/of", module + "/metal"},
	} {
		require.NotEmpty(t, forbidden(c.from, c.to), "%s imports %s", c.from, c.to)
	}
	for _, c := range []struct{ from, to string }{
		{module + "/actors", module + "/actors/turn"},
		{module + "/actors", module + "/streams"},
		{module + "/metal/host", module + "/metal"},
		{module + "/metal/host", module + "/metal/internal/pagebook"},
		{module + "/cmd/metalloc", module + "/internal/replay"},
		{module + "/actors/turn", "github.com/asynkron/protoactor-go/actor"},
		{module + "/metal/cuda", "github.com/ebitengine/purego"},
		{module + "/streams", "slices"},
	} {
		require.Empty(t, forbidden(c.from, c.to), "%s imports %s", c.from, c.to)
	}
}

// forbidden says why a package may not import another, or nothing.
func forbidden(from, to string) string {
	folder := strings.TrimPrefix(from, module+"/")
	for foreign, at := range homes {
		if under(to, foreign) && !underAny(folder, at) {
			return "only " + strings.Join(at, ", ") + " may"
		}
	}
	if !under(to, module) || underAny(folder, []string{"cmd", "examples", "tests"}) {
		return ""
	}
	home := ""
	for f := range mayImport {
		if under(folder, f) && len(f) > len(home) {
			home = f
		}
	}
	if home == "" {
		return "no rule says what " + folder + " may import"
	}
	target := strings.TrimPrefix(to, module+"/")
	if under(target, home) || slices.Contains(mayImport[home], target) {
		return ""
	}
	return home + " may import only " + strings.Join(mayImport[home], ", ")
}

// under tells whether a path is a folder or lies in it. A folder that ends in a
// slash stands only for what lies in it.
func under(path, folder string) bool {
	return path == folder || strings.HasPrefix(path, strings.TrimSuffix(folder, "/")+"/")
}

func underAny(path string, folders []string) bool {
	for _, f := range folders {
		if under(path, f) {
			return true
		}
	}
	return false
}

func ours(deps []string) (paths []string) {
	for _, d := range deps {
		if under(d, module) {
			paths = append(paths, d)
		}
	}
	return append(paths, module+"/allocator")
}

// list runs go list at the module's root for a system, given as GOOS/GOARCH.
func list(t *testing.T, system string, patterns ...string) (packages []goPackage) {
	t.Helper()
	goos, goarch, _ := strings.Cut(system, "/")
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Imports,Deps"}, patterns...)...)
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), "GOOS="+goos, "GOARCH="+goarch, "CGO_ENABLED=0")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, "go list: %s", stderr.String())
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		err := d.Decode(&p)
		if errors.Is(err, io.EOF) {
			return packages
		}
		require.NoError(t, err)
		packages = append(packages, p)
	}
}
