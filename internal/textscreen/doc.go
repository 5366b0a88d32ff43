// Package textscreen shows the text screen of a PC on a terminal and turns what
// is typed there into the keys of a PC's keyboard.
//
// A [Screen] is what a VGA adapter in a text mode shows: characters of code page
// 437 with attributes. A [Renderer] draws it by the escape sequences that every
// terminal since the VT100 knows (ECMA-48, with the sixteen colours of aixterm),
// and only what has changed. It never asks the terminal anything and reads nothing
// from it, so that its output can as well go through a pipe. A [Decoder] finds keys
// in a terminal's input, by the keymap of a US keyboard. A [Display] runs the two
// beside a machine.
//
// Graphics modes are not shown: a line says so. Nor are a changed palette, a font
// that the guest has loaded, blinking where the terminal has none, and characters
// above the 256 of the code page. A terminal tells when a key was typed, not when
// it was pressed and released: keys cannot be held, and those that send nothing by
// themselves, such as Shift, come with others only.
//
// Only a Display may be used by several goroutines.
package textscreen
