#!/bin/bash
# Times calls between two ranks in two network namespaces joined by a veth pair; takes them down after. As root.
#   tests/bench/collective_netns.sh build/release/collective_bench [calls]
set -euo pipefail
[[ $# -ge 1 && -x $1 ]] || { echo "usage: $0 PATH/collective_bench [calls]; build it with scripts/build release collective_bench" >&2; exit 2; }
readonly bench=$1 calls=${2:-20000} first=troupe-bench-$$-a second=troupe-bench-$$-b

clean_up() {
  ip netns del "$first" 2>/dev/null || true
  ip netns del "$second" 2>/dev/null || true
}
trap clean_up EXIT
ip netns add "$first"
ip netns add "$second"
ip -n "$first" link add veth0 type veth peer name veth1 netns "$second"
ip -n "$first" addr add 10.77.0.1/24 dev veth0
ip -n "$second" addr add 10.77.0.2/24 dev veth1
ip -n "$first" link set veth0 up
ip -n "$second" link set veth1 up
"$bench" "$calls" netns "$first" 10.77.0.1 "$second" 10.77.0.2
