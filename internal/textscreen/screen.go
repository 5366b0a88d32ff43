package textscreen

// Mode is what kind of picture a screen shows.
type Mode uint8

const (
	// Off is a screen before its adapter was first set up.
	Off Mode = iota
	// Text is a screen of characters.
	Text
	// Graphics is a screen of pixels, or of more characters than MaxColumns and
	// MaxRows allow.
	Graphics
)

// The largest screen of characters that is shown.
const (
	MaxColumns = 200
	MaxRows    = 100
)

// Screen is the picture of an adapter at a moment.
type Screen struct {
	Mode          Mode
	Columns, Rows int
	// Cells are Rows*Columns pairs of a character and its attribute, line by line.
	Cells []byte
	// Blink says what bit 7 of an attribute means: blinking, or else a bright
	// background.
	Blink bool
	// Cursor is the cell that the cursor is on, -1 if there is no cursor to see.
	Cursor int
}

// Attributes of a cell: bits 0 to 3 are the colour of the character, 4 to 6 that
// of the background.
const (
	attrForeground = 0x0F
	attrBright     = 0x08
	attrBackground = 0x70
	attrHigh       = 0x80
)

// clone makes s a copy of o, in memory of its own.
func (s *Screen) clone(o *Screen) {
	cells := append(s.Cells[:0], o.Cells...)
	*s = *o
	s.Cells = cells
}
