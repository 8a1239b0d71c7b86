# The emulator forgets all that it has translated whenever programs and kernel change places in isolated page tables, which its
# processor needs no more than the real one.
setenv console "console=ttyAMA0 kpti=off"
setenv arm_watchdog true
