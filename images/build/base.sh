# Raspberry Pi OS as it is downloaded, with the worker in it; sourced by tools/image.
# shellcheck shell=bash

# Of Debian 12 and 13: what the worker's binary and package are tested on.
BASE_SUITES=(bookworm trixie)
# In MiB, for what dpkg writes beside the files of the packages.
BASE_SLACK=16

# refuse WHAT REMEDY: says of the base what is wrong.
refuse() { die "$base: $1; $2"; }

# unpack_base OUT: a copy of the disk in $base, which stays as it is.
unpack_base() {
  local remedy="--base takes Raspberry Pi OS Lite (64-bit) as it is downloaded, .img or .img.xz"
  [[ -f $base ]] || refuse "no such file" "$remedy"
  case $base in
  *.xz) xz -dc "$base" >"$1" 2>/dev/null || refuse "cannot be unpacked" "download it again" ;;
  *) cp --sparse=always "$base" "$1" ;;
  esac
  [[ $(od -An -tx1 -j510 -N2 "$1" 2>/dev/null) == ' 55 aa' ]] || refuse "no image of a disk" "$remedy"
}

# partition DISK NUMBER: its first byte, its length and its type.
partition() {
  sfdisk -d "$1" 2>/dev/null |
    sed -n "s/^.*$2 : start= *\([0-9]*\), size= *\([0-9]*\), type=\([0-9a-f]*\).*/\1 \2 \3/p" |
    while read -r start size type; do echo "$((start * 512)) $((size * 512)) $type"; done
}

# find_partitions DISK: sets boot and root to what mtools and e2fsprogs take for the two.
find_partitions() {
  local disk=$1 remedy="take Raspberry Pi OS Lite (64-bit) as it is downloaded" boot_type boot_start root_start root_size root_type
  read -r boot_start _ boot_type < <(partition "$disk" 1) || true
  read -r root_start root_size root_type < <(partition "$disk" 2) || true
  [[ $(sfdisk -d "$disk" 2>/dev/null) == 'label: dos'* && ${boot_type:-} == [bce] && ${root_type:-} == 83 && -z $(partition "$disk" 3) ]] ||
    refuse "has not the two partitions of Raspberry Pi OS, FAT and ext4" "$remedy"
  (($(stat -c %s "$disk") >= root_start + root_size)) || refuse "is cut off" "download it again"
  boot=$disk@@$boot_start root=$disk?offset=$root_start
  mtype -i "$boot" ::cmdline.txt >/dev/null 2>&1 || refuse "no cmdline.txt on the first partition" "$remedy"
  root_stats=$(dumpe2fs -h "$root" 2>/dev/null) || refuse "the second partition is not ext4" "$remedy"
  [[ $root_stats != *needs_recovery* ]] || refuse "its root was not unmounted" "$remedy"
}

# stat_of FIELD: of the root's file system.
stat_of() { sed -n "s/^$1: *//p" <<<"$root_stats"; }

# cat_root PATH: a file of the root; nothing without it.
cat_root() { debugfs -R "cat $1" "$root" 2>/dev/null; }

# base_field PACKAGE FIELD: what the base's dpkg knows of it.
base_field() { awk -v package="Package: $1" -v field="$2: " 'BEGIN {RS = ""; FS = "\n"} $1 == package {for (i = 1; i <= NF; i++) if (index($i, field) == 1) print substr($i, length(field) + 1)}' "$work/status"; }

# read_base: sets SUITE and APT; refuses a base that the worker cannot be put into.
read_base() {
  local architecture
  cat_root /var/lib/dpkg/status >"$work/status"
  SUITE=$(cat_root /usr/lib/os-release | sed -n 's/^VERSION_CODENAME=//p')
  [[ " ${BASE_SUITES[*]} " == *" ${SUITE:-none} "* ]] ||
    refuse "its release is '${SUITE:-unknown}'" "take one of Debian's ${BASE_SUITES[*]}"
  architecture=$(base_field dpkg Architecture)
  [[ $architecture == arm64 ]] ||
    refuse "its programs are of ${architecture:-an unknown architecture}, not arm64" "take the 64-bit one"
  [[ -z $(base_field firmware-worker Status) && -z $(debugfs -R "stat /var/lib/firmware-worker-image" "$root" 2>/dev/null) ]] ||
    refuse "has the worker already" "take the image as it was downloaded, or install the .deb on the running board"
  APT=$CACHE/image/rpi-os-$SUITE
  mkdir -p "$APT"
  cp "$work/status" "$APT/status"
}

# lacking DEB: downloads of what it depends on what the base lacks, and prints the files.
lacking() {
  local name
  board_apt get install -y --download-only "$1" >&2 ||
    refuse "what the worker depends on is not to be had for it" "see above; --fresh asks Debian for newer packages"
  for name in $(board_apt get -s install "$1" | sed -n 's/^Inst \([^ ]*\)\( \[[^]]*\]\)\? (\([^ ]*\) .*/\1_\3/p'); do
    [[ $name == firmware-worker_* ]] || echo "$APT/archives/${name//:/%3a}"_*.deb
  done | LC_ALL=C sort
}

# must_have_room DEB...
must_have_room() {
  local deb needed=$((BASE_SLACK * 1024)) free
  for deb; do needed=$((needed + $(stat -c %s "$deb") / 1024 + $(dpkg-deb -f "$deb" Installed-Size))); done
  free=$((($(stat_of 'Free blocks') - $(stat_of 'Reserved block count')) * $(stat_of 'Block size') / 1024))
  ((free >= needed)) ||
    refuse "its root has $((free / 1024)) MiB left, and $((needed / 1024)) are needed" "take the image as it was downloaded"
}

# fill_base_root TREE DEB...: what is laid into the root.
fill_base_root() {
  local tree=$1 units=etc/systemd/system unit
  shift
  mkdir -p "$tree/data"/{board,iwd,ssh} "$tree/root/.ssh" "$tree/$units/multi-user.target.wants"
  cp -r "$ROOT/images/rpi-os/root/." "$tree/"
  cp "$ROOT/images/root/usr/lib/systemd/system/firmware-worker-board.service" "$tree/$units/"
  cp "$@" "$tree/var/lib/firmware-worker-image/"
  # Whoever put keys there already means them.
  [[ -n $(debugfs -R "stat /root/.ssh/authorized_keys" "$root" 2>/dev/null) ]] ||
    ln -s /data/ssh/authorized_keys "$tree/root/.ssh/authorized_keys"
  for unit in install board radio ssh; do
    ln -s "../firmware-worker-$unit.service" "$tree/$units/multi-user.target.wants/firmware-worker-$unit.service"
  done
  # Git keeps no modes but one.
  find "$tree" -type d -exec chmod 755 {} +
  find "$tree" -type f ! -perm -u+x -exec chmod 644 {} +
  chmod 755 "$tree/var/lib/firmware-worker-image/install"
  chmod 700 "$tree/data"/{board,iwd,ssh} "$tree/root/.ssh"
}

# script_for TREE: what debugfs is told to lay it into the root. Nothing of the base is touched but the folders that get new
# names, so nothing of it can be lost: owners, capabilities, links.
script_for() {
  local path kind mode
  (cd "$1" && find . -mindepth 1 -printf '%P %y %m\n' | LC_ALL=C sort) | while read -r path kind mode; do
    case $kind in
    d) [[ -n $(debugfs -R "stat /$path" "$root" 2>/dev/null) ]] || echo "mkdir /$path"$'\n'"sif /$path mode 040$mode" ;;
    f) echo "cd /$(dirname "$path")"$'\n'"write $1/$path $(basename "$path")"$'\n'"sif /$path mode 0100$mode" ;;
    l) echo "symlink /$path $(readlink "$1/$path")" ;;
    esac
  done
}

# lay_into_root TREE: all of it, or an error.
lay_into_root() {
  local trouble file
  script_for "$1" >"$work/script"
  # What failed stands on standard error, after its version.
  trouble=$({ E2FSPROGS_FAKE_TIME=$SOURCE_DATE_EPOCH debugfs -w -f "$work/script" "$root" 2>&1 >/dev/null || true; } | sed '/^debugfs [0-9]/d')
  [[ -z $trouble ]] || die "debugfs: $trouble"
  (cd "$1" && find . -type f -printf '%P\n') | while read -r file; do
    cat_root "/$file" | cmp -s - "$1/$file" || die "/$file is not in the root as it was written"
  done
  e2fsck -fn "$root" >"$work/fsck" 2>&1 || die "the root is damaged: $(cat "$work/fsck")"
}

# fill_base_boot: the memory controller in the one line that the kernel gets, and the settings to be filled in.
fill_base_boot() {
  local line
  line=$(mtype -i "$boot" ::cmdline.txt | tr -d '\r' | sed '/^[[:space:]]*$/d')
  [[ $line == *root=* && $line != *$'\n'* ]] || refuse "its cmdline.txt is not one line with root=" "take the image as it was downloaded"
  line=$(tr -s ' \t' '\n' <<<"$line" | grep -vx 'cgroup_\(en\|dis\)able=memory' | paste -sd ' ')
  echo "$line cgroup_enable=memory" >"$work/cmdline.txt"
  cp "$ROOT/images/firmware-worker.toml" "$work/"
  touch -d "@$SOURCE_DATE_EPOCH" "$work/cmdline.txt" "$work/firmware-worker.toml"
  TZ=UTC mcopy -mo -i "$boot" "$work/cmdline.txt" ::cmdline.txt
  # Whoever wrote some already means them.
  mtype -i "$boot" ::firmware-worker.toml >/dev/null 2>&1 ||
    TZ=UTC mcopy -m -i "$boot" "$work/firmware-worker.toml" ::firmware-worker.toml
}

# base_packages DEB...: those of the base, and the new ones with the sums of their files.
base_packages() {
  {
    awk 'BEGIN {RS = ""; FS = "\n"; OFS = "\t"} /\nStatus: install ok installed/ {
      for (field in f) delete f[field]
      for (i = 1; i <= NF; i++) if (match($i, /^[A-Za-z-]+: /)) f[substr($i, 1, RLENGTH - 2)] = substr($i, RLENGTH + 1)
      source = f["Source"] ? f["Source"] : f["Package"]; version = f["Version"]
      if (match(source, / \(.*\)$/)) {version = substr(source, RSTART + 2, RLENGTH - 3); source = substr(source, 1, RSTART - 1)}
      print f["Package"], f["Version"], f["Architecture"], source, version, ""
    }' "$work/status"
    package_list "$@"
  } | LC_ALL=C sort
}

# make_from_base OUT_FOLDER: prints as tools/image does.
make_from_base() {
  local name debs
  unpack_base "$work/disk"
  find_partitions "$work/disk"
  read_base
  have_worker
  refresh_packages $fresh
  debs=$(lacking "$deb")
  # shellcheck disable=SC2086
  must_have_room "$deb" $debs
  # shellcheck disable=SC2086
  fill_base_root "$work/tree" "$deb" $debs
  lay_into_root "$work/tree"
  fill_base_boot
  name=$1/rpi-os-$SUITE-$version
  mv "$work/disk" "$name.img"
  if [[ -z $disk_only ]]; then
    # Without a map: which of the base's zeros are data nobody says.
    compress_image "$name"
    # shellcheck disable=SC2086
    base_packages "$deb" $debs | sbom "$(basename "$name")" >"$name.spdx.json"
    printf '%s\n' "$name.img.xz" "$name.sha256" "$name.spdx.json"
  fi
  echo "$name.img"
}
