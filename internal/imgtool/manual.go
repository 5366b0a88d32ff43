package imgtool

// Manual is what there is to say of a command, for manual pages.
type Manual struct {
	Name, Synopsis, About string
	Flags                 [][2]string // how it is written, what it does
}

// Manuals are those of all commands.
func Manuals() (list []Manual) {
	for _, c := range commands() {
		m := Manual{Name: c.name, Synopsis: c.synopsis, About: c.about}
		for _, f := range append(c.flags[:len(c.flags):len(c.flags)], flagHelp) {
			m.Flags = append(m.Flags, [2]string{f.usage(), f.help})
		}
		list = append(list, m)
	}
	return list
}
