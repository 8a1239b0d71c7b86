# What lies beside the disk image for who writes it to a card; sourced by tools/image.
# shellcheck shell=bash

# The worker's and the board's packages, beside those of the base.
all_packages() {
  local firmware
  # shellcheck disable=SC2086
  firmware=$(fetch_alone "$(kernel_package)" "$uboot_package" $firmware_packages)
  {
    cat "$(cached_base)/.packages"
    # shellcheck disable=SC2086
    package_list "$deb" $firmware
  } | LC_ALL=C sort
}

# sbom NAME: packages with versions and, where there are any, the sums of their files, as SPDX 2.3.
sbom() {
  local name=$1 first=yes package version architecture source source_version sum
  cat <<HEAD
{
  "spdxVersion": "SPDX-2.3",
  "dataLicense": "CC0-1.0",
  "SPDXID": "SPDXRef-DOCUMENT",
  "name": "$name",
  "documentNamespace": "urn:firmware-worker:image:$name:$SOURCE_DATE_EPOCH",
  "creationInfo": {"created": "$(date -u -d "@$SOURCE_DATE_EPOCH" +%FT%TZ)", "creators": ["Tool: tools/image"]},
  "packages": [
HEAD
  while IFS=$'\t' read -r package version architecture source source_version sum; do
    [[ -n $first ]] || echo ,
    first=
    printf '    {"name": "%s", "SPDXID": "SPDXRef-%s", "versionInfo": "%s", "sourceInfo": "%s %s, %s", "downloadLocation": "NOASSERTION", "filesAnalyzed": false' \
      "$package" "${package//[^A-Za-z0-9.-]/-}" "$version" "$source" "$source_version" "$architecture"
    [[ -z $sum ]] || printf ', "checksums": [{"algorithm": "SHA256", "checksumValue": "%s"}]' "$sum"
    printf '}'
  done
  printf '\n  ]\n}\n'
}

# compress_image NAME: NAME.img.xz and .sha256 beside NAME.img.
compress_image() {
  local name=$1
  # Blocks make the bytes the same on any number of processors.
  xz -6 -T0 --block-size=16MiB --stdout "$name.img" >"$name.img.xz.new"
  mv "$name.img.xz.new" "$name.img.xz"
  (cd "$(dirname "$name")" && sha256sum "$(basename "$name").img.xz") >"$name.sha256"
}

# pack_outputs NAME: NAME.img.xz, .bmap, .sha256 and .spdx.json beside NAME.img; prints their paths.
pack_outputs() {
  local name=$1
  compress_image "$name"
  bmaptool -q create -o "$name.bmap" "$name.img"
  all_packages | sbom "$(basename "$name")" >"$name.spdx.json"
  printf '%s\n' "$name.img.xz" "$name.bmap" "$name.sha256" "$name.spdx.json"
}
