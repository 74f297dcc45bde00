# Shared by the scripts of this folder: messages, apt packages, builds. Source it; it changes nothing by itself.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# apt's Python packages belong to this interpreter, whatever comes first on PATH.
PYTHON=/usr/bin/python3

say() { printf '\033[1m==>\033[0m %s\n' "$*"; }
die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; elif command -v sudo >/dev/null; then sudo "$@"; else
    die "needs root or sudo to run: $*"
  fi
}

# The packages of every list named (scripts/lib/packages-<list>.txt), one per line, without comments.
packages_of() {
  local list
  for list in "$@"; do sed -e 's/#.*//' -e '/^[[:space:]]*$/d' "$ROOT/scripts/lib/packages-$list.txt"; done | tr -d ' '
}

# Installs what is missing of the lists named; says nothing to apt when all is there.
install_packages() {
  # shellcheck disable=SC2046  # one word per package
  install_by_name $(packages_of "$@")
}

# The same for packages.
install_by_name() {
  local missing=() package
  for package in "$@"; do
    dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
  done
  [ ${#missing[@]} = 0 ] && return
  command -v apt-get >/dev/null || die "needs apt (Debian 12 or Ubuntu 24.04), or these packages: ${missing[*]}"
  say "installing ${#missing[@]} packages with apt: ${missing[*]:0:6}$([ ${#missing[@]} -gt 6 ] && echo ' ...')"
  as_root apt-get -o DPkg::Lock::Timeout=300 -qq update
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -qq install -y --no-install-recommends \
    "${missing[@]}" >"$LOGS/apt.log" 2>&1 || { tail -n 20 "$LOGS/apt.log" >&2; die "apt-get install failed ($LOGS/apt.log)"; }
}

# configure_and_build PRESET [CMAKE_ARGS... --] [TARGETS...]: one line of progress per tenth of the build.
configure_and_build() {
  local preset=$1 args=() started=$SECONDS
  shift
  while [ $# -gt 0 ] && [ "$1" != -- ]; do args+=("$1"); shift; done
  [ "${1:-}" = -- ] && shift
  cd "$ROOT"
  say "configuring build/$preset"
  cmake --preset "$preset" "${args[@]}" >"$LOGS/configure-$preset.log" 2>&1 ||
    { tail -n 30 "$LOGS/configure-$preset.log" >&2; die "configuring failed ($LOGS/configure-$preset.log)"; }
  say "building build/$preset${*:+ ($*)}"
  NINJA_STATUS='[%f/%t] ' cmake --build --preset "$preset" ${*:+--target "$@"} 2>&1 | tee "$LOGS/build-$preset.log" | progress ||
    { grep -nE 'error|FAILED' -A5 "$LOGS/build-$preset.log" | head -n 60 >&2; die "the build failed ($LOGS/build-$preset.log)"; }
  say "built build/$preset in $((SECONDS - started)) s"
}

# Turns ninja's lines into one line per tenth of the work.
progress() {
  awk -F'[][/]' '/^\[[0-9]+\/[0-9]+\]/ { tenth = int(10 * $2 / $3); if (tenth > last) { printf "    %3d%%  (%d of %d)\n", 100 * $2 / $3, $2, $3; fflush(); last = tenth } }'
}

# Exports STEPBACKD and PYTHONPATH: those given, else a release build's, made when needed.
use_server_and_python() {
  if [ -z "${STEPBACKD:-}" ]; then
    install_packages build test
    configure_and_build release -- stepbackd stepback_python
    export STEPBACKD=$ROOT/build/release/bin/stepbackd PYTHONPATH=$ROOT/build/release/python
  fi
}

LOGS=${STEPBACK_LOGS:-$ROOT/build/logs}
mkdir -p "$LOGS"
