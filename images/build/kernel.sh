# Kernel, its modules and the initramfs; sourced by tools/image.
# shellcheck shell=bash

# Of every board's initramfs, after what its disk needs.
FILE_SYSTEM_MODULES="squashfs overlay crc32c_generic ext4 vfat nls_cp437 nls_ascii"
# iwd leaves its ciphers to the kernel and does not start where it misses one (check_crypto of its src/main.c). Most are part of
# Debian's kernel today; a later one may have them as modules.
IWD_MODULES="algif_hash algif_skcipher aes_generic cbc cmac des_generic ecb hmac md5 sha1_generic sha256_generic sha512_generic"
# Of every board's root: cameras and sound cards by USB, what systemd asks for.
COMMON_MODULES="uvcvideo snd-usb-audio ipv6 af_packet autofs4 $FILE_SYSTEM_MODULES $IWD_MODULES"

# cached_kernel: prints where Debian's kernel lies, unpacked: `vmlinuz.gz`, `version`, device trees, all modules.
cached_kernel() {
  local deb out
  deb=$(fetch_alone "$(kernel_package)")
  out=$CACHE/image/kernel-$(basename "$deb" .deb)
  if [[ ! -d $out ]]; then
    say "unpacking Debian's kernel"
    rm -rf "$out.new"
    unpack_packages "$out.new" "$deb"
    ln -s usr/lib "$out.new/lib"
    basename "$out.new"/boot/vmlinuz-* | sed 's/^vmlinuz-//' >"$out.new/version"
    depmod -b "$out.new" "$(cat "$out.new/version")"
    gzip -9n <"$(echo "$out.new"/boot/vmlinuz-*)" >"$out.new/vmlinuz.gz"
    mv "$out.new" "$out"
  fi
  echo "$out"
}

# make_initramfs KERNEL_TREE VERSION BASE OUT
make_initramfs() {
  local kernel=$1 version=$2 base=$3 out=$4 tree=$work/initramfs
  mkdir -p "$tree/bin"
  cp "$base/usr/bin/busybox" "$tree/bin/"
  install -m755 "$ROOT/images/initramfs/init" "$tree/init"
  printf '%s="%s"\n' watchdog_modules "$watchdog_modules" disk_modules "$disk_modules" \
    network_modules "$network_modules" file_system_modules "$FILE_SYSTEM_MODULES" >"$tree/board.env"
  # shellcheck disable=SC2086
  copy_module_closure "$kernel" "$version" "$tree" $watchdog_modules $disk_modules $network_modules $FILE_SYSTEM_MODULES
  find "$tree" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
  (cd "$tree" && find . | LC_ALL=C sort | cpio -o -H newc -R 0:0 --quiet --reproducible) | gzip -9n >"$out"
}

little_endian() { printf "$(printf '\\x%02x\\x%02x\\x%02x\\x%02x' $(($1 & 255)) $(($1 >> 8 & 255)) $(($1 >> 16 & 255)) $(($1 >> 24 & 255)))"; }

# The last 8 bytes of a gzip file are CRC-32 and length of what is in it, little endian.
crc32() { gzip -1 -c | tail -c 8 | head -c 4; }

pad_to_block() { truncate -s "%512" "$1"; }

# make_kernel_slot KERNEL INITRD OUT: header, kernel, initrd, as images/README.md draws it.
make_kernel_slot() {
  local kernel=$1 initrd=$2 out=$3 payload=$work/payload
  local kernel_bytes initrd_bytes blocks
  kernel_bytes=$(stat -c %s "$kernel")
  initrd_bytes=$(stat -c %s "$initrd")
  cp "$kernel" "$payload"
  pad_to_block "$payload"
  local offset=$(($(stat -c %s "$payload") + 512))
  cat "$initrd" >>"$payload"
  pad_to_block "$payload"
  blocks=$(($(stat -c %s "$payload") / 512))
  {
    printf FWKS
    for number in 1 "$blocks" "$kernel_bytes" "$initrd_bytes" "$offset"; do little_endian "$number"; done
    crc32 <"$payload"
  } >"$work/header"
  { cat "$work/header"; crc32 <"$work/header"; } >"$out"
  pad_to_block "$out"
  cat "$payload" >>"$out"
}
