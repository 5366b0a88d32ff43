package luks

import (
	"crypto/rand"
	"fmt"
)

// AnySlot asks AddKey to choose a key slot.
const AnySlot = -1

// erasePasses is how often key material is overwritten with noise. Some storage
// keeps what was overwritten; the slots' splitting makes one lost stripe enough.
const erasePasses = 40

// AddKey makes a key slot that is not in use, or with AnySlot the first such,
// open with the passphrase, and returns its number. The key material is durable
// before the header says that it is there.
func (v *Volume) AddKey(slot int, passphrase []byte, p KeyParams) (int, error) {
	if slot == AnySlot {
		if slot = v.freeSlot(); slot < 0 {
			return 0, fmt.Errorf("%w: all %d are in use", ErrSlot, Slots)
		}
	}
	if err := checkSlot(slot); err != nil {
		return 0, err
	}
	if v.h.Slots[slot].Active {
		return 0, fmt.Errorf("%w %d is in use (erase it first)", ErrSlot, slot)
	}
	s := v.h.Slots[slot]
	var err error
	if s.Iterations, err = p.iterations(v.spec.hash, v.spec.key, 1); err != nil {
		return 0, err
	}
	_, _ = rand.Read(s.Salt[:]) // it never fails
	c, err := v.slotCipher(&s, passphrase)
	if err != nil {
		return 0, err
	}
	material := make([]byte, v.materialSize())
	copy(material, split(v.key, newHash(v.spec.hash)))
	c.Encrypt(material, material, 0)
	if err := v.write(material, int64(s.Material)*SectorSize); err != nil {
		return 0, fmt.Errorf("write key slot %d: %w", slot, err)
	}
	s.Active = true
	return slot, v.setSlot(slot, s)
}

// EraseKey makes a key slot useless: the header forgets it, then its key
// material is overwritten. The last slot in use is erased only with force: with
// it goes all the data.
func (v *Volume) EraseKey(slot int, force bool) error {
	if err := checkSlot(slot); err != nil {
		return err
	}
	if !v.h.Slots[slot].Active && !force {
		return fmt.Errorf("%w %d is not in use", ErrSlot, slot)
	}
	return v.erase([]int{slot}, force)
}

// EraseMatching erases all key slots that open with the passphrase, as EraseKey
// does, and returns their numbers.
func (v *Volume) EraseMatching(passphrase []byte, force bool) ([]int, error) {
	var list []int
	for i := range v.h.Slots {
		if !v.h.Slots[i].Active {
			continue
		}
		key, err := v.unlock(i, passphrase)
		if err != nil {
			return nil, err
		}
		if key != nil {
			list = append(list, i)
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%w: none opens with the password to erase", ErrSlot)
	}
	return list, v.erase(list, force)
}

// Opens reports whether a key slot opens with the passphrase.
func (v *Volume) Opens(slot int, passphrase []byte) (bool, error) {
	if err := checkSlot(slot); err != nil || !v.h.Slots[slot].Active {
		return false, err
	}
	key, err := v.unlock(slot, passphrase)
	return key != nil, err
}

func (v *Volume) erase(list []int, force bool) error {
	active := v.h.ActiveSlots()
	for _, i := range list {
		if v.h.Slots[i].Active {
			active--
		}
	}
	if active == 0 && !force {
		return fmt.Errorf("%w: erasing the last one loses all data", ErrSlot)
	}
	for _, i := range list {
		s := v.h.Slots[i]
		s.Active, s.Iterations = false, 0
		if err := v.setSlot(i, s); err != nil {
			return err
		}
		if err := v.overwrite(int64(s.Material) * SectorSize); err != nil {
			return fmt.Errorf("overwrite key slot %d: %w", i, err)
		}
	}
	return nil
}

// overwrite replaces key material by noise.
func (v *Volume) overwrite(off int64) error {
	noise := make([]byte, v.materialSize())
	for range erasePasses {
		_, _ = rand.Read(noise) // it never fails
		if err := v.write(noise, off); err != nil {
			return err
		}
	}
	return nil
}

// setSlot changes a slot of the header, on disk first.
func (v *Volume) setSlot(i int, s Slot) error {
	h := v.h
	h.Slots[i] = s
	if err := v.write(h.marshal(), 0); err != nil {
		return fmt.Errorf("write LUKS header: %w", err)
	}
	v.h = h
	return nil
}

// write writes durably.
func (v *Volume) write(b []byte, off int64) error {
	if _, err := v.s.WriteAt(b, off); err != nil {
		return err
	}
	return v.s.Sync()
}

func (v *Volume) freeSlot() int {
	for i := range v.h.Slots {
		if !v.h.Slots[i].Active {
			return i
		}
	}
	return -1
}

func checkSlot(slot int) error {
	if slot < 0 || slot >= Slots {
		return fmt.Errorf("%w %d (0 to %d are allowed)", ErrSlot, slot, Slots-1)
	}
	return nil
}
