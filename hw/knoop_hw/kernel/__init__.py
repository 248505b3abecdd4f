"""What the kernel knows of this machine: sysfs, the device tree, the firmware behind it."""
