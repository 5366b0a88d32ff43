package main

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// versionReport says what this program is and what it was built from.
type versionReport struct {
	Version  string `json:"version"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
	Revision string `json:"revision,omitempty"` // of the source
	Time     string `json:"time,omitempty"`     // of the revision
	Modified bool   `json:"modified,omitempty"` // the source had changes beyond the revision
}

func (a *app) versionCommand() *cobra.Command {
	var output outputFormat
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Say what this is and what it was built from",
		Args:  arguments(0, 0),
		RunE: func(*cobra.Command, []string) error {
			v := buildVersion(debug.ReadBuildInfo())
			return output.print(a.stdout, v, v.write)
		},
	}
	output.register(cmd)
	return cmd
}

// buildVersion reads what the linker recorded.
func buildVersion(info *debug.BuildInfo, ok bool) versionReport {
	v := versionReport{
		Version:  "unknown",
		Go:       runtime.Version(),
		Platform: runtime.GOOS + "/" + runtime.GOARCH,
	}
	if !ok {
		return v
	}
	if info.Main.Version != "" {
		v.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Revision = s.Value
		case "vcs.time":
			v.Time = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	return v
}

func (v versionReport) write(w io.Writer) {
	fmt.Fprintf(w, "govmm %s\n%s %s\n", v.Version, v.Go, v.Platform)
	if v.Revision == "" {
		return
	}
	modified := ""
	if v.Modified {
		modified = ", modified"
	}
	fmt.Fprintf(w, "revision %s (%s%s)\n", v.Revision, v.Time, modified)
}

// outputFormat is the --output flag: for people, or for programs.
type outputFormat struct{ choice }

func (o *outputFormat) register(cmd *cobra.Command) {
	o.choice = choice{value: "text", allowed: []string{"text", "json"}}
	cmd.Flags().Var(&o.choice, "output", "how to print the result: text or json")
	o.complete(cmd, "output")
}

// print writes v as JSON, or calls text to write it for people.
func (o *outputFormat) print(w io.Writer, v any, text func(io.Writer)) error {
	if o.value == "text" {
		text(w)
		return nil
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "    ")
	return enc.Encode(v)
}
