# What stands in for a BIOS when a loaded kernel is booted under QEMU: it makes
# the registers and the chipset what a kernel expects, and jumps. The image is
# the last 8 KiB below 4 GiB; the test fills in the parameters at its middle.
#
#	as -o reset.o reset.S && ld -Ttext=0 --oformat=binary -o reset.bin reset.o

	.set	image, 0xFFFFE000
	.set	params, image + 0x1000	# struct of the test, in this order:
	.set	entry, 0		#   RIP
	.set	rbx, 4
	.set	rsi, 8
	.set	rsp, 12
	.set	cr3, 16
	.set	cr4, 20
	.set	efer, 24
	.set	cr0, 28
	.set	gdtr, 32		#   limit, base
	.set	tables, 40		#   where the ACPI tables were put
	.set	destination, 44		#   where they belong
	.set	count, 48		#   how many dwords they are

	.macro	config register, value	# a PCI configuration register
	movl	$\register, %eax
	movw	$0xCF8, %dx
	outl	%eax, %dx
	movl	$\value, %eax
	movw	$0xCFC, %dx
	outl	%eax, %dx
	.endm

	.code16
	.globl	_start
_start:
	cli
	cld
	lgdtl	%cs:(flat_gdtr + 0xE000)	# the image's offset in segment F000
	movl	%cr0, %eax
	orl	$1, %eax
	movl	%eax, %cr0
	ljmpl	$0x08, $(image + protected)

	.balign	8
flat_gdt:
	.quad	0, 0x00CF9B000000FFFF, 0x00CF93000000FFFF
flat_gdtr:
	.word	23
	.long	image + flat_gdt

	.code32
protected:
	movl	$0x10, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	config	0x80000058, 0x33333000	# host bridge: RAM from C0000
	config	0x8000005C, 0x33333333	# ... to FFFFF
	config	0x80000B40, 0x601	# power management: base,
	config	0x80000B80, 1		# decode it
	movl	$params, %ebp
	movl	tables(%ebp), %esi
	movl	destination(%ebp), %edi
	movl	count(%ebp), %ecx
	rep movsl

	movl	cr4(%ebp), %eax
	movl	%eax, %cr4
	movl	cr3(%ebp), %eax
	movl	%eax, %cr3
	movl	$0xC0000080, %ecx
	movl	efer(%ebp), %eax
	andl	$~0x400, %eax		# the processor sets LMA itself
	xorl	%edx, %edx
	wrmsr
	movl	cr0(%ebp), %eax
	movl	%eax, %cr0

	movl	rbx(%ebp), %ebx
	movl	rsi(%ebp), %esi
	movl	rsp(%ebp), %esp
	movl	entry(%ebp), %edi
	lgdtl	gdtr(%ebp)
	movl	$0x18, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	movl	%eax, %fs
	movl	%eax, %gs
	ljmp	$0x10, $(image + enter)
enter:
	jmp	*%edi			# in 64-bit mode the same bytes jump to RDI

	.org	0x1FF0
	.code16
	jmp	_start
	.org	0x2000
