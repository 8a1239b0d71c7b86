# Raspberry Pi 3, Zero 2 W, 4 and Compute Module 4.
uboot_package=u-boot-rpi
uboot=usr/lib/u-boot/rpi_arm64/u-boot.bin
# Of the initramfs: the watchdog first, then what the card and a USB disk need: supplies and pins of the Pi 4's card
# (gpio-regulator, fixed), both controllers of the others.
watchdog_modules="bcm2835_wdt"
disk_modules="fixed gpio-regulator sdhci-iproc bcm2835 phy-generic dwc2 xhci-pci reset-raspberrypi usb-storage uas"
# As early, so that the network is among the first that udev sees: Ethernet of the boards, and QEMU's by USB. The Pi 4's looks for
# its cable's end by another driver (a softdep, which the initramfs does not follow): without that first there is no network.
network_modules="mdio-bcm-unimac genet broadcom smsc95xx lan78xx microchip cdc_ether rndis_host"
# Of the root: other Ethernet by USB, Wi-Fi, the board's own sound, temperature, clock speed (whose two drivers do not name each
# other), random numbers.
modules="asix ax88179_178a r8152 brcmfmac brcmfmac-wcc brcmfmac-cyw snd-bcm2835 snd-soc-bcm2835-i2s
  bcm2835_thermal bcm2711_thermal raspberrypi-cpufreq cpufreq-dt bcm2835-rng iproc-rng200 i2c-bcm2835 spi-bcm2835"
firmware_packages="raspi-firmware firmware-brcm80211"

# add_board_files ROOT BOOT: what the board alone wants in its root and on its boot partition.
add_board_files() {
  local root=$1 boot=$2 tree=$work/firmware name
  # shellcheck disable=SC2046,SC2086
  unpack_packages "$tree" $(fetch_alone $firmware_packages)
  # Of the radios' firmware what these boards carry: the chip's, its settings by board, its rules by country.
  mkdir -p "$root/usr/lib/firmware"/{brcm,cypress}
  for name in 43430 43455 43456; do
    cp -a "$tree"/usr/lib/firmware/brcm/brcmfmac$name-sdio.{bin,clm_blob,txt} "$root/usr/lib/firmware/brcm/"
  done
  cp -a "$tree"/usr/lib/firmware/brcm/brcmfmac434{30,55}-sdio.raspberrypi,* "$root/usr/lib/firmware/brcm/"
  cp -a "$tree"/usr/lib/firmware/cypress/cyfmac434{30,55}-sdio.* "$root/usr/lib/firmware/cypress/"
  for name in bootcode.bin start.elf fixup.dat start4.elf fixup4.dat; do
    cp "$tree/usr/lib/raspi-firmware/$name" "$boot/"
  done
  cp "$kernel/usr/lib/linux-image-$kernel_version"/broadcom/bcm2{837,711}-rpi-*.dtb "$boot/"
  cp "$board_folder/config.txt" "$work/u-boot.bin" "$boot/"
  # Straight to the script: by itself U-Boot waits two seconds and looks at USB first. It does not look for a key either: with a
  # prompt that any noise on the line gives, or a card that was read too early, nothing would start again. As long as this
  # build keeps it for.
  mkenvimage -s 16384 -o "$boot/uboot.env" "$board_folder/uboot.env"
}
