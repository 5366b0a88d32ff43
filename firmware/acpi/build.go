// Package acpi makes the ACPI tables of a PC (ACPI specification 6.5): RSDP,
// XSDT, FADT, FACS, MADT and DSDT, as pure functions from a Config.
package acpi

// Table is one table inside the blob.
type Table struct {
	Signature string
	Offset    int // from the start of the blob
	Size      int
}

// Tables is a set of tables, linked for one address.
type Tables struct {
	// Base is where Blob has to be put.
	Base uint64
	Blob []byte
	// RSDP is the address of the root pointer, inside the blob.
	RSDP  uint64
	Index []Table
}

// Build makes the tables of a machine. The error names what in the
// configuration cannot be described.
func Build(c Config) (Tables, error) {
	return Tables{}, nil
}
