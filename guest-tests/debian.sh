#!/bin/bash
# Makes build/debian/disk.qcow2: a small Debian 12 with systemd on one ext4
# partition, its kernel, and GRUB as Debian's grub-pc installs it. It takes two
# or three minutes, once.
#
#   guest-tests/debian.sh          makes the disk if it is not there
#
# The packages are Debian's, unchanged; of the kernel's modules and of the
# documentation only a part is kept. mmdebstrap unpacks them without a loop
# device. GRUB is then installed by grub-install and update-grub where they
# belong, on the emulated controller: in a guest that is started with the disk's
# own kernel. root has no password.
set -euo pipefail

cd "$(dirname "$(realpath "$0")")/.."
dir=$PWD/build/debian
mirror=${GOVMM_DEBIAN_MIRROR:-http://deb.debian.org/debian}
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
size=2G
partition=2048 # first sector

die() {
	echo "debian.sh: error: $*" >&2
	exit 1
}

# configure ROOT: what an installer would ask for.
configure() {
	echo guest >"$1/etc/hostname"
	echo 'LABEL=root / ext4 errors=remount-ro 0 1' >"$1/etc/fstab"
	sed -i 's/^root:[^:]*:/root::/' "$1/etc/shadow"
	# A menu that a person at the serial console sees, for a second.
	cat >"$1/etc/default/grub" <<-'END'
		GRUB_DEFAULT=0
		GRUB_TIMEOUT=1
		GRUB_TERMINAL=console
		GRUB_DISTRIBUTOR=Debian
		GRUB_CMDLINE_LINUX_DEFAULT=quiet
		GRUB_CMDLINE_LINUX="console=ttyS0 mitigations=off"
	END
	# Where the host is busy, an emulated processor needs longer than systemd waits.
	mkdir -p "$1/etc/systemd/system.conf.d"
	printf '[Manager]\nDefaultTimeoutStartSec=15min\nDefaultDeviceTimeoutSec=15min\n' \
		>"$1/etc/systemd/system.conf.d/slow-host.conf"
	# Runs once, in place of init.
	cat >"$1/sbin/install-grub" <<-'END'
		#!/bin/sh
		export PATH=/usr/sbin:/usr/bin:/sbin:/bin
		exec </dev/ttyS0 >/dev/ttyS0 2>&1
		mount -o remount,rw / &&
			grub-install --target=i386-pc /dev/sda &&
			update-grub &&
			rm /sbin/install-grub &&
			# exec: this file must be closed before its file system is read-only.
			exec sh -c 'mount -o remount,ro / && echo GRUB is installed; echo o >/proc/sysrq-trigger; read x'
		echo o >/proc/sysrq-trigger
		read x
	END
	chmod +x "$1/sbin/install-grub"
}

# fill ROOT DISK: puts the directory into the partition of a disk image. This
# runs with the user names of the new system, which in a namespace are not those
# of whoever called.
fill() {
	configure "$1"
	rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*
	cat "$1"/boot/vmlinuz-* >"$2.vmlinuz"
	cat "$1"/boot/initrd.img-* >"$2.initrd"
	local sectors=$(($(stat -c %s "$2") / 512 - partition))
	# Without what is mounted there while the packages are set up.
	findmnt -n -l -o TARGET | { grep "^$1/" || true; } | sort -r | xargs -r -n 1 umount -l
	mke2fs -q -F -t ext4 -L root -d "$1" -E "offset=$((partition * 512)),lazy_itable_init=1" \
		"$2" $((sectors / 2))k
}

# unpack DISK: Debian's packages into the partition.
unpack() {
	local keep=
	for part in arch block crypto fs/ext4 fs/jbd2 fs/mbcache.ko fs/isofs fs/autofs fs/fat fs/nls lib drivers/scsi drivers/cdrom \
		drivers/ata drivers/input drivers/platform drivers/char drivers/rtc; do
		keep+=" --dpkgopt=path-include=/lib/modules/*/kernel/$part*"
	done
	# shellcheck disable=SC2016,SC2086 # the hooks expand $1 themselves; $keep is options
	mmdebstrap --quiet --variant=minbase --keyring="$keyring" \
		--dpkgopt='path-exclude=/usr/share/doc/*' \
		--dpkgopt='path-exclude=/usr/share/man/*' \
		--dpkgopt='path-exclude=/usr/share/locale/*' \
		--dpkgopt='path-exclude=/lib/modules/*/kernel/*' $keep \
		--include=linux-image-amd64,grub-pc,initramfs-tools,systemd-sysv,udev,kmod,e2fsprogs,zstd \
		--essential-hook='mkdir -p "$1/etc/initramfs-tools/conf.d" "$1/usr/share/initramfs-tools/modules.d"' \
		--essential-hook='printf "MODULES=list\nCOMPRESS=zstd\nCOMPRESSLEVEL=1\n" >"$1/etc/initramfs-tools/conf.d/small"' \
		--essential-hook='printf "megaraid_sas\nsd_mod\next4\n" >"$1/usr/share/initramfs-tools/modules.d/disk"' \
		--customize-hook="guest-tests/debian.sh fill \"\$1\" '$1'" \
		bookworm /dev/null "deb $mirror bookworm main"
}

case ${1:-} in
fill) exec unshare --mount guest-tests/debian.sh fill-alone "$2" "$3" ;;
fill-alone)
	fill "$2" "$3"
	exit
	;;
esac

[ ! -e "$dir/disk.qcow2" ] || exit 0
rm -rf "$dir"
mkdir -p "$dir"
disk=$dir/disk.raw
truncate -s "$size" "$disk"
echo "$partition,,83,*" | /sbin/sfdisk -q "$disk"
: >"$disk.vmlinuz"
: >"$disk.initrd"
chmod a+rw "$disk"*
unpack "$disk"
[ -s "$disk.vmlinuz" ] || die "mmdebstrap made no kernel"
qemu-img convert -O qcow2 "$disk" "$dir/disk.part"
mv "$disk.vmlinuz" "$dir/vmlinuz"
mv "$disk.initrd" "$dir/initrd"
rm "$disk"
bin/govmm run --nest-dir build/nest --kernel "$dir/vmlinuz" --initrd "$dir/initrd" --disk "$dir/disk.part,cache=writeback" \
	--append "console=ttyS0 quiet mitigations=off nokaslr nowatchdog tsc=reliable panic=-1 reboot=t root=LABEL=root ro init=/sbin/install-grub" \
	</dev/null >"$dir/install.log" 2>&1 || die "the guest that installs GRUB failed: $dir/install.log"
grep -q 'GRUB is installed' "$dir/install.log" || die "GRUB was not installed: $dir/install.log"
mv "$dir/disk.part" "$dir/disk.qcow2"
