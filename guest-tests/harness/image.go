package harness

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
)

// The referees: programs that were not written here and know the format.

// QemuImg runs qemu-img and returns what it printed.
func QemuImg(ctx context.Context, args ...string) (string, error) {
	return tool(ctx, "qemu-img", args...)
}

// QemuIO runs commands of qemu-io on an image. A pattern that is not what
// "read -P" says is an error.
func QemuIO(ctx context.Context, image, format string, commands ...string) error {
	args := []string{"-f", format}
	for _, c := range commands {
		args = append(args, "-c", c)
	}
	out, err := tool(ctx, "qemu-io", append(args, image)...)
	if err != nil {
		return err
	}
	// qemu-io of some versions ends with status 0 whatever it found.
	for line := range strings.Lines(out) {
		if strings.Contains(line, "verification failed") || strings.Contains(line, "failed:") {
			return fmt.Errorf("qemu-io: %s", strings.TrimSpace(line))
		}
	}
	return nil
}

func tool(ctx context.Context, name string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}
