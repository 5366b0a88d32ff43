package guesttests

import (
	"strings"
	"testing"
)

// TestFilesystemAcrossBoots makes a file system with Debian's tools and reads
// it in another boot of the same disk.
func TestFilesystemAcrossBoots(t *testing.T) {
	t.Parallel()
	v := vmm(t)
	disk := image(t, "256M")

	g := start(t, v, debian12(t, disk))
	g.sh(`echo ',,L' | sfdisk -q --label gpt /dev/sda
		while [ ! -b /dev/sda1 ]; do sleep 0.1; done
		mkfs.ext4 -q /dev/sda1
		mount -t ext4 /dev/sda1 /mnt
		cd /mnt
		cp -r /usr/lib lib
		mkdir many
		for i in $(seq 200); do echo $i > many/$i; done
		rm many/*5
		dd if=/dev/urandom of=holes bs=64k seek=50 count=3 status=none
		find . -type f ! -name SUMS | sort | xargs sha256sum > SUMS
		cd /
		umount /mnt`)
	sums := g.sh(`mount -t ext4 -o ro /dev/sda1 /mnt; cat /mnt/SUMS; umount /mnt`)
	g.powerOff()
	checkImage(t, disk)

	g = start(t, v, debian12(t, disk))
	g.run("e2fsck", "-f", "-n", "/dev/sda1")
	g.sh(`mount -t ext4 /dev/sda1 /mnt; cd /mnt; sha256sum --check --quiet --strict SUMS`)
	if again := g.run("cat", "/mnt/SUMS"); again != sums {
		t.Errorf("the list of checksums itself has changed:\n%s\nwas:\n%s", again, sums)
	}
	if n := strings.Count(sums, "\n"); n < 180 {
		t.Errorf("%d files in the list, want at least the 180 in many/", n)
	}
	g.sh(`cd /; rm -r /mnt/many; sync; umount /mnt; e2fsck -f -n /dev/sda1`)
	g.powerOff()
	checkImage(t, disk)
}
