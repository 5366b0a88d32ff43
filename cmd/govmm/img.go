package main

import (
	"slices"
	"strings"

	"github.com/govmm/govmm/internal/block"
	"github.com/govmm/govmm/internal/imgtool"
	"github.com/spf13/cobra"
)

// qemuImgName is the name under which the program is govmm img alone, with the
// defaults of the tool of that name.
const qemuImgName = "qemu-img"

func (a *app) imgCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "img COMMAND [OPTION]... [FILE]...",
		Short: "Create, copy, check and change disk images",
		Long: `img works with disk images by the commands, options, output and exit statuses of
qemu-img. "govmm img --help" lists the commands, "govmm img COMMAND --help" is the
manual page of one.

There is one difference: images that are made are qcow2 unless -f or -O says
otherwise, and raw if the program is called by the name qemu-img (a link will do).

Disks may be exports of NBD servers (nbd://HOST/EXPORT, nbd+unix:///EXPORT?socket=PATH),
over TLS by --object tls-creds-x509,id=ID,dir=DIR and --image-opts
driver=nbd,host=HOST,port=PORT,tls-creds=ID.

Refused are formats other than qcow2, raw, luks and null-co, protocols other than
file, nbd and blkdebug, the drivers that filter or combine disks (quorum, throttle and
the like) but compress and copy-on-read, pre-shared keys to servers, node names,
objects that are neither secrets nor certificates nor about these, and -T for traces. convert -C and
bench -i are accepted; how the data moves is the same with and without.

Where qemu-img stops without need, this goes on: check works on an image whose
backing file is missing or whose bitmaps are broken, a failed create keeps the file
that was there, compressed clusters may replace others, and what is preallocated in
an encrypted image reads as zeroes.`,
		Example: `  govmm img create disk.qcow2 20G
  govmm img create -b base.qcow2 -F qcow2 overlay.qcow2
  govmm img convert -c disk.qcow2 small.qcow2
  govmm img check -r all disk.qcow2`,
		DisableFlagParsing: true,
		ValidArgsFunction: func(_ *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
			names := imgtool.Completions(args)
			names = slices.DeleteFunc(names, func(s string) bool { return !strings.HasPrefix(s, toComplete) })
			if len(args) == 0 {
				return names, cobra.ShellCompDirectiveNoFileComp
			}
			return names, cobra.ShellCompDirectiveDefault
		},
		RunE: func(_ *cobra.Command, args []string) error {
			return a.img("govmm img", block.FormatQCOW2, args)
		},
	}
}

// img runs the image tool by a name.
func (a *app) img(name, format string, args []string) error {
	out, flush := streamed(a.stdout)
	t := imgtool.Tool{Name: name, Stdout: out, Stderr: a.stderr, DefaultFormat: format}
	code := t.Run(args)
	if err := flush(); err != nil {
		return err
	}
	if code != 0 {
		return &exitError{code: code}
	}
	return nil
}
