setenv console "console=tty0 console=ttyS1,115200"
# The power manager's watchdog at its longest, 16 s, right before the kernel is started, which keeps it fed until its
# userland does. U-Boot has no driver for it here.
fdt addr ${fdt_addr}
fdt get value soc / compatible 1
setenv pm 3f100000
if test "${soc}" = "brcm,bcm2711"; then setenv pm fe100000; fi
setexpr pm_wdog ${pm} + 24
setexpr pm_rstc ${pm} + 1c
setenv arm_watchdog 'mw.l ${pm_wdog} 5a0fffff; setexpr.l rstc *${pm_rstc}; setexpr rstc ${rstc} "&" ffffffcf; setexpr rstc ${rstc} + 5a000020; mw.l ${pm_rstc} ${rstc}'
