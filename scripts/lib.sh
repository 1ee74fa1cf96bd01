# Shared by the scripts of this folder; sourced, not run.
# shellcheck shell=bash

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck disable=SC2034  # used by those who source this
DEPS=${TROUPE_DEPS:-$ROOT/.deps}

say() { printf '== %s\n' "$*" >&2; }

die() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 1
}

# must HINT COMMAND...: runs the command; if it fails, names it and says what to do.
must() {
  local hint=$1
  shift
  "$@" || die "this command failed (exit $?): $* -- $hint"
}
