# What lies beside the disk image for who writes it to a card; sourced by tools/image.
# shellcheck shell=bash

# The worker's and the board's packages, beside those of the base.
all_packages() {
  cat "$(cached_base)/.packages"
  # shellcheck disable=SC2046,SC2086
  package_list "$deb" $(fetch_alone "$(kernel_package)" "$uboot_package" $firmware_packages)
}
