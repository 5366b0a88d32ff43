#!/bin/bash
# Prepares a Debian 12 machine for `make run` and `make test`.
#
#   guest-tests/setup.sh run     what the demonstration and the shell need
#   guest-tests/setup.sh test    that, and the referees and kernels of the tests
#
# Installs the Debian packages that are missing (as root, or through sudo) and
# fetches Debian's stock kernels, which are unpacked under build/ and never
# installed. The kernels come through an apt configuration of their own under
# build/apt, so that the machine's own stays as it is. What is there already is
# left alone: a second run takes about a second and needs no network.
#
#   GOVMM_DEBIAN_MIRROR           mirror for the kernels (http://deb.debian.org/debian)
#   GOVMM_DEBIAN_SECURITY_MIRROR  and for security updates (http://deb.debian.org/debian-security)
set -euo pipefail

level=${1:-}
case $level in
run | test) ;;
*)
	echo "usage: guest-tests/setup.sh run|test" >&2
	exit 2
	;;
esac

cd "$(dirname "$0")/.."
build=$PWD/build
mirror=${GOVMM_DEBIAN_MIRROR:-http://deb.debian.org/debian}
security=${GOVMM_DEBIAN_SECURITY_MIRROR:-http://deb.debian.org/debian-security}
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
export DEBIAN_FRONTEND=noninteractive

say() { echo "setup: $*"; }
die() {
	echo "setup: error: $*" >&2
	exit 1
}

# timed WHAT COMMAND...: runs the command and says how long it took.
timed() {
	local what=$1
	shift
	local begun=$(date +%s%N)
	"$@"
	local taken=$((($(date +%s%N) - begun) / 100000000))
	say "$what: $((taken / 10)).$((taken % 10)) s"
}

# optional WARNING COMMAND...: runs a command without which the rest is of use; if any
# part of it fails, the warning is given. (After || or in a condition, the shell would go
# on after a failure inside the command.)
optional() {
	local warning=$1 status
	shift
	set +e
	(
		set -e
		"$@"
	)
	status=$?
	set -e
	[ "$status" = 0 ] || say "WARNING: $warning"
}

# as_root COMMAND...: the only way by which anything here changes the machine.
as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo --preserve-env=DEBIAN_FRONTEND "$@"
	else
		die "not root and sudo is missing: run as root: $*"
	fi
}

# retry COMMAND...: mirrors hiccup; three tries, five seconds apart.
retry() {
	local pause
	for pause in 5 5 0; do
		"$@" && return 0
		[ "$pause" = 0 ] || { say "failed, again in $pause s: $*" && sleep "$pause"; }
	done
	return 1
}

installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

# need PACKAGE...: installs those of the packages that are missing.
need() {
	local missing=() package
	for package in "$@"; do
		installed "$package" || missing+=("$package")
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	say "installing: ${missing[*]}"
	if [ -z "${lists_updated:-}" ]; then
		# Another, broken source of the machine must not stop what Debian can give.
		retry as_root apt-get -qq -o Acquire::Retries=3 update ||
			say "apt-get update failed in part; trying to install nevertheless"
		lists_updated=yes
	fi
	retry as_root apt-get -qq -y -o Acquire::Retries=3 -o Dpkg::Use-Pty=0 \
		install --no-install-recommends "${missing[@]}" >"$build/install.log" 2>&1 || {
		tail -n 20 "$build/install.log" >&2
		die "apt-get install ${missing[*]} failed (whole output: build/install.log)"
	}
}

install_packages() {
	need ca-certificates coreutils dash debian-archive-keyring e2fsprogs fdisk util-linux xz-utils
	[ "$level" = run ] || need acpica-tools cryptsetup-bin dmidecode fio gcc kexec-tools libc6-dev libiscsi-bin libnbd-bin lz4 mmdebstrap qemu-utils seabios sg3-utils smartmontools socat xfsprogs xorriso zstd
}

# Where KVM runs a stock kernel, nothing of QEMU is needed to run govmm.
install_qemu() {
	if bin/govmm doctor --output json 2>/dev/null | grep -q '"accel": *"kvm"'; then
		say "KVM runs stock kernels here: no QEMU needed"
	else
		need qemu-system-x86
	fi
}

# private_apt NAME COMMAND...: an apt command on the sources in build/apt/NAME.
private_apt() {
	local dir=$build/apt/$1
	local command=$2
	shift 2
	"$command" -qq \
		-o Dir::Etc::sourcelist="$dir/sources.list" -o Dir::Etc::sourceparts=/dev/null \
		-o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts=/dev/null \
		-o Dir::State="$dir" -o Dir::State::status="$dir/status" -o Dir::Cache="$dir/cache" \
		-o APT::Architecture=amd64 -o APT::Architectures=amd64 -o APT::Sandbox::User=root \
		-o Acquire::Languages=none -o Acquire::Retries=3 "$@"
}

# open_archive NAME LINE...: fetches the package lists of the given sources once.
open_archive() {
	local name=$1
	shift
	local dir=$build/apt/$name
	[ ! -e "$dir/complete" ] || return 0
	[ -r "$keyring" ] || die "$keyring is missing (package debian-archive-keyring)"
	mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial"
	: >"$dir/status"
	local source
	for source in "$@"; do
		echo "deb [signed-by=$keyring] $source main"
	done >"$dir/sources.list"
	retry private_apt "$name" apt-get update --error-on=any ||
		die "package lists cannot be had: $* (set GOVMM_DEBIAN_MIRROR to a mirror that is reachable)"
	: >"$dir/complete"
}

# fetch ARCHIVE PACKAGE DIR: downloads a package and unpacks it as DIR.
fetch() {
	rm -rf "$3.part"
	mkdir -p "$build/debs" "$3.part"
	(cd "$build/debs" && retry private_apt "$1" apt-get download "$2") ||
		die "package $2 cannot be downloaded"
	local deb
	deb=$(find "$build/debs" -name "$(echo "$2" | cut -d= -f1)_*.deb" -printf '%T@ %p\n' | sort -n | tail -n 1 | cut -d' ' -f2-)
	dpkg-deb -x "$deb" "$3.part" || die "$deb cannot be unpacked"
	rm -rf "$3" "$deb"
	mv "$3.part" "$3"
}

stable="$mirror bookworm"
updates="$security bookworm-security"
backports="$mirror bookworm-backports"

# fetch_kernel ARCHIVE DIR SOURCE...: the kernel that linux-image-amd64 stands for.
fetch_kernel() {
	local archive=$1
	local dir=$2
	shift 2
	if [ -d "$dir/boot" ]; then
		say "kernel $(cd "$dir/lib/modules" && echo *): there already"
		uncompress_modules "$dir"
		return
	fi
	open_archive "$archive" "$@"
	local package
	package=$(private_apt "$archive" apt-cache show --no-all-versions linux-image-amd64 |
		sed -n 's/^Depends: *\(linux-image-[^ ]*\) (= \([^)]*\)).*/\1=\2/p' | head -n 1)
	[ -n "$package" ] || die "linux-image-amd64 is not in: $*"
	timed "kernel $package" fetch_unpacked "$archive" "$package" "$dir"
}

# fetch_unpacked ARCHIVE PACKAGE DIR: the same, its modules uncompressed.
fetch_unpacked() {
	rm -rf "$3"
	fetch "$1" "$2" "$3.new"
	uncompress_modules "$3.new"
	mv "$3.new" "$3"
}

# uncompress_modules DIR: those of the parts of the kernel that guests take modules
# from.
uncompress_modules() {
	(cd "$1"/lib/modules/*/kernel &&
		find arch/x86/kernel block crypto drivers/acpi drivers/cdrom drivers/input drivers/misc drivers/scsi drivers/watchdog fs lib \
			-name '*.ko.xz' -print0 | xargs -0 -r -P 2 -n 20 xz -d)
}

fetch_busybox() {
	[ ! -x "$build/busybox/bin/busybox" ] || return 0
	open_archive bookworm "$stable" "$updates"
	timed "busybox-static" fetch bookworm busybox-static "$build/busybox"
}

# upgrade_modules are the modules that a Debian on a disk of the controller needs, as
# patterns of paths.
upgrade_modules=(./arch/\* ./block/\* ./crypto/\* ./drivers/cdrom/\* ./drivers/scsi/megaraid/\* ./drivers/scsi/scsi\*
	./drivers/scsi/s[drg]\* ./fs/autofs/\* ./fs/ext4/\* ./fs/isofs/\* ./fs/jbd2/\* ./fs/mbcache\* ./fs/nls/\* ./lib/\*)

# fetch_upgrade: a disk with a kernel package, for a Debian that is installed on
# another. Of the package's modules only a part is kept, uncompressed, and it is
# compressed in a way that an emulated processor undoes in good time.
fetch_upgrade() {
	local dir=$build/debian
	[ ! -e "$dir/upgrade.img" ] || return 0
	local kernel=$build/debian/kernel files=$build/debian/upgrade
	rm -rf "$kernel" "$files"
	mkdir -p "$kernel" "$files"
	local package
	package=$(private_apt backports apt-cache depends --no-suggests linux-image-amd64 | sed -n 's/^ *Depends: //p' | head -n 1)
	(cd "$dir" && retry private_apt backports apt-get download "$package") || die "package $package cannot be downloaded"
	dpkg-deb -R "$dir/$package"_*.deb "$kernel"
	rm "$dir/$package"_*.deb
	rm -rf "$kernel"/usr/share/doc
	local keep=() pattern
	for pattern in "${upgrade_modules[@]}"; do
		keep+=(! -path "$pattern")
	done
	(cd "$kernel"/lib/modules/*/kernel && find . -type f "${keep[@]}" -delete &&
		find . -name '*.ko.xz' -print0 | xargs -0 -r -P 2 -n 20 xz -d)
	dpkg-deb --root-owner-group -Zgzip -z1 -b "$kernel" "$files/kernel.deb" >/dev/null
	rm -rf "$kernel"
	mke2fs -q -t ext4 -d "$files" "$dir/upgrade.part" 256m
	rm -rf "$files"
	mv "$dir/upgrade.part" "$dir/upgrade.img"
}

mkdir -p "$build"
command -v go >/dev/null || die "Go is not in PATH (https://go.dev/dl)"
timed "Debian packages" install_packages
timed "govmm" make --no-print-directory build
timed "QEMU" install_qemu
fetch_kernel bookworm "$build/kernels/debian12" "$stable" "$updates"
fetch_busybox
if [ "$level" = test ]; then
	# Without its kernel the test of the backports kernel fails and says why.
	optional "no backports kernel: its test will fail" fetch_kernel backports "$build/kernels/backports" "$backports"
fi
timed "kernel images and modules" go run ./guest-tests/cmd/prepare
if [ "$level" = test ]; then
	# This runs a guest, for which all of the above must be there.
	optional "no Debian on a disk: its test will fail" timed "Debian on a disk" guest-tests/debian.sh
	optional "no kernel to upgrade to: the long test will fail" timed "kernel for its upgrade" fetch_upgrade
fi
