package pci

import (
	"testing"

	"github.com/govmm/govmm/internal/fieldtest"
)

// TestEveryFieldIsDecided is for who adds a field to what a function consists of:
// either the saved state has it, or it is said here why not.
func TestEveryFieldIsDecided(t *testing.T) {
	const saved, described = "saved", "part of the description"
	fieldtest.Decided(t, &Function{}, map[string]string{
		"cfg level msi msix": saved,
		"name pin err bars caps pm express onWrite onReset": described,
		"place": "the bus's", "gates": "derived from cfg", "mu": "lock",
	})
	fieldtest.Decided(t, space{}, map[string]string{"now": saved, "reset write clear": described})
	fieldtest.Decided(t, &msi{}, map[string]string{
		"pending": saved, "addr data granted": "derived from cfg", "off vectors addr64": described, "mu": "lock",
	})
	fieldtest.Decided(t, &msix{}, map[string]string{"vectors pending": saved, "off": described})
	fieldtest.Decided(t, &vector{}, map[string]string{"addr data masked": saved, "mu": "lock"})
	fieldtest.Decided(t, &window{}, map[string]string{
		"name port size region": described, "base wanted mapped": "derived from cfg",
	})
}
