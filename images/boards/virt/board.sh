# QEMU's `virt` machine, which tests and demonstrations run on.
uboot_package=u-boot-qemu
# Not on the boot partition: QEMU takes it as -bios.
uboot=usr/lib/u-boot/qemu_arm64/u-boot.bin
# Of the initramfs: the watchdog first, then what the disk needs.
watchdog_modules="i6300esb"
disk_modules="virtio_pci virtio_blk"
# As early, so that the network is among the first that udev sees.
network_modules="virtio_net"
# Of the root: random numbers; camera, sound card, and radios with their ciphers for tests.
modules="virtio_rng snd-aloop vivid mac80211_hwsim ccm"
firmware_packages=

# add_board_files ROOT BOOT: what the board alone wants in its root and on its boot partition.
add_board_files() {
  # Straight to the script: by itself U-Boot waits two seconds and looks at other disks first. As long as this build keeps it for.
  mkenvimage -s 262144 -o "$work/u-boot.env" "$board_folder/uboot.env"
}
