// Package imgtool is govmm img: the commands, options, output and exit statuses
// of qemu-img (QEMU 7.2) over the engines of this project.
//
// Scripts that call qemu-img, and compare what it prints, work with this. What
// is refused is said in the words that qemu-img has for it. Formats are qcow2,
// raw and luks; images are named by file name, by --image-opts and by json:
// names, both over the drivers file, host_device, raw, qcow2, luks and null-co.
package imgtool
