# The boot partition, the data partition and the disk that they lie on; sourced by tools/image.
# shellcheck shell=bash

# In MiB, as images/README.md draws them. All slots of one kind are alike, and nothing may move while boards are in the field.
BOOT_START=4 BOOT_SIZE=48
KERNEL_A_START=53 KERNEL_B_START=183 KERNEL_SIZE=32
ROOT_A_START=86 ROOT_B_START=216 ROOT_SIZE=96
EXTENDED_START=52 EXTENDED_SIZE=260
DATA_START=312 DATA_SIZE=64
# By which U-Boot and the initramfs tell the disk they start from; "FWRK".
DISK_SIGNATURE=0x4b525746
# File systems must not differ between two runs.
DATA_ID=4b525746-6461-7461-8000-000000000001

# make_boot_script OUT
make_boot_script() {
  cat "$board_folder/boot.cmd" "$ROOT/images/boot.cmd" >"$work/boot.cmd"
  mkimage -A arm64 -O linux -T script -C none -n 'slot choice' -d "$work/boot.cmd" "$1" >/dev/null
}

# fill_boot FOLDER: what every board has there.
fill_boot() {
  make_boot_script "$1/boot.scr"
  cp "$ROOT/images/firmware-worker.toml" "$1/"
}

# make_boot_partition FOLDER OUT: a FAT of what lies in FOLDER.
make_boot_partition() {
  local folder=$1 out=$2
  find "$folder" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
  truncate -s "${BOOT_SIZE}M" "$out"
  TZ=UTC mkfs.fat -F 32 -s 1 -n BOOT --invariant "$out" >/dev/null
  (
    cd "$folder"
    export TZ=UTC
    find . -mindepth 1 -type d -printf '%P\n' | LC_ALL=C sort | while read -r name; do mmd -i "$out" "::$name"; done
    find . -type f -printf '%P\n' | LC_ALL=C sort | while read -r name; do mcopy -m -i "$out" "$name" "::$name"; done
  )
}

# make_data_partition OUT: empty, with room in its tables to grow to 1 TB.
make_data_partition() {
  truncate -s "${DATA_SIZE}M" "$1"
  E2FSPROGS_FAKE_TIME=$SOURCE_DATE_EPOCH mke2fs -q -t ext4 -b 4096 -i 16384 -m 1 -J size=8 -L data -U "$DATA_ID" \
    -E "hash_seed=$DATA_ID,resize=268435456,root_owner=0:0,lazy_itable_init=0,lazy_journal_init=0" -O ^metadata_csum_seed "$1"
}

# place FILE MIB: with every zero, as who writes a card by the map leaves out the image's holes, and a card is not empty.
place() { dd if="$1" of="$disk_image" bs=1M seek="$2" conv=notrunc status=none; }

# clear MIB COUNT
clear() { dd if=/dev/zero of="$disk_image" bs=1M seek="$1" count="$2" conv=notrunc status=none; }

# must_fit FILE MIB WHAT: and says how large it is.
must_fit() {
  local bytes
  bytes=$(stat -c %s "$1")
  ((bytes <= $2 * 1024 * 1024)) || die "$3 has $bytes bytes, its slot $2 MiB"
  say "$3 has $bytes bytes, its slot $2 MiB"
}

# make_disk BOOT KERNEL_SLOT ROOT DATA OUT: both slots have their place, and A what was made now.
make_disk() {
  local boot=$1 kernel=$2 root=$3 data=$4 disk_image=$5
  must_fit "$kernel" "$KERNEL_SIZE" "the kernel"
  must_fit "$root" "$ROOT_SIZE" "the root"
  rm -f "$disk_image"
  truncate -s "$((DATA_START + DATA_SIZE))M" "$disk_image"
  # No record and no kernel in B, whatever the card had.
  clear 0 "$BOOT_START"
  clear "$KERNEL_B_START" 1
  sfdisk -q --no-reread "$disk_image" <<TABLE
label: dos
label-id: $DISK_SIGNATURE
unit: sectors
1: start=${BOOT_START}MiB, size=${BOOT_SIZE}MiB, type=c, bootable
2: start=${EXTENDED_START}MiB, size=${EXTENDED_SIZE}MiB, type=f
3: start=${DATA_START}MiB, size=${DATA_SIZE}MiB, type=83
5: start=${KERNEL_A_START}MiB, size=${KERNEL_SIZE}MiB, type=da
6: start=${ROOT_A_START}MiB, size=${ROOT_SIZE}MiB, type=83
7: start=${KERNEL_B_START}MiB, size=${KERNEL_SIZE}MiB, type=da
8: start=${ROOT_B_START}MiB, size=${ROOT_SIZE}MiB, type=83
TABLE
  place "$boot" "$BOOT_START"
  place "$kernel" "$KERNEL_A_START"
  place "$root" "$ROOT_A_START"
  place "$data" "$DATA_START"
}
