package harness

import (
	"fmt"
	"strconv"
	"strings"
)

// VMM knows the command line by which a virtual machine monitor runs a guest.
type VMM interface {
	// Name is for people.
	Name() string
	// Command returns the program and arguments that run the guest in the
	// foreground: the console on standard input and output, the agent's port
	// connected to a listening unix socket, the end of the process when the
	// guest powers off, restarts or panics.
	Command(g Guest, agentSocket string) []string
}

// Guest describes a guest.
type Guest struct {
	Kernel string // path of a bzImage or of an ELF vmlinux
	Initrd string // path of an initramfs
	Append string // added to the kernel command line
	KASLR  bool   // have the kernel at random addresses
	Disks  []Disk
	Memory string // as in "512M", which it is if empty
	CPUs   int    // 1 if zero
}

// Disk is a disk image of a guest, on the MegaRAID controller.
type Disk struct {
	Path     string
	Format   string // qcow2 if empty
	ReadOnly bool
	Options  string // further ones of "govmm run --disk", as in "use=system"
}

// commandLine is in the kernel command line of every guest: quiet, as a serial
// console costs more than the boot; without what slows down an emulated
// processor; without a watch over the clock, which complains where a busy host
// stops the guest for a second; and ending the machine at once where the kernel
// would hang.
const commandLine = "console=ttyS0 quiet mitigations=off nowatchdog audit=0 apparmor=0 " +
	"cryptomgr.notests no_timer_check tsc=reliable random.trust_cpu=1 panic=-1 reboot=t"

// CommandLine is the whole kernel command line.
func (g Guest) CommandLine() string {
	base := commandLine
	if !g.KASLR {
		base += " nokaslr"
	}
	return fmt.Sprintf("%s govmm.disks=%d %s", base, len(g.Disks), g.Append)
}

func (g Guest) memory() string {
	if g.Memory == "" {
		return "512M"
	}
	return g.Memory
}

func (g Guest) cpus() string { return strconv.Itoa(max(1, g.CPUs)) }

func (d Disk) format() string {
	if d.Format == "" {
		return "qcow2"
	}
	return d.Format
}

// Govmm is the VMM under test.
type Govmm struct {
	Path  string   // of the executable
	Accel string   // auto if empty
	Nest  []string // arguments that say where the nested machine's kernel is
	Args  []string // further arguments of "govmm run"
}

// Name implements VMM.
func (v Govmm) Name() string { return "govmm" }

// Command implements VMM.
func (v Govmm) Command(g Guest, agentSocket string) []string {
	accel := v.Accel
	if accel == "" {
		accel = "auto"
	}
	argv := []string{v.Path, "run",
		"--accel", accel,
		"--memory", g.memory(), "--cpus", g.cpus(),
		"--kernel", g.Kernel, "--initrd", g.Initrd, "--append", g.CommandLine(),
		"--serial", "stdio", "--serial", "unix:" + agentSocket,
		"--on-reboot", "exit",
	}
	for _, d := range g.Disks {
		spec := "path=" + d.Path + ",format=" + d.format()
		if d.ReadOnly {
			spec += ",readonly=on"
		}
		if d.Options != "" {
			spec += "," + d.Options
		}
		argv = append(argv, "--disk", spec)
	}
	argv = append(argv, v.Nest...)
	return append(argv, v.Args...)
}

// QEMU runs the same guests on QEMU's emulation of the controller, for
// comparison: a test that fails there too may well be wrong itself.
type QEMU struct {
	Path  string   // of qemu-system-x86_64
	Accel string   // tcg if empty
	Args  []string // further arguments
}

// Name implements VMM.
func (v QEMU) Name() string { return "QEMU (" + strings.ToUpper(v.accel()) + ")" }

func (v QEMU) accel() string {
	if v.Accel == "" {
		return "tcg"
	}
	return v.Accel
}

// cpu is the processor's model: what emulates one is told to keep to an old one.
func (v QEMU) cpu() string {
	if v.accel() == "tcg" {
		return "EPYC"
	}
	return "host"
}

// Command implements VMM.
func (v QEMU) Command(g Guest, agentSocket string) []string {
	argv := []string{v.Path, "-nodefaults", "-display", "none", "-no-reboot",
		"-M", "pc", "-accel", v.accel(), "-cpu", v.cpu(),
		"-m", g.memory(), "-smp", g.cpus(),
		"-kernel", g.Kernel, "-initrd", g.Initrd, "-append", g.CommandLine(),
		"-serial", "stdio",
		"-chardev", "socket,id=agent,path=" + agentSocket, "-serial", "chardev:agent",
		"-device", "megasas-gen2,id=raid",
	}
	for i, d := range g.Disks {
		onOff := map[bool]string{false: "off", true: "on"}
		argv = append(argv,
			"-drive", fmt.Sprintf("if=none,id=d%d,file=%s,format=%s,read-only=%s", i, d.Path, d.format(), onOff[d.ReadOnly]),
			"-device", fmt.Sprintf("scsi-hd,bus=raid.0,scsi-id=%d,drive=d%d", i, i))
	}
	return append(argv, v.Args...)
}
