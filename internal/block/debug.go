package block

import (
	"fmt"
	"os"

	"github.com/govmm/govmm/internal/blkdebug"
)

// readDebugConfig makes Debug of DebugConfig.
func (s *Spec) readDebugConfig() error {
	f, err := os.Open(s.DebugConfig)
	if err != nil {
		return fmt.Errorf("could not read blkdebug config file: %w", err)
	}
	defer f.Close()
	rules, err := blkdebug.ParseConfig(f, s.DebugConfig)
	if err != nil {
		return err
	}
	s.Debug = blkdebug.New(rules, nil)
	return nil
}
