#!/usr/bin/env bash
# Measures what docs/performance.md tells of this machine, and rewrites the page and its plots.
# Takes some ten minutes, best on a machine with nothing else to do. QUICK=1 is a rehearsal of two.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

figures=docs/figures
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$figures"
go build -o "$work/metalloc" ./cmd/metalloc

"$work/metalloc" bench --json ${QUICK:+--quick} >"$work/bench.json"

for device in sim host; do
	for trace in tests/testdata/traces/*.pickle.gz; do
		for _ in 1 2 3 4 5; do
			"$work/metalloc" replay --json --device "$device" "$trace" >>"$work/replay.json"
		done
	done
done

benchtime=5s
[ -z "${QUICK:-}" ] || benchtime=1s
bench='^BenchmarkPairs$/^pair$/^2_goroutines$/^2_streams$/^metalloc$'
go test -run '^$' -bench "$bench" -benchtime "$benchtime" -cpuprofile "$work/cpu" -o "$work/test" ./tests/bench >/dev/null
# Of the pairs alone, and without the shapes of generic types, which are as long as their fields.
go tool pprof -top -nodecount 25 -relative_percentages -focus 'bench.*\.pairs$' "$work/test" "$work/cpu" 2>/dev/null |
	sed -e '/^\(File\|Build ID\|Time\):/d' -e 's/\[go\.shape.*\]/[…]/' >"$work/profile.txt"

mv "$work/bench.json" "$work/replay.json" "$work/profile.txt" "$figures"
go run ./tests/bench/figures
