package raid

import "fmt"

// GrowVolume gives a volume all that its drives have by now. What is added holds
// what the drives have there.
func (s *Set) GrowVolume(target uint8) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.Volume(target)
	if v == nil {
		return errNoVolume(target)
	}
	blocks := v.array.status().Blocks
	if blocks < v.Blocks() {
		return fmt.Errorf("volume %d: %w: its drives have %d blocks left of %d", target, ErrSize, blocks, v.Blocks())
	}
	if blocks == v.Blocks() {
		return nil
	}
	v.blocks.Store(blocks)
	v.sequence.Add(1)
	s.observe(VolumePropertiesChanged{v.status()})
	return nil
}
