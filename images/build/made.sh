# Whether an image lies there already, made of the same things; sourced by tools/image.
# shellcheck shell=bash

# inputs: all that its bytes come from: checkout, worker, key, Debian's packages, and the programs here that pack them.
inputs() {
  echo "$board $SOURCE_DATE_EPOCH $disk_only"
  sha256sum <"$deb"
  [[ -z ${FIRMWARE_WORKER_UPDATE_KEY:-} ]] || sha256sum <"$FIRMWARE_WORKER_UPDATE_KEY"
  (cd "$ROOT" && find images tools -type f -printf '%m %p\n' | LC_ALL=C sort && find images tools -type f -exec sha256sum {} + | LC_ALL=C sort)
  board_apt get -s install $(grep -v '^#' "$ROOT/images/packages")
  # shellcheck disable=SC2086
  board_apt cache policy "$(kernel_package)" "$uboot_package" $firmware_packages
  dpkg-query -W squashfs-tools u-boot-tools dosfstools mtools e2fsprogs fdisk cpio gzip xz-utils kmod bmap-tools 2>/dev/null || true
}

# state_of FILE...: stays as it is as long as nobody touches them.
state_of() { stat -c '%n %i %s %y' "$@" 2>/dev/null | sha256sum; }

# as_made_before LIST INPUTS: prints the paths of a run that had these inputs, where all of it still lies there.
as_made_before() {
  local known state paths
  [[ -e $1 ]] || return 1
  { read -r known && read -r state && mapfile -t paths; } <"$1"
  [[ $known == "$2" && $state == "$(state_of "${paths[@]}")" ]] || return 1
  printf '%s\n' "${paths[@]}"
}

# keep_made LIST INPUTS PATH...: for the next run.
keep_made() {
  local list=$1 inputs=$2
  shift 2
  printf '%s\n' "$inputs" "$(state_of "$@")" "$@" >"$list"
}
