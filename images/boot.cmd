# Chooses the slot and boots it. Numbers are hexadecimal.
#
# The slot record (images/README.md) lies twice, in blocks 40 and 48 of the disk; the valid copy of the higher generation
# counts. A trial with tries left loses one before it is booted, so that one which never gets to say that it is good ends; so
# does one whose kernel is damaged. Where that cannot be written, as on a card that is worn out, there is no trial, as it
# could not end either. If the good slot's kernel is damaged, the other is better than none.

# Where the kernel is unpacked to, and what is read from the disk well behind it.
setexpr record ${kernel_addr_r} + 9f00000
setexpr copy ${record} + 200
setexpr sum ${record} + 1000
setexpr image ${kernel_addr_r} + a000000
setexpr payload ${image} + 200

# checksum: CRC-32 of `bytes` bytes at `from`, compared with the one at `wanted`. U-Boot writes it as numbers are, or turned
# round, as it was built: that of four zeros tells.
setexpr sum_1 ${sum} + 1
setexpr sum_2 ${sum} + 2
setexpr sum_3 ${sum} + 3
setexpr turned ${sum} + 4
setexpr turned_1 ${sum} + 5
setexpr turned_2 ${sum} + 6
setexpr turned_3 ${sum} + 7
setenv turn 'cp.b ${sum_3} ${turned} 1; cp.b ${sum_2} ${turned_1} 1; cp.b ${sum_1} ${turned_2} 1; cp.b ${sum} ${turned_3} 1'
mw.l ${turned} 0
crc32 ${turned} 4 ${sum}
if itest.l *${sum} == 2144df1c; then setenv turn 'cp.b ${sum} ${turned} 4'; fi
setenv make_sum 'crc32 ${from} ${bytes} ${sum}; run turn'
setenv checksum 'run make_sum; cmp.b ${turned} ${wanted} 4'

# The record's fields.
setexpr generation_at ${record} + 8
setexpr good_at ${record} + c
setexpr trial_at ${record} + 10
setexpr tries_at ${record} + 14
setexpr sum_at ${record} + 1c
setexpr copy_generation_at ${copy} + 8
setexpr copy_sum_at ${copy} + 1c

setenv disk '${devtype} dev ${devnum}'
setenv good 0
setenv trial ffffffff
setenv tries 0
setenv newest none
setenv generation 0
run disk
# Twice: without a record A is taken, and a card that was read too early must not be one without.
for block in 40 48 40 48; do
  setenv wanted ${copy_sum_at}
  setenv from ${copy}
  setenv bytes 1c
  if ${devtype} read ${copy} ${block} 1 && itest.l *${copy} == 52535746 && run checksum; then
    setexpr.l found *${copy_generation_at}
    if test ${newest} = none || itest 0x${found} > 0x${generation}; then
      setenv newest ${block}
      setenv generation ${found}
      cp.b ${copy} ${record} 200
    fi
  fi
done
if test ${newest} != none; then
  setexpr.l good *${good_at}
  setexpr.l trial *${trial_at}
  setexpr.l tries *${tries_at}
fi

# write_record: what `trial` and `tries` say now, to the older copy first; whether it is there then.
setenv write_record 'setexpr generation ${generation} + 1; mw.l ${generation_at} ${generation}; mw.l ${trial_at} ${trial}; mw.l ${tries_at} ${tries}; setenv from ${record}; setenv bytes 1c; run make_sum; cp.b ${turned} ${sum_at} 4; setenv older 40; if test ${newest} = 40; then setenv older 48; fi; ${devtype} write ${record} ${older} 1; ${devtype} write ${record} ${newest} 1; ${devtype} read ${copy} ${older} 1 && cmp.b ${record} ${copy} 20'
setenv clear_trial 'setenv trial ffffffff; setenv tries 0; run write_record'

setenv order 0 1
if itest ${good} == 1; then setenv order 1 0; fi
setenv fallback
if itest ${trial} != ffffffff; then
  if itest ${tries} > 0; then
    setexpr tries ${tries} - 1
    if run write_record; then
      setenv order ${trial} ${order}
    else
      echo "slot ${trial}: its start cannot be written down"
      setenv fallback "firmware_worker.fallback=record"
    fi
  else
    echo "slot ${trial}: no tries left"
    setenv fallback "firmware_worker.fallback=tries"
    run clear_trial
  fi
fi

# verify: reads a slot's header, then what it says, and checks both.
setexpr blocks_at ${image} + 8
setexpr kernel_bytes_at ${image} + c
setexpr initrd_bytes_at ${image} + 10
setexpr initrd_offset_at ${image} + 14
setexpr payload_sum_at ${image} + 18
setexpr header_sum_at ${image} + 1c
setenv read_header 'setenv from ${image}; setenv bytes 1c; setenv wanted ${header_sum_at}; ${devtype} read ${image} ${first} 1 && itest.l *${image} == 534b5746 && run checksum'
setenv read_payload 'setexpr.l blocks *${blocks_at}; setexpr bytes ${blocks} * 200; setexpr after ${first} + 1; setenv from ${payload}; setenv wanted ${payload_sum_at}; itest ${blocks} <= ${room} && ${devtype} read ${payload} ${after} ${blocks} && run checksum'
# A slot's blocks, of which one is the header.
setenv room ffff

# What boot.env on the boot partition says: `extra=` is added to the command line, `arm_watchdog=true` leaves the watchdog
# alone until Linux runs.
setenv extra
if load ${devtype} ${devnum}:${distro_bootpart} ${payload} boot.env; then env import -t ${payload} ${filesize} extra arm_watchdog; fi

for slot in ${order}; do
  setenv name a
  setenv kernel_part 5
  setenv root_part 6
  if itest ${slot} == 1; then
    setenv name b
    setenv kernel_part 7
    setenv root_part 8
  fi
  part start ${devtype} ${devnum} ${kernel_part} first
  if run read_header && run read_payload; then
    echo "slot ${name}: starting"
    setexpr.l kernel_bytes *${kernel_bytes_at}
    setexpr.l initrd_bytes *${initrd_bytes_at}
    setexpr.l initrd_offset *${initrd_offset_at}
    setexpr initrd ${image} + ${initrd_offset}
    part uuid ${devtype} ${devnum}:${root_part} root
    setenv bootargs "${console} root=PARTUUID=${root} ro quiet panic=10 TERM=dumb firmware_worker.slot=${name} ${fallback} ${extra}"
    unzip ${payload} ${kernel_addr_r}
    run arm_watchdog
    booti ${kernel_addr_r} ${initrd}:${initrd_bytes} ${fdt_addr}
  fi
  echo "slot ${name}: kernel damaged"
  if itest ${slot} == ${trial}; then
    setenv fallback "firmware_worker.fallback=kernel"
    run clear_trial
  fi
done
echo "no slot has a kernel that is whole; restarting"
sleep 10
reset
