# Packages of Debian for boards; sourced by the scripts beside it, never run.
# shellcheck shell=bash

# mirror [LABEL]: where this machine's apt has Debian, or Debian-Security, from.
mirror() {
  apt-get indextargets --format '$(SITE)' 'Created-By: Packages' "Label: ${1:-Debian}" 'Component: main' | head -n 1
}

# module_closure TREE VERSION NAME...: the files of these modules and of all that they need, below TREE/lib/modules/VERSION.
# Nothing for one that is part of the kernel.
module_closure() {
  local folder=$1/lib/modules/$2 version=$2 name pattern
  shift 2
  for name; do
    pattern="/${name//[-_]/[-_]}\.ko"
    grep -E "$pattern[^:]*:" "$folder/modules.dep" || grep -Eq "$pattern\$" "$folder/modules.builtin" ||
      die "kernel $version has no module $name"
  done | tr ' ' '\n' | sed 's/:$//' | sort -u
}

# copy_module_closure TREE VERSION ROOT NAME...: copies them to ROOT, unpacked and indexed.
copy_module_closure() {
  local tree=$1 version=$2 root=$3 file files
  shift 3
  files=$(module_closure "$tree" "$version" "$@")
  for file in $files; do
    install -D -m644 "$tree/lib/modules/$version/$file" "$root/lib/modules/$version/$file"
  done
  find "$root/lib/modules/$version" -name '*.ko.xz' -exec xz -d {} +
  cp "$tree/lib/modules/$version"/modules.{builtin,builtin.modinfo,order} "$root/lib/modules/$version/"
  depmod -b "$root" "$version"
}
