# shellcheck shell=bash
# Installs what a verb of ./dev needs. Says nothing when all is there.

# Filled by the needs_* functions, installed by install_for.
missing=()

# packages NAME... wants these Debian packages.
packages() {
  local name status
  for name in "$@"; do
    status=$(dpkg-query -W -f='${db:Status-Status}' "$name" 2>/dev/null) || status=
    [[ $status == installed ]] || missing+=("$name")
  done
}

# command_from PACKAGE COMMAND wants a command. Where it comes from does not matter: machines have their own node or
# cmake, and Debian's npm refuses to stand beside a foreign node.
command_from() { command -v "$2" >/dev/null || missing+=("$1"); }

needs_build() {
  command_from cmake cmake
  command_from ninja-build ninja
  command_from ccache ccache
  packages g++ pkgconf protobuf-compiler protobuf-compiler-grpc libprotobuf-dev libgrpc++-dev libabsl-dev \
    libyaml-cpp-dev libcli11-dev libfmt-dev libjemalloc-dev libzstd-dev liblz4-dev librocksdb-dev libhiredis-dev \
    libpq-dev libsqlite3-dev libnghttp2-dev libssl-dev
}

needs_python() {
  python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3 python3-venv)
}

needs_node() {
  command_from nodejs node
  command_from npm npm
}

needs_test() {
  packages libgtest-dev libgmock-dev nlohmann-json3-dev ca-certificates
  command_from redis-server redis-server
  command_from redis-sentinel redis-sentinel
  # Debian keeps the server's programs off the path.
  compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || command_from postgresql initdb
  # Makes the certificates of the tests of TLS.
  command_from openssl openssl
  command_from shellcheck shellcheck
  needs_python
  needs_node
  # They look at the admin port as its users do.
  command_from prometheus prometheus
  command_from prometheus promtool
  command_from chromium chromium
  command_from chromium-driver chromedriver
  # The tests that build what an outside project builds.
  command_from make make
  # For tests/polyglot and tests/h2spec, and for tests/k8s where the machine's kubectl is absent or too old.
  command_from golang-go go
  # For tests/polyglot.
  command_from default-jdk-headless javac
  command_from ruby ruby
  packages ruby-grpc
  command_from maven mvn
}

needs_bench() {
  command_from rocksdb-tools db_bench
  command_from redis-server redis-server
  command_from redis-tools redis-benchmark
  command_from nghttp2-client h2load
  command_from curl curl
  command_from python3 python3
}

# The demo's database.
needs_run() { command_from sqlite3 sqlite3; }

needs_lint() {
  packages clang-19 clang-format-19 clang-tidy-19
  command_from shellcheck shellcheck
  needs_node
}

needs_fuzz() {
  # clang only recommends its runtime, which has the sanitizers and libFuzzer.
  packages clang-19 libclang-rt-19-dev libgtest-dev libgmock-dev
}

needs_debootstrap() { command_from debootstrap debootstrap; }

needs_buildah() { command_from buildah buildah; }

can_be_root() { [[ $EUID -eq 0 ]] || command -v sudo >/dev/null; }

# as_root COMMAND... runs it as root, or fails when that cannot be.
as_root() {
  if [[ $EUID -eq 0 ]]; then
    "$@"
  else
    sudo -- "$@"
  fi
}

# apt_get ARGUMENT... runs apt-get unattended. Waits up to five minutes for another apt or dpkg at work: for dpkg's lock
# apt can wait by itself, for the lock of its package lists it cannot.
apt_get() {
  local log end=$((SECONDS + 300))
  log=$(mktemp)
  until as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 "$@" >"$log" 2>&1; do
    if ! grep -q 'Could not get lock' "$log" || [[ $SECONDS -ge $end ]]; then
      tail -n 30 "$log" >&2
      rm -f "$log"
      return 1
    fi
    sleep 5
  done
  rm -f "$log"
}

# True when apt knows a version of every package.
apt_knows() {
  local name
  for name in "$@"; do
    LC_ALL=C apt-cache policy "$name" 2>/dev/null | grep '^  Candidate: [^(]' >/dev/null || return 1
  done
}

# install_for NEED... installs what is missing for these needs.
install_for() {
  local need
  if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    die "larder builds on Debian 12, and this machine has no apt; see docs/development.md for what it needs"
  fi
  missing=()
  for need in "$@"; do
    "needs_$need"
  done
  [[ ${#missing[@]} -gt 0 ]] || return 0
  mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)
  if ! can_be_root; then
    die "these packages are missing, and without root or sudo they cannot be installed here. As root:
  apt-get install --no-install-recommends ${missing[*]}"
  fi
  say "installing ${missing[*]}"
  # A fresh machine has no package lists; old lists name files that the mirror no longer has. Then fetch them, once.
  if apt_knows "${missing[@]}" && apt_get install --no-install-recommends "${missing[@]}" 2>/dev/null; then
    return 0
  fi
  apt_get update || die "apt-get update failed"
  apt_get install --no-install-recommends "${missing[@]}" || die "apt-get install failed"
}
