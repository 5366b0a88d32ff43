package imgio

// Manual is what there is to say of a command, for manual pages.
type Manual struct{ Name, Alias, Args, About, Help string }

// Manuals are those of all commands.
func Manuals() (list []Manual) {
	for _, c := range commands() {
		list = append(list, Manual{c.name, c.alias, c.args, c.line, c.help})
	}
	return list
}
