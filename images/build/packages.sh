# Debian 13 for arm64, whatever this machine runs, by an apt of its own; sourced by tools/image.
# shellcheck shell=bash

SUITE=trixie
APT=$CACHE/image/apt

# Its lists and downloads lie apart from this machine's, which stay as they are.
board_apt() {
  local command=$1
  shift
  "apt-$command" -qq -o APT::Architecture=arm64 -o APT::Architectures::=arm64 -o APT::Sandbox::User=root \
    -o APT::Install-Recommends=false -o Acquire::Languages=none \
    -o "Dir::Etc::sourcelist=$APT/sources.list" -o Dir::Etc::sourceparts=/dev/null \
    -o "Dir::State::status=$APT/status" -o "Dir::State::lists=$APT/lists" \
    -o "Dir::Cache=$APT" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= "$@"
}

# write_sources SITE SECURITY_SITE
write_sources() {
  local keys=/usr/share/keyrings/debian-archive-keyring.gpg suite
  for suite in "$SUITE" "$SUITE-updates"; do
    echo "deb [signed-by=$keys] $1 $suite main non-free-firmware"
  done
  echo "deb [signed-by=$keys] $2 $SUITE-security main non-free-firmware"
}

# refresh_packages [--fresh]: learns what packages there are. Without --fresh an image is made of those known already, so that
# the same checkout makes the same image today and tomorrow.
refresh_packages() {
  local sources
  sources=$(write_sources "$(mirror Debian)" "$(mirror Debian-Security)")
  mkdir -p "$APT"/{lists,archives}/partial
  touch "$APT/status"
  if [[ ${1:-} != --fresh && $sources == "$(cat "$APT/sources.list" 2>/dev/null)" && -e $APT/.known ]]; then return; fi
  rm -f "$APT/.known"
  echo "$sources" >"$APT/sources.list"
  board_apt get update
  touch "$APT/.known"
}

# kernel_package: the one that Debian's metapackage stands for today.
kernel_package() {
  board_apt cache show --no-all-versions linux-image-arm64 | sed -n 's/^Depends: \(linux-image-[^ ,]*\).*/\1/p'
}

# fetch_packages NAME...: downloads these and what they depend on, and prints their files.
fetch_packages() {
  local name
  board_apt get install -y --download-only "$@" >&2
  for name in $(board_apt get -s install "$@" | sed -n 's/^Inst \([^ ]*\) (\([^ ]*\) .*/\1_\2/p'); do
    echo "$APT/archives/${name//:/%3a}"_*.deb
  done | LC_ALL=C sort
}

# fetch_alone NAME...: the same without what they depend on.
fetch_alone() {
  local name version
  for name; do
    version=$(board_apt cache policy "$name" | sed -n 's/^ *Candidate: //p')
    [[ -n $version && $version != '(none)' ]] || die "Debian $SUITE has no package $name for arm64"
    version=${version//:/%3a}
    compgen -G "$APT/archives/${name}_${version}_*.deb" >/dev/null ||
      (cd "$APT/archives" && board_apt get download "$name") >&2
    echo "$APT/archives/${name}_${version}"_*.deb
  done
}

# unpack_packages TREE DEB...
unpack_packages() {
  local tree=$1 deb
  shift
  for deb; do dpkg-deb -x "$deb" "$tree"; done
}

# package_list DEB...: name, version, architecture, source and the file's SHA-256, tab-separated.
package_list() {
  local deb
  for deb; do
    printf '%s\t%s\n' "$(dpkg-deb --showformat '${Package}\t${Version}\t${Architecture}\t${source:Package}\t${source:Version}' --show "$deb")" \
      "$(sha256sum "$deb" | cut -d' ' -f1)"
  done | LC_ALL=C sort
}
