package nest

import (
	"fmt"
	"strings"
)

// firstFD is the first inherited descriptor of the QEMU process: the initramfs,
// then the control port, then the ports of the streams.
const firstFD = 3

// overhead is the memory, in bytes, that the nest takes for itself: the kernel,
// the initramfs twice while it is unpacked, and the command without its guest.
const overhead = 512 << 20

// Names inside the machine.
const (
	mountTag = "host" // of the 9p file system
	// Ports of the virtio-serial device; 0 would be a console's.
	controlPort = 1
	streamPort  = 2 // and up: the streams by file descriptor
)

// cpuModel is the oldest EPYC, as a richer model costs more to emulate, with
// virtualization, and without what TCG lacks and would warn about. QEMU 7.2
// leaves wrong flags behind CMPXCHG16B, of which kernels crash.
const cpuModel = "EPYC,svm=on,cx16=off,rdseed=off,sha-ni=off,fxsr-opt=off,misalignsse=off," +
	"3dnowprefetch=off,osvw=off,topoext=off,nrip-save=off,xsavec=off"

// kernelParameters are for a kernel that runs one command and is thrown away.
// Mitigations protect nothing here and cost; the rest skips work or waiting.
// Modules take their parameters from here, too: halt polling would burn the
// only processor that the command's other threads could use.
func kernelParameters() []string {
	return []string{
		"console=ttyS0", "quiet", "panic=-1", "reboot=t",
		"mitigations=off", "nokaslr", "nowatchdog", "audit=0", "apparmor=0",
		"cryptomgr.notests", "no_timer_check", "tsc=reliable", "random.trust_cpu=1",
		"kvm.halt_poll_ns=0",
	}
}

// qemuArgs is the command line of QEMU. The initramfs is at descriptor fd.
func (cfg Config) qemuArgs(kernel string, tscKHz uint64, fd, streams int) []string {
	parameters := append(kernelParameters(), fmt.Sprintf("tsc_early_khz=%d", tscKHz))
	memory := cfg.Memory + overhead
	if cfg.PoolPage > 0 {
		// Memory may be taken in two parts, neither of whole pages.
		pages := cfg.Memory/cfg.PoolPage + 2
		parameters = append(parameters, fmt.Sprintf("hugepagesz=%dK", cfg.PoolPage>>10), fmt.Sprintf("hugepages=%d", pages))
		memory = pages*cfg.PoolPage + overhead
	}
	parameters = append(parameters, "rdinit=/"+binaryName, "--")
	args := []string{
		"-no-user-config", "-nodefaults", "-display", "none", "-no-reboot",
		// PIIX rather than Q35: thousands of configuration accesses fewer.
		"-machine", "pc,usb=off,vmport=off,smbus=off",
		"-accel", "tcg,thread=multi",
		"-cpu", cpuModel,
		"-smp", fmt.Sprint(cfg.CPUs),
		"-m", fmt.Sprintf("%dM", (memory+1<<20-1)>>20),
		"-kernel", kernel,
		"-initrd", fmt.Sprintf("/proc/self/fd/%d", fd),
		"-append", strings.Join(append(parameters, cfg.InitArgs...), " "),
		"-serial", "stdio",
		"-fsdev", "local,id=host,path=/,security_model=none,multidevs=remap",
		"-device", "virtio-9p-pci,disable-legacy=on,fsdev=host,mount_tag=" + mountTag,
		"-device", fmt.Sprintf("virtio-serial-pci,disable-legacy=on,max_ports=%d", streamPort+streams),
	}
	for nr := controlPort; nr < streamPort+streams; nr++ {
		args = append(args,
			"-chardev", fmt.Sprintf("socket,id=port%d,fd=%d", nr, fd+nr),
			"-device", fmt.Sprintf("virtserialport,chardev=port%d,nr=%d", nr, nr))
	}
	return args
}
