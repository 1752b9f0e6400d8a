#!/usr/bin/env bash
# metalloc against PyTorch's caching allocator, on a machine with a GPU and PyTorch and no need of Go.
#
#   CGO_ENABLED=0 go build -o metalloc ./cmd/metalloc    # where there is Go, for the machine's system
#   tests/bench/host.sh ./metalloc                       # there, from the repository's root
#
# Writes to $OUT (default: the current folder): host.json (metalloc and its rivals, and the control loop),
# pytorch.jsonl (PyTorch and cudaMallocAsync), machine.txt (what it ran on), host.log (what was built, and how).
# go run ./tests/bench/figures joins them. QUICK=1 is a rehearsal: short rounds.
# Of the parts that fail the others are done all the same; the exit code then is 1.
set -euo pipefail

binary=${1:?usage: tests/bench/host.sh METALLOC}
out=${OUT:-.}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=${PYTHON:-python3}
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
mkdir -p "$out"
exec > >(tee "$out/host.log") 2>&1
tee=$!

failed=0
part() {
	printf '\n== %s (%d s)\n' "$*" "$SECONDS"
	# Not "if part": set -e would be off inside.
	set +e
	(set -e; "$@")
	local code=$?
	set -e
	if [ $code -ne 0 ]; then
		echo "host.sh: $* failed with $code" >&2
		failed=1
	fi
}

machine() {
	{
		date -u +%Y-%m-%d
		uname -srm
		nproc
		grep -m1 'model name' /proc/cpuinfo || true
		grep MemTotal /proc/meminfo || true
		cat /proc/loadavg
		nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader || echo 'no nvidia-smi'
		"$python" -c 'import torch; print("torch", torch.__version__, "cuda", torch.version.cuda)' || echo 'no torch'
	} | tee "$out/machine.txt"
}

metalloc() {
	[ -x "$binary" ] || { echo "host.sh: $binary is no program" >&2; return 1; }
	local flags=()
	[ -z "${QUICK:-}" ] || flags=(--quick)
	"$binary" bench --json --workload pair "${flags[@]}" >"$out/host.json.part"
	mv "$out/host.json.part" "$out/host.json"
}

# flags asks Python where PyTorch and CUDA's runtime are: one compiler argument a line.
flags() {
	"$python" - <<'PY'
import glob, os, sys, torch
from torch.utils import cpp_extension as ext

def first(patterns, what):
    for p in patterns:
        for found in sorted(glob.glob(p)):
            return found
    sys.exit("host.sh: no %s in %s" % (what, ", ".join(patterns)))

def paths(f):  # the argument has changed its name and its kind
    for args in (dict(device_type="cuda"), dict(cuda=True), dict()):
        try:
            return list(f(**args))
        except Exception as e:
            print("host.sh: %s(%s): %s" % (f.__name__, args, e), file=sys.stderr)
    return []

root = os.path.dirname(torch.__file__)
site = os.path.dirname(root)
homes = [h for h in (getattr(ext, "CUDA_HOME", None), os.environ.get("CUDA_HOME"), "/usr/local/cuda") if h]
includes = paths(ext.include_paths) + [os.path.join(root, "include")]
header = "cuda_runtime_api.h"
if not any(os.path.exists(os.path.join(i, header)) for i in includes):
    found = first([os.path.join(h, "include", header) for h in homes] +
                  [os.path.join(h, "targets/*/include", header) for h in homes] +
                  [os.path.join(site, "nvidia/*/include", header)], header)
    includes.append(os.path.dirname(found))
libs = paths(ext.library_paths) + [os.path.join(root, "lib")]
# The runtime that PyTorch itself links is the one to share.
cudart = first([os.path.join(root, "lib", "libcudart*.so*"), os.path.join(site, "nvidia/*/lib/libcudart.so.*")] +
               [os.path.join(h, "lib64/libcudart.so*") for h in homes] +
               [os.path.join(h, "targets/*/lib/libcudart.so*") for h in homes], "libcudart.so")
for i in dict.fromkeys(includes):
    print("-isystem"); print(i)
print("-D_GLIBCXX_USE_CXX11_ABI=%d" % int(torch._C._GLIBCXX_USE_CXX11_ABI))
libs = [l for l in dict.fromkeys(libs + [os.path.dirname(cudart)]) if os.path.isdir(l)]
for l in libs:
    print("-L" + l); print("-Wl,-rpath," + l)
print("-Wl,--no-as-needed"); print("-lc10_cuda"); print("-lc10"); print(cudart)
PY
}

pytorch() {
	local args compiler standard
	args=$(flags) # an assignment of its own, so that a failure ends this part
	mapfile -t args <<<"$args"
	compiler=$(command -v "${CXX:-g++}" || command -v c++ || command -v clang++) ||
		{ echo 'host.sh: no C++ compiler' >&2; return 1; }
	for standard in c++20 c++17; do # newer PyTorch wants the first, older compilers have the second
		echo "$compiler -std=$standard -O2 -pthread $here/pytorch/pairs.cpp ${args[*]}"
		if "$compiler" "-std=$standard" -O2 -pthread "$here/pytorch/pairs.cpp" "${args[@]}" -o "$build/pairs"; then
			break
		fi
	done
	[ -x "$build/pairs" ] || { echo 'host.sh: pairs.cpp was not built' >&2; return 1; }
	local short=()
	[ -z "${QUICK:-}" ] || short=(--rounds 3 --chunk-ms 20)
	"$build/pairs" "${short[@]}" >"$out/pytorch.jsonl.part" # whole or not at all
	mv "$out/pytorch.jsonl.part" "$out/pytorch.jsonl"
	cat "$out/pytorch.jsonl"
}

part machine
part metalloc
part pytorch
printf '\n== done (%d s), exit %d\n' "$SECONDS" "$failed"
exec >&- 2>&- # so that tee ends, and has written all
wait "$tee" || true
exit "$failed"
