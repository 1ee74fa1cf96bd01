#!/bin/bash
# scripts/sim.sh SEED [--trace]: runs one seed of the simulator; --trace prints every event of it.
set -eu
if [ $# -lt 1 ] || ! [[ $1 =~ ^[0-9]+$ ]]; then
  echo "usage: scripts/sim.sh SEED [--trace]: give the number of a seed, for example scripts/sim.sh 7 --trace" >&2
  exit 2
fi
root=$(cd "$(dirname "$0")/.." && pwd)
program=$root/build/release/test_sim
if [ ! -x "$program" ]; then
  echo "$program is missing: build it with scripts/test fast, or cmake --build --preset release --target test_sim" >&2
  exit 2
fi
exec "$program" replay "$@"
