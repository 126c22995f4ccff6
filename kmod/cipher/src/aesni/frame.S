// SPDX-License-Identifier: GPL-2.0-or-later
//
// What every routine of the engine stands on: where it is placed, how it returns, how it reaches
// the debug registers, and the windows in which a share is in a general register.
//
// TRESOR_KERNEL is set by the Rust file that includes this one. With 1, the code is the kernel
// module's: it lives in .noinstr.text, where neither tracing nor kprobes can get between two of its
// instructions, and reads and writes DR0-DR3. With 0, it is for user space: the four "debug
// registers" are bytes 32..64 of the share line, so that tests can run on many threads. Nothing
// else differs.
//
// Windows
// -------
// An NMI saves the general registers in memory (vector registers it leaves alone). A share must
// therefore never be in one when an NMI is taken; but `mov %dr0, ...` knows no other target. So:
//   - %rax is the only general register that ever holds a secret, and holds one only in a window;
//   - the NMI handler looks up the interrupted instruction pointer in the table of windows. In a
//     window it zeroes %rax in the frame, and if the window's kind says so it sets %r11, in the
//     frame, to something that is not zero;
//   - the code zeroes %r11 before a window, tests it behind it, and runs the window again if set.
// What happens at a window's edges: an instruction pointer equal to the window's start means that
// the instruction there has not run yet, one equal to its end that the last one, which zeroes %rax,
// has. Outside of windows %rax holds zero, a status or something else that is public.

.set WINDOW_REDO, 1		// zero %rax and set %r11: the window runs again
.set WINDOW_ZERO, 2		// zero %rax only: its value has been used, running again would be wrong

.pushsection .tresor_windows, "a", @progbits
	.balign		4
	.globl		tresor_windows_begin
tresor_windows_begin:
.popsection

// Enters the window [\start, \end) of the given kind into the table. Places are counted from the
// first routine, tresor_aesni_wipe: relocations into the middle of a function would look to objtool
// like indirect branches without an ENDBR to land on.
.macro	WINDOW		start, end, kind
	.pushsection .tresor_windows, "a", @progbits
	.long		\start - tresor_aesni_wipe
	.long		\end - tresor_aesni_wipe
	.long		\kind
	.popsection
.endm

// A routine. The padding before it is what the kernel's call thunks expect in front of a function.
.macro	ROUTINE		name
.if TRESOR_KERNEL
	.pushsection .noinstr.text, "ax", @progbits
.else
	.pushsection .text, "ax", @progbits
.endif
	.balign		16, 0x90
	.skip		16, 0x90
	.globl		\name
	.type		\name, @function
\name:
	endbr64
.endm

.macro	END_ROUTINE	name
	.size		\name, . - \name
	.popsection
.endm

.macro	RETURN
.if TRESOR_KERNEL
	jmp		__x86_return_thunk
.else
	ret
.endif
.endm

// Zeroes all vector registers. Every routine ends with it, on every path.
.macro	WIPE
.irp i, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
	pxor		%xmm\i, %xmm\i
.endr
.endm

// %rax := debug register \n. Clobbers nothing.
.macro	READ_DR		n
.if TRESOR_KERNEL
	mov		%dr\n, %rax
.else
	mov		32+8*\n(%rdi), %rax
.endif
.endm

// Debug register \n := %rax. Clobbers nothing.
.macro	WRITE_DR	n
.if TRESOR_KERNEL
	mov		%rax, %dr\n
.else
	mov		%rax, 32+8*\n(%rdi)
.endif
.endm

// %xmm\lo, %xmm\hi := DR0-DR3. Zeroes %rax, clobbers %r11. In user space %rdi is the share.
.macro	LOAD_DR		lo, hi
.Lload\@:
	xor		%r11d, %r11d
.Lload_open\@:
	READ_DR		0
	movq		%rax, %xmm\lo
	READ_DR		1
	pinsrq		$1, %rax, %xmm\lo
	READ_DR		2
	movq		%rax, %xmm\hi
	READ_DR		3
	pinsrq		$1, %rax, %xmm\hi
	xor		%eax, %eax
.Lload_shut\@:
	test		%r11, %r11
	jnz		.Lload\@
	WINDOW		.Lload_open\@, .Lload_shut\@, WINDOW_REDO
.endm

// DR0-DR3 := %xmm\lo, %xmm\hi, which survive. Zeroes %rax, clobbers %r11.
// Running it again is harmless: the new words wait in vector registers.
.macro	STORE_DR	lo, hi
.Lstore\@:
	xor		%r11d, %r11d
.Lstore_open\@:
	movq		%xmm\lo, %rax
	WRITE_DR	0
	pextrq		$1, %xmm\lo, %rax
	WRITE_DR	1
	movq		%xmm\hi, %rax
	WRITE_DR	2
	pextrq		$1, %xmm\hi, %rax
	WRITE_DR	3
	xor		%eax, %eax
.Lstore_shut\@:
	test		%r11, %r11
	jnz		.Lstore\@
	WINDOW		.Lstore_open\@, .Lstore_shut\@, WINDOW_REDO
.endm

// DR0-DR3 := 0. Zeroes %rax.
.macro	CLEAR_DR
	xor		%eax, %eax
	WRITE_DR	0
	WRITE_DR	1
	WRITE_DR	2
	WRITE_DR	3
.endm

// \offset(%rdi) ^= quadword \lane (0 or 1) of %xmm\r, as one locked operation, so that an erase from
// elsewhere is never undone. Zeroes %rax, clobbers %r11.
//
// Adding a word twice would undo it, so the window that runs again is exactly the one instruction
// before which %rax holds the word and has not been added yet: an NMI there makes it add zero. The
// window behind it only gets %rax zeroed.
.macro	ADD_TO_SHARE	r, lane, offset
.Ladd\@:
	xor		%r11d, %r11d
	pextrq		$\lane, %xmm\r, %rax
.Ladd_open\@:
	lock xorq	%rax, \offset(%rdi)
.Ladd_done\@:
	xor		%eax, %eax
.Ladd_shut\@:
	test		%r11, %r11
	jnz		.Ladd\@
	WINDOW		.Ladd_open\@, .Ladd_done\@, WINDOW_REDO
	WINDOW		.Ladd_done\@, .Ladd_shut\@, WINDOW_ZERO
.endm

// Pushes the cache line at \where out to DRAM: a line that is often used might otherwise never get
// there, and what it replaces would stay. The fences are for CPUs that order CLFLUSH with nothing.
.macro	FLUSH		where
	mfence
	clflush		\where
	mfence
.endm

// void tresor_aesni_wipe(struct share *share);
//
// DR0-DR3 := 0. The share is only looked at in user space, where it has the debug registers.
	ROUTINE		tresor_aesni_wipe
	CLEAR_DR
	RETURN
	END_ROUTINE	tresor_aesni_wipe
