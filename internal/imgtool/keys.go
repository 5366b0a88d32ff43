package imgtool

import (
	"errors"
	"fmt"

	"github.com/govmm/govmm/qcow2/luks"
)

// keyChange is a change of LUKS key slots: state=active makes a slot open with one more
// passphrase, state=inactive erases slots.
type keyChange struct {
	active, byPassphrase bool
	slot                 int    // luks.AnySlot: none was named
	passphrase           []byte // the new one, or that of the slots to erase
	params               luks.KeyParams
	force                bool
}

// keyChange reads the options about key slots, whose names have a prefix.
func (t *Tool) keyChange(v formatValues, prefix string, force bool) (*keyChange, error) {
	c := &keyChange{slot: luks.AnySlot, force: force}
	has := func(name string) bool { _, ok := v[prefix+name]; return ok }
	switch state := v[prefix+"state"]; {
	case !has("state"):
		return nil, errors.New("Parameter 'state' is missing")
	case state == "active":
		c.active = true
	case state != "inactive":
		return nil, fmt.Errorf("Parameter 'state' does not accept value '%s'", state)
	}
	if c.active {
		switch {
		case !has("new-secret"):
			return nil, errors.New("'new-secret' is required to activate a keyslot")
		case has("old-secret"):
			return nil, errors.New("'old-secret' must not be given when activating keyslots")
		}
	} else {
		for _, name := range []string{"new-secret", "iter-time"} {
			if has(name) {
				return nil, fmt.Errorf("'%s' must not be given when erasing keyslots", name)
			}
		}
	}
	if has("keyslot") {
		n, _ := parseNumber(v[prefix+"keyslot"])
		if n < 0 || n >= luks.Slots {
			return nil, fmt.Errorf("Invalid keyslot %d specified, must be between 0 and %d", uint32(n), luks.Slots-1)
		}
		c.slot = int(n)
	}
	id := v[prefix+"new-secret"]
	if c.byPassphrase = !c.active && has("old-secret"); c.byPassphrase {
		id = v[prefix+"old-secret"]
	}
	if c.active || c.byPassphrase {
		secret, err := t.objects.Secrets.Get(id)
		if err != nil {
			return nil, err
		}
		c.passphrase = []byte(secret)
	}
	p, err := luksParams(v, prefix)
	c.params = p.KeyParams
	return c, err
}

// apply changes the slots of a volume.
func (c *keyChange) apply(v *luks.Volume) error {
	if c.active {
		return c.add(v)
	}
	return c.erase(v)
}

func (c *keyChange) add(v *luks.Volume) error {
	h := v.Header()
	switch {
	case c.slot == luks.AnySlot && h.ActiveSlots() == luks.Slots:
		return errors.New("Can't add a keyslot - all keyslots are in use")
	case c.slot == luks.AnySlot || !h.Slots[c.slot].Active:
	case !c.force:
		return fmt.Errorf("Refusing to overwrite active keyslot %d - please erase it first", c.slot)
	default:
		if err := v.EraseKey(c.slot, true); err != nil {
			return err
		}
	}
	_, err := v.AddKey(c.slot, c.passphrase, c.params)
	return err
}

func (c *keyChange) erase(v *luks.Volume) error {
	h := v.Header()
	switch {
	case !c.byPassphrase && c.slot == luks.AnySlot:
		return errors.New("To erase keyslot(s), either explicit keyslot index or the password currently contained in them must be given")
	case c.byPassphrase && c.slot == luks.AnySlot:
		return c.eraseMatching(v)
	case c.byPassphrase:
		if opens, err := v.Opens(c.slot, c.passphrase); err != nil {
			return err
		} else if !opens {
			return fmt.Errorf("Given keyslot %d doesn't contain the given old password for erase operation", c.slot)
		}
	}
	switch active := h.Slots[c.slot].Active; {
	case c.force:
	case !active:
		return fmt.Errorf("Given keyslot %d is already erased (inactive) ", c.slot)
	case h.ActiveSlots() == 1:
		return fmt.Errorf("Attempt to erase the only active keyslot %d which will erase all the data in the image irreversibly - refusing operation", c.slot)
	}
	return v.EraseKey(c.slot, true)
}

// eraseMatching erases all slots that open with the passphrase.
func (c *keyChange) eraseMatching(v *luks.Volume) error {
	h, match := v.Header(), 0
	for i := range luks.Slots {
		opens, err := v.Opens(i, c.passphrase)
		if err != nil {
			return err
		}
		if opens {
			match++
		}
	}
	switch {
	case match == 0:
		return errors.New("No keyslots match given (old) password for erase operation")
	case match == h.ActiveSlots() && !c.force:
		return errors.New("All the active keyslots match the (old) password that was given and erasing them will erase all the data in the image irreversibly - refusing operation")
	}
	_, err := v.EraseMatching(c.passphrase, true)
	return err
}
