# The root file system; sourced by tools/image.
# shellcheck shell=bash

# What a board without a screen, a manual reader or a package manager never opens.
ROOT_UNWANTED=(
  usr/share/{doc,man,locale,info,lintian,bash-completion,zsh,fish,initramfs-tools,pkgconfig,polkit-1,bug,common-licenses,dbus-1/interfaces}
  usr/{games,include,src} usr/lib/udev/hwdb.d usr/lib/lsb usr/lib/pcrlock.d usr/share/{debconf,perl5,readline}
  etc/{apt,dpkg,cron.d,init.d,kernel,logrotate.d,pam.d,xdg,update-motd.d,default,'rc?.d'}
  usr/bin/{openssl,debconf*,localectl,hostnamectl,homectl,systemd-cryptenroll,systemd-repart,bootctl,kernel-install,portablectl,perl*}
  usr/lib/systemd/{systemd-pcrlock,systemd-measure,systemd-hibernate-resume,systemd-homed*,systemd-battery-check,systemd-bsod}
  usr/lib/aarch64-linux-gnu/{gconv,ossl-modules,engines-3}
  usr/sbin/{debugfs,e2scrub*,mklost+found,dumpe2fs,e4crypt,e4defrag,e2image,e2undo,e2freefrag,filefrag,tune2fs,mke2fs,mkfs.ext*,e2label,badblocks}
  var/{backups,cache,lib/dpkg,lib/apt}
  # Each costs time at every start.
  usr/lib/systemd/system-generators/systemd-{fstab,getty,gpt-auto,hibernate-resume,rc-local,run,ssh,system-update,sysv,tpm2}-generator
  usr/lib/udev/rules.d/{60-cdrom_id,60-dmi-id,60-fido-id,60-infiniband,60-input-id,60-evdev,60-persistent-input,60-persistent-storage-mtd}.rules
  usr/lib/udev/rules.d/{60-persistent-storage-tape,60-sensor,64-btrfs,64-ext4,70-camera,70-joystick,70-memory,70-mouse,70-touchpad}.rules
  usr/lib/udev/rules.d/{70-uaccess,71-seat,73-seat-late,75-probe_mtd,90-iocost,96-e2scrub}.rules
  usr/lib/udev/rules.d/{60-autosuspend,60-block,60-drm,60-persistent-storage,60-serial,70-power-switch,80-debian-compat,81-net-dhcp}.rules
  usr/lib/systemd/system/sockets.target.wants/systemd-hostnamed.socket
  # Network devices keep the kernel's names: what is set is set for all of a kind.
  usr/lib/udev/rules.d/{73-special-net-names,75-net-description,80-net-setup-link}.rules
  # The bus is for iwd, which asks for it.
  usr/lib/systemd/system/{multi-user.target.wants/dbus.service,sockets.target.wants/dbus.socket}
  usr/lib/systemd/network/80-{container,vm,6rd,wifi-adhoc}*
)

# make_base TREE: what packages bring, trimmed; no program of theirs is run.
make_base() {
  local tree=$1 path list
  list=$(fetch_packages $(grep -v '^#' "$ROOT/images/packages"))
  # shellcheck disable=SC2086
  unpack_packages "$tree" $list
  for path in "${ROOT_UNWANTED[@]}"; do
    # shellcheck disable=SC2086
    rm -rf "$tree"/$path
  done
  # Nobody here is anybody else but root.
  find "$tree" -type f -perm /6000 -exec chmod ug-s {} +
  ln -sf busybox "$tree/usr/bin/sh"
  # Debian picks one of two by its alternatives; the kernel knows both keys.
  ln -s regulatory.db-debian "$tree/usr/lib/firmware/regulatory.db"
  ln -s regulatory.db.p7s-debian "$tree/usr/lib/firmware/regulatory.db.p7s"
  # shellcheck disable=SC2086
  package_list $list >"$tree/.packages"
}

# cached_base: prints where it is; made anew when a package or what is done to it has changed.
cached_base() {
  local key out
  key=$({ board_apt get -s install $(grep -v '^#' "$ROOT/images/packages"); declare -f make_base unpack_packages; declare -p ROOT_UNWANTED; } | sha256sum | cut -c1-16)
  out=$CACHE/image/base-$key
  if [[ ! -d $out ]]; then
    say "unpacking Debian"
    rm -rf "$out.new"
    mkdir -p "$out.new"
    make_base "$out.new"
    mv "$out.new" "$out"
  fi
  echo "$out"
}

# set_up_units TREE: what images/units says. Where a unit is wanted, its [Install] section says.
set_up_units() {
  local tree=$1 verb unit wanted
  while read -r verb unit; do
    case $verb in
    enable)
      [[ -e $tree/usr/lib/systemd/system/$unit ]] || die "images/units: no unit $unit in the image"
      wanted=$(sed -n 's/^WantedBy=//p' "$tree/usr/lib/systemd/system/$unit")
      mkdir -p "$tree/etc/systemd/system/$wanted.wants"
      ln -s "/usr/lib/systemd/system/$unit" "$tree/etc/systemd/system/$wanted.wants/$unit"
      ;;
    mask) ln -s /dev/null "$tree/etc/systemd/system/$unit" ;;
    '#'*) ;;
    *) die "images/units: neither enable nor mask: $verb" ;;
    esac
  done <"$ROOT/images/units"
}

# make_root TREE DEB: base, worker, what images/root has, and no file that is made at run time.
make_root() {
  local tree=$1 deb=$2 bin
  cp -a "$(cached_base)" "$tree"
  chmod 755 "$tree"
  unpack_packages "$tree" "$deb"
  rm -rf "$tree"/usr/share/{doc,man,bash-completion,zsh,fish}
  cp -r "$ROOT/images/root/." "$tree/"
  # Git keeps no modes but one.
  find "$ROOT/images/root" -type f -printf '%P\n' | while read -r file; do
    if [[ -x $ROOT/images/root/$file ]]; then chmod 755 "$tree/$file"; else chmod 644 "$tree/$file"; fi
  done
  chmod 600 "$tree/etc/shadow"
  rm -f "$tree/.packages" "$tree/etc/machine-id"
  mkdir -p "$tree"/{data,boot/firmware,proc,sys,dev,run,tmp,root}
  mkdir -p "$tree"/var/{cache,log,spool,tmp,lib/{dbus,iwd,private,systemd}}
  chmod 1777 "$tree"/{tmp,var/tmp}
  chmod 700 "$tree/var/lib/private"
  rm -rf "$tree"/var/{lock,run}
  ln -s ../run "$tree/var/run"
  ln -s ../run/lock "$tree/var/lock"
  ln -sfn /etc/machine-id "$tree/var/lib/dbus/machine-id"
  ln -s /data/ssh "$tree/root/.ssh"
  ln -sfn /data/ssh "$tree/etc/dropbear"
  ln -sf ../run/systemd/resolve/resolv.conf "$tree/etc/resolv.conf"
  ln -sf ../proc/self/mounts "$tree/etc/mtab"
  ln -sf /usr/lib/systemd/system/multi-user.target "$tree/etc/systemd/system/default.target"
  # Its time is the least that the board's clock may say.
  : >"$tree/usr/lib/clock-epoch"
  : >"$tree/etc/.updated"
  : >"$tree/var/.updated"
  for bin in awk cat chmod cp cut date dd df dmesg grep head hexdump ip kill ln ls mkdir mv nslookup ping ps reboot rm sed sleep \
    sort stat sync tail top touch tr true uname vi wc wget; do
    [[ -e $tree/usr/bin/$bin || -e $tree/usr/sbin/$bin ]] || ln -s busybox "$tree/usr/bin/$bin"
  done
  set_up_units "$tree"
}
