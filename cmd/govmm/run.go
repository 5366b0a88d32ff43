package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"github.com/govmm/govmm/internal/nest"
	"github.com/govmm/govmm/vmm/kvm"
	"github.com/spf13/cobra"
)

// defaultCmdline is the kernel command line if the user gives none: a console
// on the first serial port with errors only, a panic ends the machine, and
// nothing is probed or calibrated that this machine does not have or need.
const defaultCmdline = "console=ttyS0 quiet loglevel=4 panic=-1 reboot=a tsc=reliable i8042.noaux random.trust_cpu=1"

// runFlags are the flags of govmm run.
type runFlags struct {
	kernel, initrd, cmdline string
	kernelCache, unpacked   string
	firmware, biosDebug     string
	boot                    bootFlag
	disks                   []string
	cdrom                   string
	controller              controllerFlag
	memory                  memoryFlag
	cpus                    cpusFlag
	accel                   choice
	serial                  serialFlag
	display                 displayFlag
	stats                   string
	react                   reactionFlags
	name                    string
	uuid                    uuidFlag
	qmp                     socketSpec
	log                     logFlags
	file                    string
	lines                   map[string]int // of file, by flag
	nest                    nestFlags
}

func (a *app) runCommand() *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run [--kernel FILE|host] [flags]",
		Short: "Run a virtual machine",
		Long: `run boots a virtual machine and shows its console here until the guest powers
off. Its disks are behind a MegaRAID SAS 9260-8i controller: /dev/sda is the
first --disk, /dev/sdb the second.

With --kernel it starts a Linux kernel directly. A bzImage is unpacked into
--kernel-cache meanwhile, and the next machine need not wait until its kernel has
unpacked itself; where its addresses are random they are so either way.

Without --kernel it starts a BIOS, which boots from the first disk that has a boot
loader, in the order in which they are given, or that --boot says; the --cdrom
comes last. The BIOS is SeaBIOS, which has a driver for the controller; --firmware
names another build of it than the one that is installed (Debian: package
seabios). The text screen, and so the menu of a boot loader, is shown on COM1. An
operating system goes on there if it is set up for a serial console. With
--display text the machine has a VGA adapter and a keyboard, and the terminal
shows its screen: 80 columns and 25 lines, or what the guest sets.

On a terminal every key goes to the guest, Ctrl-C too. Ctrl-A X stops the
machine, Ctrl-A H lists such keys.

SIGTERM presses the machine's power button, for the guest to shut down. If the
guest does not listen to the button, or has not switched the machine off after
--shutdown-timeout, or at a second SIGTERM, the machine is stopped. SIGINT, SIGHUP
and SIGQUIT stop it at once. SIGCONT lets a machine go on that is paused because a
disk's I/O failed (werror=), and so does SIGTERM. In any case what the controller has accepted is
finished, and the images are closed clean. One more signal ends govmm at once.

The guest has pvpanic (port 0x505) to report that its kernel panicked, upon which
--on-panic says what becomes of it, and with --watchdog a 6300ESB watchdog timer.
With --exit-port it ends the machine by writing a number from 0 to 63 to port
0x501. What becomes of it:
  restart      it is reset, and starts again
  exit         the machine ends
  pause        it stands still until it is told to go on
  nmi          its processors get a non-maskable interrupt (--watchdog)
  ignore       nothing (--on-panic)

With -f the flags are read from a file of YAML, in which a list gives a flag several
times, and a map is a list of KEY=VALUE; those on the command line prevail:
  kernel: vmlinuz
  memory: 2G
  disk:
    - path: a.qcow2
      cache: writeback
    - path=b.raw,format=raw
"govmm config" prints what flags and file come to.

Values of --disk are lists of KEY=VALUE, separated by commas:
  path=FILE                       the image (a comma in it is written twice);
                                  "path=" may be left out in the first place
  format=qcow2|raw                found out if not given; raw must be given
  readonly=on|off                 refuse writes
  cache=writethrough|writeback    when a write is complete: when it is safe on
                                  the disk of the host (writethrough, the
                                  default), or when the host's kernel has it
  cache=directsync|none|unsafe    as writethrough or writeback, but past the
                                  page cache of the host; or never made durable
  cache=writeback-bbu             writeback while the controller has a good battery,
                                  writethrough otherwise
  werror=enospc|stop|report|ignore  what becomes of a write that fails on this host:
  rerror=report|stop|ignore       the guest is told (report); it is told that it was
                                  done (ignore); or it is told nothing, and the machine
                                  is paused until it is told to go on, upon which the
                                  write is tried again (stop). enospc, the default for
                                  writes, is stop if there is no space, else report
  serial=TEXT                     serial number of the drive
  id=NAME                         name of the disk for "govmm ctl"; disk1 for the first
  interface=sas|sata              what the drive speaks, to smartctl for one
                                  (default: sas)
  media=ssd|hdd                   what the drive is made of (default: ssd)
  logical_block_size=512|4096     bytes of a block (default: 512), for the guest and for
  physical_block_size=512|4096    the medium (default: as the former): 512 and 4096
                                  make a drive of advanced format (512e)
  use=volume|system               what the controller makes of it: a volume of
                                  RAID level 0 (the default), or nothing, so that
                                  the guest sees the drive as it is (JBOD)

Keys of --controller:
  card=9260-8i|h700|h800|8708em2  LSI MegaRAID SAS 9260-8i (the default), Dell PERC
                                  H700 or H800, LSI MegaRAID SAS 8708EM2
  bbu=none|good|charging|failed   the battery of its write cache, at first (default:
                                  none); "govmm ctl fault" changes it
  learn=TIME                      how long that battery takes to learn how much it
                                  holds, when a guest asks for it (default: 6h)
  nvram=FILE                      keeps the controller's settings, its event log, the
                                  drives' hours, saved mode pages and reservations
                                  from run to run, in a file that no other machine
                                  uses; made if it is not there
  faults=FILE                     what the controller is to do wrong, to see what
                                  drivers do about it: lines "N COMMAND: FAULT", as
                                  "100 LD_WRITE: fault 0x123", "7 LD_READ: hold" or
                                  "9 LD_READ: answer SCSI_IO_FAILED"
  trace=FILE                      writes a line for each frame that the guest posts,
                                  decoded, one for what becomes of it and when, and
                                  one for each state of the firmware
  trace-format=text|json          for people (the default), or a JSON object a line

Values of --serial, once for COM1 and again for COM2:
  stdio        this terminal, or standard input and output
  none         nothing
  unix:PATH    connect to the Unix socket that listens at PATH
  file:PATH    write what the guest sends to a file
  fd:NUMBER    use an inherited file descriptor

Values of --accel:
  kvm          this host's KVM
  nested       an emulated processor with virtualization, by QEMU: the machine
               runs inside another one, on the same files
  auto         kvm where it runs guests on a processor, else nested

Exit status:
  0      the guest powered off, or Ctrl-A X was pressed
  1      bad input, or something failed; the message says what
  2      the guest reset the machine, or crashed it (--on-reboot exit)
  3      the guest's kernel panicked (--on-panic exit)
  4      the watchdog expired (--watchdog exit)
  64+N   the guest wrote N to the exit port; numbers above 63 count as 63
  128+N  signal N stopped the machine`,
		Example: `  Boot a kernel with the disk of an earlier "govmm img create disk.qcow2 20G":
    govmm run --kernel vmlinuz --initrd initrd.img --disk path=disk.qcow2

  Boot the kernel of this host on a Debian disk image, with all messages:
    govmm run --kernel host --disk path=debian.qcow2 \
        --append "console=ttyS0 root=/dev/sda1 ro"

  Boot a disk as a PC would:
    govmm run --disk path=debian.qcow2 --memory 1G

  Install a system from its disc on an empty disk, on the machine's screen:
    govmm run --disk path=new.qcow2 --cdrom installer.iso --display text

  See what a driver does when the 100th write is never answered:
    echo "100 LD_WRITE: hold" > faults
    govmm run --kernel vmlinuz --initrd initrd.img --disk path=disk.qcow2 \
        --controller faults=faults,trace=frames

  Two disks, the second one read-only, and 2 GiB of memory:
    govmm run --kernel vmlinuz --disk path=a.qcow2 \
        --disk path=b.raw,format=raw,readonly=on --memory 2G`,
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.readFile(cmd); err != nil {
				return err
			}
			return a.run(cmd.Context(), f)
		},
	}
	f.register(cmd)
	return cmd
}

// register gives the command the flags, and f their defaults.
func (f *runFlags) register(cmd *cobra.Command) {
	f.memory = memoryFlag{byteSize: byteSize{bytes: 512 << 20, unit: memoryUnit}}
	f.cpus = cpusFlag{count: 1}
	f.accel = choice{value: accelAuto, allowed: []string{accelAuto, accelKVM, accelNested}}
	f.serial = serialFlag{specs: []serialSpec{{kind: serialStdio}}}
	fl := cmd.Flags()
	fl.SortFlags = false
	fl.StringVarP(&f.file, machineFile, "f", "", "read flags from this YAML `FILE`: their names, without dashes, and values")
	fl.StringVar(&f.kernel, "kernel", "", "kernel to boot: a bzImage or an ELF vmlinux, compressed or not, or \"host\" for the one that runs here")
	fl.StringVar(&f.initrd, "initrd", "", "initial RAM disk")
	fl.StringVar(&f.kernelCache, "kernel-cache", "", "keep unpacked kernels in this `DIR`, for the next start with the same one, or \"none\" (default: ~/.cache/govmm/kernels)")
	fl.StringVar(&f.unpacked, "kernel-unpacked", "", "what the kernel unpacks to")
	fl.StringVar(&f.cmdline, "append", defaultCmdline, "kernel command line")
	fl.StringVar(&f.firmware, "firmware", "", "BIOS to start if there is no kernel (default: SeaBIOS where it is installed)")
	fl.Var(&f.boot, "boot", "disks to boot from first, by number: the first --disk is 1, the --cdrom is cd")
	fl.StringVar(&f.biosDebug, "bios-debug", "", "write what the BIOS says to its developers to this `FILE`")
	fl.StringArrayVar(&f.disks, "disk", nil, "a disk, as path=FILE[,KEY=VALUE]...; may be given several times")
	fl.StringVar(&f.cdrom, "cdrom", "", "disc of a CD-ROM drive: an ISO image")
	fl.Var(&f.controller, "controller", "the controller of the disks")
	fl.Var(&f.memory, "memory", "memory of the guest, without a unit in MiB; in huge pages of the host, taken at once, or in a file that can be shared")
	fl.Var(&f.cpus, "cpus", "processors of the guest, and how they are put together")
	fl.Var(&f.accel, "accel", "what runs the guest")
	fl.Var(&f.serial, "serial", "other end of a serial port; may be given several times")
	fl.StringVar(&f.stats, "stats", "", "write figures about the run to this `FILE`, as JSON")
	f.display.register(cmd)
	f.react.register(cmd)
	fl.StringVar(&f.name, "name", "", "name of the machine, for those who ask it")
	fl.Var(&f.uuid, "uuid", "what tells the machine from all others, to its guest")
	fl.Var(&f.qmp, "qmp", "socket to control the machine by: \"govmm ctl\" and QEMU's protocol")
	f.log.register(cmd)
	f.nest.register(cmd)
	f.complete(cmd)
	if err := fl.MarkHidden("kernel-unpacked"); err != nil { // for the nested machine
		panic(err) // no such flag: known at the first run
	}
}

// complete registers what shells can complete beyond file names.
func (f *runFlags) complete(cmd *cobra.Command) {
	f.accel.complete(cmd, "accel")
	for name, complete := range map[string]cobra.CompletionFunc{
		"append":     cobra.NoFileCompletions,
		"uuid":       cobra.NoFileCompletions,
		"boot":       cobra.NoFileCompletions,
		"memory":     cobra.NoFileCompletions,
		"cpus":       cobra.NoFileCompletions,
		"disk":       completeDisk,
		"controller": completeController,
		"serial":     completeSerial,
	} {
		if err := cmd.RegisterFlagCompletionFunc(name, complete); err != nil {
			panic(err) // no such flag: known at the first run
		}
	}
}

// run checks the flags, chooses the accelerator and runs the machine.
func (a *app) run(ctx context.Context, f runFlags) error {
	spec, err := f.machine()
	if err != nil {
		return err
	}
	accel := f.accel.value
	if accel == accelAuto {
		report := kvm.Probe()
		var problems []nest.Problem
		if !report.CanBoot() {
			problems = nest.Check(f.nestConfig())
		}
		var why string
		if accel, why, err = chooseAccel(report, problems); err != nil {
			return err
		}
		fmt.Fprintln(a.stderr, "govmm:", why)
	}
	if err := a.findUnpacked(&spec); err != nil {
		return err
	}
	if accel == accelNested {
		a.warnNestedUEFI(spec)
		return a.runNested(ctx, spec, f.nestConfig())
	}
	return a.runHere(ctx, spec)
}

// nestConfig is the nested machine for this guest.
func (f *runFlags) nestConfig() nest.Config {
	n := f.nest
	n.memory, n.pool, n.cpus = f.memory.byteSize, f.memory.ram.PoolPage, f.cpus.count
	return n.config()
}

// errQuit is the cause of a context that the console's user ended.
var errQuit = errors.New("stopped from the console")

// stopStatus turns the cause of a stop into the error that gives its status.
func stopStatus(cause error) error {
	var sig signalError
	switch {
	case errors.Is(cause, errQuit):
		return nil
	case errors.As(cause, &sig):
		return &exitError{code: sig.status()}
	}
	return cause
}

// runNested runs the machine in the nested one. The terminal stays on this
// side: the console's commands are obeyed here, the inner program sees a plain
// stream.
func (a *app) runNested(ctx context.Context, spec machineSpec, cfg nest.Config) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	command := nest.Command{Stop: syscall.SIGINT} // pulls the plug at once
	var ends closers
	defer ends.close()
	if spec.vga != "" {
		end, err := a.openStdio(func() { cancel(errQuit) })
		if err != nil {
			return err
		}
		ends.add(end.close)
		command.Stdin, command.Stdout = end.in, end.out
	}
	for i, serial := range spec.serials {
		// Sockets are connected here, as 9p carries files only.
		if serial.kind != serialStdio && serial.kind != serialUnix {
			continue
		}
		end, err := serial.open(func() (serialEnd, error) { return a.openStdio(func() { cancel(errQuit) }) })
		if err != nil {
			return err
		}
		ends.add(end.close)
		if serial.kind == serialStdio {
			command.Stdin, command.Stdout = end.in, end.out
			continue
		}
		spec.serials[i] = serialSpec{kind: serialFD, fd: 3 + len(command.Streams)}
		command.Streams = append(command.Streams, nest.Stream{R: end.in, W: end.out})
	}
	relay, err := relayQMP(&spec, &command)
	if err != nil {
		return err
	}
	defer relay()
	command.Args = append([]string{nest.Self, "run", "--accel", accelKVM}, spec.nestedArgs()...)
	err = a.inNest(ctx, cfg, command, true)
	var exit *exitError
	if errors.As(err, &exit) && exit.code == 128+int(syscall.SIGINT) && errors.Is(context.Cause(ctx), errQuit) {
		return nil
	}
	return err
}

// completeDisk completes the keys of --disk, and files after path=.
func completeDisk(_ *cobra.Command, _ []string, text string) ([]string, cobra.ShellCompDirective) {
	done, last := "", text
	if i := strings.LastIndexByte(text, ','); i >= 0 {
		done, last = text[:i+1], text[i+1:]
	}
	var options []string
	if prefix, ok := strings.CutPrefix(last, "path="); ok {
		for _, file := range completeFile(prefix) {
			options = append(options, done+"path="+file)
		}
		return options, cobra.ShellCompDirectiveNoSpace
	}
	for _, o := range []string{"path=", "format=qcow2", "format=raw", "readonly=on", "readonly=off", "cache=writethrough", "cache=writeback", "cache=directsync", "cache=none", "cache=unsafe", "serial=",
		"interface=sas", "interface=sata", "media=ssd", "media=hdd", "use=volume", "use=system",
		"werror=enospc", "werror=stop", "werror=report", "werror=ignore", "rerror=report", "rerror=stop", "rerror=ignore"} {
		if strings.HasPrefix(o, last) {
			options = append(options, done+o)
		}
	}
	return options, cobra.ShellCompDirectiveNoSpace | cobra.ShellCompDirectiveNoFileComp
}

// completeSerial completes the kinds of --serial, and files after file: and
// unix:.
func completeSerial(_ *cobra.Command, _ []string, text string) ([]string, cobra.ShellCompDirective) {
	kind, prefix, named := strings.Cut(text, ":")
	var options []string
	if named && (kind == string(serialUnix) || kind == string(serialFile)) {
		for _, file := range completeFile(prefix) {
			options = append(options, kind+":"+file)
		}
		return options, cobra.ShellCompDirectiveNoSpace
	}
	for _, o := range []string{"stdio", "none", "unix:", "file:", "fd:"} {
		if strings.HasPrefix(o, text) {
			options = append(options, o)
		}
	}
	return options, cobra.ShellCompDirectiveNoSpace | cobra.ShellCompDirectiveNoFileComp
}

// completeFile lists the files that start with prefix, directories with a
// slash at the end.
func completeFile(prefix string) []string {
	dir := prefix[:strings.LastIndexByte(prefix, '/')+1]
	where := dir
	if where == "" {
		where = "."
	}
	entries, err := os.ReadDir(where)
	if err != nil {
		return nil
	}
	var files []string
	for _, e := range entries {
		name := dir + e.Name()
		if e.IsDir() {
			name += "/"
		}
		if strings.HasPrefix(name, prefix) {
			files = append(files, name)
		}
	}
	return files
}
