"""What the image is made of. The choices are explained in docs/adr/0045; the figures are in docs/image.md."""

from __future__ import annotations

from pathlib import Path

from knoop_firmware.tools import digest, words

FIRMWARE = Path(__file__).parents[1]
CHECKOUT = FIRMWARE.parent
FILES = FIRMWARE / "files"
INIT = FIRMWARE / "initramfs" / "init"

SUITE = "trixie"
PYTHON = "3.13"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
COMPONENTS = "main non-free-firmware"  # the second: what the Pi's processor and its radio need to start at all
SOURCES = tuple(
    f"deb [signed-by={KEYRING}] http://deb.debian.org/{archive} {suite} {COMPONENTS}"
    for archive, suite in (("debian", SUITE), ("debian-security", f"{SUITE}-security"), ("debian", f"{SUITE}-updates"))
)

# Debian's essential packages come by themselves; nothing is taken that is only recommended.
PACKAGES = words("""
    systemd systemd-sysv systemd-resolved systemd-timesyncd systemd-zram-generator dbus-broker udev
    libnss-resolve libnss-myhostname            # names: DNS, mDNS and our own
    libidn2-0                                   # without it systemd-resolved calls every machine linux.local
    python3 ca-certificates
    wpasupplicant wireless-regdb iproute2
    openssh-server                              # off, until the owner gives a key
    kmod e2fsprogs tzdata
""")
# Only unpacked, never installed: their maintainer scripts would run initramfs-tools in emulation for minutes.
PIECES = words("raspi-firmware busybox-static e2fsck-static firmware-brcm80211")
# The same Python for the machine that builds, to compile Knoop with.
PYTHON_PIECES = words("python3.13-minimal libpython3.13-minimal libpython3.13-stdlib libc6 zlib1g libexpat1")

# dpkg leaves these out. Licences stay; nobody reads a manual page on a card without a shell.
EXCLUDED = words("""
    /usr/share/man/* /usr/share/info/* /usr/share/locale/* /usr/share/lintian/* /usr/share/bug/* /usr/share/doc/*
    /usr/share/bash-completion/* /usr/share/zsh/*
""")
INCLUDED = words("/usr/share/doc/*/copyright")

# Taken out of the root once it is complete: what only installs packages, which a root that is never written cannot do.
# dpkg's own lists stay, in /usr/share/knoop-image/dpkg-status, for whoever wants to know what is there.
REMOVED = words("""
    etc/apt etc/cron.d etc/cron.daily etc/init.d etc/rc?.d etc/kernel etc/initramfs-tools etc/logrotate.d
    usr/bin/apt* usr/lib/apt usr/lib/*/libapt-* usr/share/apt* usr/lib/dpkg/methods
    usr/bin/perl* usr/lib/*/perl-base usr/share/perl5 usr/lib/*/perl usr/share/perl
    usr/lib/*/gconv usr/lib/python3/dist-packages/*/test* usr/lib/python3.*/ensurepip usr/lib/python3.*/pydoc_data
    usr/lib/python3.*/lib2to3 usr/lib/python3.*/idlelib usr/lib/python3.*/turtledemo usr/lib/python3.*/test
    usr/lib/systemd/boot usr/lib/udev/hwdb.d usr/share/common-licenses/GFDL*
    usr/share/doc/*/NEWS* usr/share/doc/*/changelog* usr/share/polkit-1 usr/share/initramfs-tools usr/share/pixmaps
    var/lib/apt var/cache var/log/* var/lib/dpkg var/lib/systemd/deb-systemd-helper-* var/backups
    boot/* dev/* run/* tmp/* etc/hostname etc/machine-id etc/ssh/ssh_host_* etc/.pwd.lock etc/*-
    etc/.resolv.conf* etc/dpkg etc/ifplugd etc/resolvconf etc/ppp etc/dhcp
    root/.bashrc root/.profile etc/skel/.*
""")

# Kernel modules for what the boards have and what is plugged into them; what these need comes along.
# A folder ends with /. Everything below `kernel/`.
MODULES = words("""
    arch/ crypto/ lib/ mm/ block/
    fs/autofs/ fs/squashfs/ fs/overlayfs/ fs/ext4/ fs/jbd2/ fs/mbcache.ko.xz fs/fat/ fs/nls/
    drivers/base/ drivers/block/zram/ drivers/block/loop.ko.xz drivers/block/virtio_blk.ko.xz drivers/virtio/
    drivers/bus/ drivers/char/hw_random/ drivers/clk/clk-pwm.ko.xz drivers/cpufreq/ drivers/dma/ drivers/extcon/
    drivers/firmware/ drivers/gnss/ drivers/gpio/ drivers/hid/ drivers/hwmon/ drivers/i2c/ drivers/iio/
    drivers/input/keyboard/ drivers/input/misc/ drivers/input/mouse/ drivers/input/serio/ drivers/input/*.ko.xz
    drivers/leds/ drivers/mailbox/ drivers/mfd/ drivers/mmc/ drivers/mux/ drivers/nvmem/ drivers/pci/
    drivers/pinctrl/ drivers/power/ drivers/pps/ drivers/ptp/ drivers/pwm/ drivers/regulator/
    drivers/reset/ drivers/rtc/ drivers/spi/ drivers/thermal/ drivers/tty/ drivers/w1/ drivers/watchdog/
    drivers/video/backlight/ drivers/media/cec/
    drivers/gpu/drm/vc4/ drivers/gpu/drm/v3d/ drivers/gpu/drm/virtio/
    drivers/net/dummy.ko.xz drivers/net/mii.ko.xz drivers/net/tun.ko.xz drivers/net/virtio_net.ko.xz
    drivers/net/net_failover.ko.xz drivers/net/mdio/ drivers/net/phy/ drivers/net/usb/ drivers/net/wireguard/
    drivers/net/ethernet/broadcom/genet/ drivers/net/wireless/broadcom/brcm80211/
    drivers/usb/class/ drivers/usb/common/ drivers/usb/core/ drivers/usb/dwc2/ drivers/usb/gadget/ drivers/usb/host/
    drivers/usb/misc/ drivers/usb/phy/ drivers/usb/serial/ drivers/usb/storage/
    drivers/scsi/scsi_mod.ko.xz drivers/scsi/sd_mod.ko.xz drivers/scsi/scsi_common.ko.xz
    net/802/ net/8021q/ net/can/ net/core/ net/ipv4/ net/ipv6/ net/mac80211/ net/packet/ net/rfkill/ net/unix/
    net/wireless/ net/netfilter/nf_tables.ko.xz net/netfilter/nfnetlink.ko.xz net/netlink/ drivers/net/can/
""")
# What the initramfs loads, in this order; each with what it needs.
EARLY = words("""
    virtio_mmio virtio_blk                      # -M virt of QEMU
    fixed gpio-regulator                        # the supply of a Pi 4's card
    reset-raspberrypi bcm2835 sdhci-iproc       # the two card hosts
    pcie-brcmstb xhci-pci dwc2 usb-storage uas sd_mod  # a USB stick
    squashfs overlay crc32c_generic ext4 vfat nls_cp437 nls_ascii nls_utf8
""")
# Of the radio's firmware: the chips of the boards that we serve (Zero 2 W, 3, 3+, 4, 400, CM4).
RADIOS = words("*43430* *43436* *43455* *43456*")
TREES = "bcm2837-rpi-*.dtb bcm2711-rpi-*.dtb"

BASE_KEY = digest(*SOURCES, *PACKAGES, *EXCLUDED, *INCLUDED, "base 1")
PIECES_KEY = digest(*SOURCES, *PIECES, "pieces 1")
PYTHON_KEY = digest(*SOURCES, *PYTHON_PIECES, "python 1")
