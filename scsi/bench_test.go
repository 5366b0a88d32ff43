package scsi

import "testing"

// nullUnit has a medium that does nothing: what is measured is the unit.
func nullUnit(t testing.TB, writeBack bool) *Unit {
	u, err := NewUnit(UnitConfig{Medium: sized(1 << 40), WriteBack: writeBack})
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// transferCases are the commands of the hot path.
func transferCases(u *Unit) map[string]func(*Command) {
	execute := func(cdb []byte) func(*Command) {
		return func(c *Command) { c.CDB = cdb; u.Execute(c) }
	}
	return map[string]func(*Command){
		"READ(6)":       execute(cdb6(OpRead6, 8, 8)),
		"READ(10)":      execute(cdb10(OpRead10, 0, 8, 8)),
		"READ(10) FUA":  execute(cdb10(OpRead10, 0x08, 8, 8)),
		"READ(12)":      execute(cdb12(OpRead12, 0, 8, 8)),
		"READ(16)":      execute(cdb16(OpRead16, 0, 8, 8)),
		"WRITE(6)":      execute(cdb6(OpWrite6, 8, 8)),
		"WRITE(10)":     execute(cdb10(OpWrite10, 0, 8, 8)),
		"WRITE(10) FUA": execute(cdb10(OpWrite10, 0x08, 8, 8)),
		"WRITE(12)":     execute(cdb12(OpWrite12, 0, 8, 8)),
		"WRITE(16)":     execute(cdb16(OpWrite16, 0, 8, 8)),
		"Read":          func(c *Command) { u.Read(c, 8, 8, false) },
		"Write":         func(c *Command) { u.Write(c, 8, 8, false) },
		"out of range":  func(c *Command) { u.Read(c, 1<<40, 8, false) },
	}
}

func TestTransfersDoNotAllocate(t *testing.T) {
	data := make([]byte, 8192)
	for _, writeBack := range []bool{false, true} {
		var c Command
		list := make([][]byte, 0, 2)
		for name, do := range transferCases(nullUnit(t, writeBack)) {
			if n := testing.AllocsPerRun(100, func() {
				c.Data = append(list[:0], data[:1024], data[1024:])
				do(&c)
			}); n != 0 {
				t.Errorf("%s with write-back %v: %v allocations", name, writeBack, n)
			}
		}
	}
}

func BenchmarkTransfer(b *testing.B) {
	u := nullUnit(b, true)
	cases := transferCases(u)
	data := make([]byte, 4096)
	for _, name := range []string{"READ(10)", "READ(16)", "Read", "WRITE(10)", "Write"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var c Command
			list := make([][]byte, 1)
			do := cases[name]
			for b.Loop() {
				list[0] = data
				c.Data = list
				do(&c)
			}
		})
	}
	b.Run("READ(10)/parallel", func(b *testing.B) {
		b.ReportAllocs()
		cdb := cdb10(OpRead10, 0, 8, 8)
		b.RunParallel(func(pb *testing.PB) {
			c := Command{CDB: cdb}
			list := make([][]byte, 1)
			for pb.Next() {
				list[0] = data
				c.Data = list
				u.Execute(&c)
			}
		})
	})
}
