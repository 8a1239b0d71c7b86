# Shared by the scripts beside it; sourced, never run.
# shellcheck shell=bash

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CACHE=$(realpath -m "${FIRMWARE_WORKER_CACHE:-$HOME/.cache/firmware-worker}")
# Whole, for tools that are called from elsewhere.
export FIRMWARE_WORKER_CACHE=$CACHE

# Where everything is built, whichever checkout it is of.
COPY=$CACHE/checkout

# The oldest toolchains that build the project (Cargo.toml, tests/livekit-server/go.mod) and its test server.
RUST_MIN=1.89
GO_MIN=1.26

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

die() {
  say "$*"
  exit 1
}

as_root() {
  if ((EUID == 0)); then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    die "needs root to run: $*"
  fi
}

# The comment at the head of the script that was called.
show_help() { sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"; }

# help_wanted ARGUMENT: shows it and exits when that is what the argument asks for.
help_wanted() {
  [[ $1 == -h || $1 == --help ]] || return 0
  show_help
  exit
}

# at_least WANTED FOUND
at_least() { printf '%s\n%s\n' "$1" "$2" | sort -V -C; }

# hash_of FILE...: names a cache entry by what it was made from.
hash_of() { cat "$@" | sha256sum | cut -c1-16; }

# cross_fact TARGET NAME: what cross/TARGET.env says; fails with the list of targets where there is no such file.
cross_fact() {
  [[ -n $1 && -f $ROOT/cross/$1.env ]] || die "unknown target '$1'; one of:" $(basename -a -s .env "$ROOT"/cross/*.env)
  (
    # shellcheck source=/dev/null
    . "$ROOT/cross/$1.env"
    echo "${!2}"
  )
}

# Of the image that a container starts from where no registry is asked; podman looks for such a name on this machine alone.
BASE_IMAGE=localhost/firmware-worker/debian:bookworm

CROSS_VERSION=0.2.5

# The `cross` of crates.io.
cross_program() { echo "$CACHE/engine/cross-$CROSS_VERSION/bin/cross"; }

# Debian's Rust in a folder of its own, which `cross` takes into the container.
container_rust() { echo "$CACHE/engine/rust-$(dpkg-query -W -f '${Version}' rustc-web)"; }

rust_version() { cargo --version 2>/dev/null | cut -d' ' -f2; }

# Puts a cargo that is new enough first in PATH. Debian's own lies in /usr/bin, behind a rustup that may be older.
use_rust() {
  at_least "$RUST_MIN" "$(rust_version || true)" && return
  local version
  version=$(/usr/bin/cargo --version 2>/dev/null | cut -d' ' -f2) || true
  at_least "$RUST_MIN" "$version" || return 1
  export PATH=/usr/bin:$PATH RUSTC=/usr/bin/rustc
}

go_version() { GOTOOLCHAIN=local go env GOVERSION 2>/dev/null | sed 's/^go//'; }

# Puts a go that is new enough first in PATH.
use_go() {
  export GOTOOLCHAIN=local
  at_least "$GO_MIN" "$(go_version || true)" && return
  [[ -x $CACHE/go/bin/go ]] || return 1
  export PATH=$CACHE/go/bin:$PATH
  at_least "$GO_MIN" "$(go_version || true)"
}

# Where the programs of the tests lie. A changed input gets a new place, so that checkouts can share the cache.
judge_venv() { echo "$CACHE/judge-$(hash_of "$ROOT/tests/judge/requirements.txt")"; }

livekit_server() { echo "$CACHE/livekit-server-$(hash_of "$ROOT"/tests/livekit-server/go.{mod,sum})"; }

# To which the updates of images in tests are signed.
update_key() { echo "$CACHE/update.key"; }

# ALSA for 32-bit ARM.
armhf_sysroot() { echo "$CACHE/sysroot-armhf"; }

# git_here ARGUMENT...: of the checkout, whoever owns it: the user of a container may be another one.
git_here() { git -c safe.directory="$ROOT" -C "$ROOT" "$@"; }

# Brings the copy to the checkout's state, uncommitted changes included. Files whose content is the same keep their times.
copy_checkout() {
  local of_copy=(git --git-dir "$COPY/.git" -c user.name=tests -c user.email=tests@localhost) tree commit
  git init -q "$COPY"
  # Of a run that was killed: we hold the lock.
  rm -f "$COPY"/.git/{from,index,HEAD}.lock
  # Of one that was made under another mask: what stays the same is not written again.
  find "$COPY" -path "$COPY/.git" -prune -o ! -perm -go=r -exec chmod u=rwX,go=rX {} +
  GIT_INDEX_FILE=$COPY/.git/from "${of_copy[@]}" --work-tree "$ROOT" add -A
  tree=$(GIT_INDEX_FILE=$COPY/.git/from "${of_copy[@]}" write-tree)
  git -C "$COPY" read-tree --reset -u "$tree"
  # Packages and images have the time of the last commit.
  commit=$(GIT_COMMITTER_DATE=$(git_here log -1 --format=%cI) "${of_copy[@]}" commit-tree "$tree" -m "Copy")
  git -C "$COPY" update-ref --no-deref HEAD "$commit"
}

# work_in_copy ARGUMENT...: runs the script that was called in a copy of the checkout under the cache, and nobody else does
# meanwhile. Cargo goes by the times of files and not by where they are: built from checkouts in one place, a new clone would
# build everything anew, and each could take another's program for its own.
work_in_copy() {
  [[ ! $ROOT -ef $COPY ]] || return 0
  git_here rev-parse -q --verify HEAD >/dev/null 2>&1 || {
    say "no repository here: everything is built in target/ of this folder"
    return 0
  }
  mkdir -p "$CACHE"
  exec 9>"$COPY.lock"
  flock -n 9 || {
    say "waits for who builds or tests at this moment"
    flock 9
  }
  # Modes of files go into packages and images: the same whoever makes them.
  (umask 022 && copy_checkout)
  # Of who works in the checkout by hand.
  [[ ${CARGO_TARGET_DIR:-} != "$ROOT/target" ]] || unset CARGO_TARGET_DIR
  [[ ${LIVEKIT_SERVER:-} != "$CACHE"/* ]] || unset LIVEKIT_SERVER
  [[ ${JUDGE_PYTHON:-} != "$CACHE"/* ]] || unset JUDGE_PYTHON
  exec "$COPY/tools/${0##*/}" "$@"
}

# build_folder [KIND]: of the copy under the cache; of a checkout, where somebody runs cargo there himself, in it.
build_folder() { if [[ $ROOT -ef $COPY ]]; then echo "$CACHE/target${1:+-$1}"; else echo "$ROOT/target${1:+/$1}"; fi; }

# Everything that builds or tests runs in this environment.
use_environment() {
  export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$(build_folder)}
  export LIVEKIT_SERVER=${LIVEKIT_SERVER:-$(livekit_server)}
  export JUDGE_PYTHON=${JUDGE_PYTHON:-$(judge_venv)/bin/python}
  use_rust || die "no cargo >= $RUST_MIN: run tools/setup"
}

free_port() {
  "$JUDGE_PYTHON" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# wait_for PID SECONDS WHAT COMMAND...: runs the command until it succeeds; fails when that takes too long or when the
# process it depends on has ended.
wait_for() {
  local pid=$1 deadline=$((SECONDS + $2)) what=$3
  shift 3
  until "$@" >/dev/null 2>&1; do
    if ! kill -0 "$pid" 2>/dev/null; then
      say "ended before $what"
      return 1
    elif ((SECONDS >= deadline)); then
      say "waited in vain until $what"
      return 1
    fi
    sleep 0.1
  done
}

# end PID: asks a child to end, again while it drains, and kills it when asking does not help.
end() {
  local asked
  for ((asked = 0; asked < 25; asked++)); do
    kill -TERM "$1" 2>/dev/null || break
    sleep 0.2
  done
  kill -KILL "$1" 2>/dev/null
  wait "$1" 2>/dev/null || true
}
