#!/usr/bin/env bash
# Measures what docs/memory.md tells, and rewrites the page and its plots. Takes a minute or two.
# Device calls are modelled, so the machine hardly matters; with --concurrent goroutines race, so those figures vary a little.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

figures=docs/figures
traces=(tests/testdata/traces/*.pickle.gz)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$figures"
go build -o "$work/metalloc" ./cmd/metalloc

ways=('' '--lag 1ms' '--lag 5ms' '--lag 10ms' '--lag 20ms' '--lag 50ms' '--concurrent' '--concurrent --lag 10ms' '--segments')
total=$((${#traces[@]} * (${#ways[@]} + 1)))
n=0
replay() { # FLAGS TRACE
	n=$((n + 1))
	echo "replay $(basename "$2" .pickle.gz) ${1:-in order} ($n of $total, $SECONDS s)" >&2
	# The flags are words of their own.
	"$work/metalloc" replay --device sim --page-size 2MiB --json $1 "$2"
}

for trace in "${traces[@]}"; do
	for way in "${ways[@]}"; do
		replay "$way" "$trace" >>"$work/memory.json"
	done
	replay "--timeline $work/memory-$(basename "$trace" .pickle.gz).csv" "$trace" >/dev/null
done
go run ./tests/memory others "${traces[@]}" >"$work/memory-others.json"

mv "$work"/memory*.json "$work"/memory*.csv "$figures"
go run ./tests/memory
