#!/usr/bin/env bash
# Checks the protocol exhaustively for three nodes, and how claims get their
# places for two, and then that each goes wrong without each of its rules. LAG=2
# before it looks at less, and is quicker; VERBOSE=1 shows each run that it finds.
set -euo pipefail

for tool in spin "${CC:=cc}"; do
	if ! command -v "$tool" >/dev/null; then
		echo "$tool is missing: apt-get install spin gcc" >&2
		exit 2
	fi
done
cd "$(dirname "${BASH_SOURCE[0]}")"
dir=$(mktemp -d)
cp ./*.pml "$dir"
trap 'rm -rf "$dir"' EXIT
cd "$dir"
lag=${LAG:-3}
steps='^ +(node|an operator|a stranger|a late copy|a tick|calm|alone)'

fail() {
	echo "FAILED: $1" >&2
	tail -n 40 out >&2
	exit 1
}

# build MODEL MODEL_FLAG... -- CC_FLAG... writes ./pan.
build() {
	model=$1 flags=("-DLAG=$lag")
	shift
	while [ "$1" != -- ]; do
		flags+=("$1")
		shift
	done
	shift
	rm -f ./*.trail
	if ! { spin -a "${flags[@]}" "$model.pml" && "$CC" -w -DSAFETY -DMEMLIM=6000 "$@" -o pan pan.c; } >out 2>&1; then
		fail "the model does not build"
	fi
}

number() { sed -nE "$1" out | head -n 1; }

# exhaustive WORDS MODEL FLAG...
exhaustive() {
	local words=$1 reduce=()
	shift
	[ "$1" = positions ] && reduce=(-DVECTORSZ=2048 -DCOLLAPSE) || reduce=(-DNOREDUCE)
	build "$@" -- -O2 "${reduce[@]}"
	./pan -m6000000 -w26 >out 2>&1 || fail "pan ended with an error"
	grep -q 'errors: 0$' out || fail "$words: not so"
	if grep -Eqi 'max search depth too small|out of memory|memory limit|search not completed|bit statespace|hash-?compact' out; then
		fail "the search was not exhaustive"
	fi
	grep -q '^Full statespace search' out || fail "the search was not exhaustive"
	grep -Eq '\([01] of ' out || fail "a part of the model is never reached" # all but its end
	echo "$words: $(number 's/^ *([0-9.e+]+) states, stored.*/\1/p') states," \
		"depth $(number 's/.*depth reached ([0-9]+),.*/\1/p'), $(number 's/^pan: elapsed time ([0-9.]+) seconds/\1/p') s"
}

# breaks WORDS MODEL FLAG...: with the flags the assertion must be violated. The
# search is breadth first, so the run that it finds is one of the shortest.
breaks() {
	local words=$1 reduce=()
	shift
	[ "$1" = positions ] && reduce=(-DVECTORSZ=2048 -DCOLLAPSE) || reduce=(-DNOREDUCE)
	build "$@" -- -O1 -DBFS "${reduce[@]}"
	./pan -w24 >out 2>&1 || true
	grep -q 'assertion violated' out || fail "$words: no run found"
	spin -t "${flags[@]}" "$model.pml" >trail 2>&1 || true
	echo "$words after $(grep -cE "$steps" trail) steps"
	if [ -n "${VERBOSE:-}" ]; then
		grep -E "$steps" trail
	fi
}

exhaustive "exclusion holds, up to $lag events behind" protocol
exhaustive "and when others wait from the last heartbeat seen, and no step is merged" protocol -DFROM_SEEN
exhaustive "whoever is left works before long" protocol -DCALM=5
breaks "a silent node is buried, and its job goes to another" protocol -DREACH_HANDOVER
breaks "without the guard of a tombstone: two leaders" protocol -DNO_GUARD
breaks "without the wait before a tombstone: two leaders" protocol -DNO_BURY_WAIT
breaks "without the doubt when a document goes: two leaders" protocol -DNO_DOUBT
breaks "when the doubt counts from the last heartbeat seen, in merged steps: two leaders" protocol -DFROM_SEEN_MERGED
breaks "without the doubt after a listing: two leaders" protocol -DNO_LISTING_WAIT
breaks "when a listing ignores claims without a node document: two leaders" protocol -DNO_ORPHANS
breaks "when a document that is made again ends the doubt: two leaders" protocol -DREAPPEARS
breaks "when a claim document is used before it is registered: two leaders" protocol -DNO_REGISTRATION
breaks "without the epoch: two leaders" protocol -DNO_EPOCH
breaks "when a change is missing behind a later one: two leaders" protocol -DINCOMPLETE
breaks "when validity counts from receipt: two leaders" protocol -DFROM_RECEIPT
breaks "when a release does not wait for work: two leaders" protocol -DRELEASE_BEFORE_STOP
breaks "when draining does not wait for work: two leaders" protocol -DDRAIN_BEFORE_STOP
breaks "when a claim older than the last release counts: two leaders" protocol -DNO_AFTER
breaks "when a listing takes the revision of a touched document: two leaders" protocol -DNUMBER_FROM_LISTING
if [ "$lag" -le 2 ] || [ -n "${ALL:-}" ]; then # long with more
	exhaustive "exclusion holds with heartbeats that revive a session, as they are guarded" protocol -DLATE_BEATS
	exhaustive "exclusion holds with heartbeats that are not guarded, as they revive nothing" protocol -DUNGUARDED_BEATS
fi
lag=2 breaks "when they revive a session and are not guarded: two leaders" protocol -DLATE_BEATS -DUNGUARDED_BEATS

exhaustive "order alone excludes, and tokens rise, for 5 changes" positions -DREVS=5
breaks "in a picture older than one's own number: two leaders" positions -DREVS=6 -DOLD_PICTURE
exhaustive "which makes the last release superfluous, for 4 changes" positions -DREVS=4 -DNO_AFTER
breaks "when a 0 has its place from the revision of the document: two leaders" positions -DREVS=6 -DNUMBER_FROM_LISTING
breaks "when a touch moves a 0: two leaders" positions -DREVS=6 -DTOUCH_MOVES
breaks "when an owner changes its number: two leaders" positions -DREVS=6 -DOWNER_CHANGES
breaks "when a write leaves an old 0: two leaders" positions -DREVS=6 -DSTAYS_ZERO
