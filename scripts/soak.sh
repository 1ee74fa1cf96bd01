#!/bin/bash
# Checks that are too long for scripts/test; stops at the first that fails.
#   scripts/soak.sh [FUZZ_SECONDS] [SEEDS]    seconds for each fuzz target (600), simulator seeds (20000)
# Fuzzers start from the committed corpus and from what earlier runs found (build/asan/fuzz); an input that breaks
# something is kept there and replayed with: build/asan/fuzz_NAME FILE
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"
readonly FUZZ_SECONDS=${1:-600} SEEDS=${2:-20000}
[[ $FUZZ_SECONDS$SEEDS =~ ^[0-9]+$ ]] || die "seconds and seeds are numbers: scripts/soak.sh 600 20000"

scripts/setup --test

say "thread sanitizer: everything without CAF and torch"
scripts/build tsan sanitizer_tests
must "the report above names both threads" \
  ctest --test-dir build/tsan --no-tests=error --output-on-failure --tests-regex '^(unit|random|cache|sim|property|net|link|collectives)$' --timeout 3600

scripts/build asan sanitizer_tests
for target in build/asan/fuzz_*; do
  [[ -f $target && -x $target ]] || continue
  name=${target##*/fuzz_}
  say "fuzzing $name for $FUZZ_SECONDS s"
  mkdir -p "build/asan/fuzz/$name"
  must "replay the kept input with $target FILE" "$target" -max_total_time="$FUZZ_SECONDS" -timeout=10 \
    -rss_limit_mb=2048 -print_final_stats=1 -artifact_prefix="build/asan/fuzz/$name-" "build/asan/fuzz/$name" \
    "tests/fuzz/corpus/$name"
done

say "simulator: seeds from 1000000 on, $SEEDS of them"
scripts/build release test_sim
for ((seed = 1000000; seed < 1000000 + SEEDS; seed++)); do
  build/release/test_sim replay "$seed" >build/release/soak_sim.log || {
    cat build/release/soak_sim.log
    die "seed $seed broke an invariant; replay it with scripts/sim.sh $seed"
  }
done
say "soak passed"
