setenv console "console=ttyAMA0"
setenv arm_watchdog true
