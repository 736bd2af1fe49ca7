#!/usr/bin/env bash
# Checks the protocol exhaustively for three nodes, and then that it goes wrong
# without each of its rules. LAG=2 before it looks at less, and is quicker.
set -euo pipefail

for tool in spin "${CC:=cc}"; do
	if ! command -v "$tool" >/dev/null; then
		echo "$tool is missing: apt-get install spin gcc" >&2
		exit 2
	fi
done
cd "$(dirname "${BASH_SOURCE[0]}")"
dir=$(mktemp -d)
cp protocol.pml "$dir"
trap 'rm -rf "$dir"' EXIT
cd "$dir"
lag=${LAG:-3}

fail() {
	echo "FAILED: $1" >&2
	tail -n 40 out >&2
	exit 1
}

# build MODEL_FLAG... -- CC_FLAG... writes ./pan.
build() {
	local flags=()
	while [ "$1" != -- ]; do
		flags+=("$1")
		shift
	done
	shift
	if ! { spin -a "-DLAG=$lag" "${flags[@]}" protocol.pml && "$CC" -w -DSAFETY -DNOREDUCE -DMEMLIM=6000 "$@" -o pan pan.c; } >out 2>&1; then
		fail "the model does not build"
	fi
}

number() { sed -nE "$1" out | head -n 1; }

exhaustive() {
	build -DPROPER -- -O2
	./pan -m4000000 -w26 >out 2>&1 || fail "pan ended with an error"
	grep -q 'errors: 0$' out || fail "two nodes work at once"
	if grep -Eqi 'max search depth too small|out of memory|memory limit|search not completed|bit statespace|hash-?compact' out; then
		fail "the search was not exhaustive"
	fi
	grep -q '^Full statespace search' out || fail "the search was not exhaustive"
	grep -qF '(1 of ' out || fail "a part of the model is never reached" # all but its end
	echo "exclusion holds, up to $lag events behind: $(number 's/^ *([0-9.e+]+) states, stored.*/\1/p') states," \
		"depth $(number 's/.*depth reached ([0-9]+),.*/\1/p'), $(number 's/^pan: elapsed time ([0-9.]+) seconds/\1/p') s"
}

# breaks FLAG WORDS: with FLAG the assertion must be violated. The search is
# breadth first, so the run that it finds is one of the shortest.
breaks() {
	build "-D$1" -- -O0 -DBFS
	./pan -w24 >out 2>&1 || true
	grep -q 'assertion violated' out || fail "$1: no run found"
	spin -t "-DLAG=$lag" "-D$1" protocol.pml >trail 2>&1 || true
	steps=$(grep -cE '^ +(node|etcd|an operator|a tick)' trail)
	echo "$2 after $steps steps"
	if [ -n "${VERBOSE:-}" ]; then
		grep -E '^ +(node|etcd|an operator|a tick)' trail
	fi
}

exhaustive
breaks REACH_HANDOVER "a silent node's job goes to another"
breaks NO_UNCLEAN_WAIT "without the unclean wait: two leaders"
breaks NO_LISTING_WAIT "without the wait after a listing: two leaders"
breaks NO_COUNT "without the count of candidate keys: two leaders"
breaks NO_AFTER "when a key older than the last release counts: two leaders"
breaks FROM_RECEIPT "when validity counts from receipt: two leaders"
breaks LATE_BEATS "when a late heartbeat revives a lease: two leaders"
breaks BEFORE_WORK_STOPPED "when a release does not wait for work: two leaders"
