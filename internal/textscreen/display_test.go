package textscreen

import (
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// pc is a machine for a display.
type pc struct {
	mu    sync.Mutex
	shows *Screen // guarded by mu
	keys  []Event // guarded by mu
	room  int     // guarded by mu: how many events the keyboard takes
}

func (m *pc) Screen(s *Screen) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s.clone(m.shows)
}

func (m *pc) Key(e Event) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.room == 0 {
		return false
	}
	m.room--
	m.keys = append(m.keys, e)
	return true
}

func (m *pc) set(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
}

func TestDisplay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &pc{shows: text(10, 0x07, "one", ""), room: 3}
		screen := newTerminal(3, 11)
		out := writerFunc(func(p []byte) (int, error) {
			m.set(func() { screen.write(t, p) })
			return len(p), nil
		})
		in, typed := io.Pipe()
		d := Start(m, in, out)
		time.Sleep(time.Second)
		m.set(func() { screen.shows(t, m.shows) })
		m.set(func() { m.shows = text(10, 0x1F, "one", "two") })
		time.Sleep(idlePeriod + busyPeriod)
		m.set(func() { screen.shows(t, m.shows) })

		// The keyboard has room for three events, and then for one at a time.
		if _, err := typed.Write([]byte("aA\x1b")); err != nil {
			t.Fatal(err)
		}
		for range 10 {
			time.Sleep(time.Second)
			m.set(func() { m.room = max(m.room, 1) })
		}
		m.set(func() {
			if got, want := spell(m.keys), "+1e -1e +2a +1e -1e -2a +01 -01"; got != want {
				t.Errorf("typed %s, want %s", got, want)
			}
		})
		m.set(func() { m.shows = text(10, 0x07, "last", "") })
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		if screen.cells[0].char != 'l' || !screen.cursor || screen.row != 2 {
			t.Errorf("after the end: %q, cursor %v in line %d", screen.cells[0].char, screen.cursor, screen.row)
		}
		typed.Close()
	})
}

// Keys for a keyboard that nobody reads are given up, not kept for ever.
func TestKeysThatNobodyReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &pc{shows: &Screen{}}
		in, typed := io.Pipe()
		d := Start(m, in, io.Discard)
		typed.Write([]byte("abc"))
		time.Sleep(2 * fullLimit)
		m.set(func() { m.room = 100 })
		typed.Write([]byte("d"))
		time.Sleep(time.Second)
		m.set(func() {
			if got, want := spell(m.keys), "+20 -20"; got != want {
				t.Errorf("typed %s, want %s", got, want)
			}
		})
		d.Close()
		typed.Close()
	})
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
