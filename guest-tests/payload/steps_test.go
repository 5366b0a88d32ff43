package payloadtests

import "testing"

// The tests here stand on the steps that programs are made of.
func TestSteps(t *testing.T) {
	g := newGuest(t)
	const all = 0xffffffff
	numbers := g.alloc(16)
	g.put(numbers, []byte{10, 0, 0, 0, 20, 0, 0, 0, 30, 0, 0, 0})

	g.Set(2)
	g.LoadIndexed32(numbers)
	g.wantSaved("third word of an array", all, 30)
	g.Set(1)
	g.IncrementIndexed32(numbers)
	g.wantWord("second word of the array, incremented", numbers+4, all, 21)

	taken, other := g.Word(), g.Word()
	g.Set(0x1234)
	g.If32(0xff, 0x34, func() { g.Save32(taken) })
	g.Set(0x1234)
	g.If32(0xff, 0x35, func() { g.Save32(other) })
	g.wantWord("what the body of If32 saw", taken, all, 0x1234)
	g.wantWord("If32 with another value", other, all, 0)

	n, limit := g.Word(), g.Data([]byte{5, 0, 0, 0}, 8)
	g.UntilEqual32(n, limit, func() { g.Increment32(n) })
	g.Load32(n)
	g.wantSaved("UntilEqual32 counts to 5", all, 5)
	g.Until32(n, 0xf, 9, func() { g.Increment32(n) })
	g.Load32(n)
	g.wantSaved("Until32 counts on to 9", all, 9)
	g.Until32(n, 0xf, 9, func() { g.Increment32(n) })
	g.WaitOther32(n, 0xf, 8)
	g.WaitPort32(0x5678, 0xff, 0xff) // nobody is there
	g.wantWord("nothing changed it since", n, all, 9)
	g.run()
}
