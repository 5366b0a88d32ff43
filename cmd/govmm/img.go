package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

func (a *app) imgCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "img",
		Short: "Create and check disk images",
		Long:  "img works with disk images in the qcow2 format, by the words of qemu-img.",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("img: unknown command %q (\"govmm help img\" lists them)", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.imgCreateCommand(), a.imgCheckCommand(), a.imgBenchCommand())
	return cmd
}

// imageFormat is the -f flag of commands that know one format.
func imageFormat(cmd *cobra.Command, name, short, usage string) {
	format := choice{value: "qcow2", allowed: []string{"qcow2"}}
	cmd.Flags().VarP(&format, name, short, usage)
	format.complete(cmd, name)
}

// option is one KEY=VALUE of a list.
type option struct{ key, value string }

// parseOptions splits a list of KEY=VALUE at commas. A comma in a value is
// written twice.
func parseOptions(list string) ([]option, error) {
	var options []option
	for _, item := range strings.Split(strings.ReplaceAll(list, ",,", "\x00"), ",") {
		key, value, ok := strings.Cut(item, "=")
		if !ok || key == "" {
			return nil, fmt.Errorf("%q: not a list of KEY=VALUE", list)
		}
		options = append(options, option{key, strings.ReplaceAll(value, "\x00", ",")})
	}
	return options, nil
}
