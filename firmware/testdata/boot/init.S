# The first process of the booted kernel: it says that it runs, and switches
# the machine off.
#
#	as -o init.o init.S && ld -n -s -o init init.o

	.globl	_start
_start:
	movl	$1, %eax		# write(1, message, length)
	movl	$1, %edi
	leaq	message(%rip), %rsi
	movl	$length, %edx
	syscall
	movl	$169, %eax		# reboot(magic, magic2, POWER_OFF)
	movl	$0xFEE1DEAD, %edi
	movl	$0x28121969, %esi
	movl	$0x4321FEDC, %edx
	syscall
	jmp	.
message:
	.ascii	"the first process runs\n"
	.set	length, . - message
