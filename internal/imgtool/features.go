package imgtool

import (
	"errors"
	"fmt"

	"github.com/govmm/govmm/internal/block"
	"github.com/govmm/govmm/qcow2"
)

// extended applies extended_l2.
func extended(_ *qcow2.CreateOptions, v formatValues) error {
	if v.on("extended_l2") {
		return errors.New("Extended L2 entries are not supported")
	}
	return nil
}

func extendedL2(*qcow2.Info) bool { return false }

// encryption applies the options about encryption.
func (t *Tool) encryption(n *newImage, _ *qcow2.CreateOptions) error {
	if n.values.on("encryption") || n.values["encrypt.format"] != "" {
		return errors.New("Encryption of qcow2 images is not supported")
	}
	return nil
}

func (t *Tool) describeLUKS(s source, i *imageInfo) (*imageInfo, error) {
	return nil, errors.New("luks")
}

// setSnapshot makes a source the disk of a snapshot.
func setSnapshot(_ *block.Spec, name string) error {
	return fmt.Errorf("Failed to load snapshot '%s'", name)
}

// cryptoHeader is the length of the header of an encrypted image.
func (n *newImage) cryptoHeader() (int64, error) { return 0, nil }

// amendKeys changes key slots.
func (t *Tool) amendKeys(_ *qcow2.Image, v formatValues, _ bool) error {
	for name := range v {
		if len(name) > 8 && name[:8] == "encrypt." {
			return errors.New("image is not encrypted")
		}
	}
	return nil
}
