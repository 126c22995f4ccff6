// SPDX-License-Identifier: GPL-2.0-or-later
//
// What the variants with AVX share around the data itself: M out of its two shares, the check value,
// the start of the tweaks. Volume keys are derived in single.S and wide.S. aesni/frame.S has the windows
// and the routines' frame, aesni/request.S the names of the arguments' registers and of what is in
// memory.
//
// \v is as in schedule.S: x or y.
//
// All instructions are VEX-coded: those of the SSE variant would wait for, or merge with, the upper
// halves of registers.

// %\v\()mm\lo, %\v\()mm\hi := M, in each lane. Zeroes %rax, clobbers %r11.
.macro	LOAD_M_V	v, lo, hi
.Lload\@:
	xor		%r11d, %r11d
.Lload_open\@:
	READ_DR		0
	vmovq		%rax, %xmm\lo
	READ_DR		1
	vpinsrq		$1, %rax, %xmm\lo, %xmm\lo
	READ_DR		2
	vmovq		%rax, %xmm\hi
	READ_DR		3
	vpinsrq		$1, %rax, %xmm\hi, %xmm\hi
	xor		%eax, %eax
.Lload_shut\@:
	test		%r11, %r11
	jnz		.Lload\@
	WINDOW		.Lload_open\@, .Lload_shut\@, WINDOW_REDO
	vpxor		0(SHARE), %xmm\lo, %xmm\lo
	vpxor		16(SHARE), %xmm\hi, %xmm\hi
.ifc \v,y
	vinserti128	$1, %xmm\lo, %ymm\lo, %ymm\lo
	vinserti128	$1, %xmm\hi, %ymm\hi, %ymm\hi
.endif
.endm

// Encrypts \blocks with AES-256 under k_0 = \a, k_1 = \b. Clobbers \a, \b, \s0, \s1, \u, \t.
//
// A round key is computed before the round that waits for the one before it: the CPU takes the oldest
// of what is ready, and the schedule must not wait.
.macro	ENCRYPT256_V	v, a, b, s0, s1, u, t, blocks:vararg
	OPEN_256	\v, \a, \b, \s0, \s1, \u, \t
	EACH_V		vpxor, \v, \a, \blocks
.irp j, 1,2,3,4,5,6
	EVEN_256	\v, \u, \s0, \a, \t, \j
	EACH_V		vaesenc, \v, \b, \blocks
	ODD_256		\v, \u, \s1, \b, \t, \j
	EACH_V		vaesenc, \v, \a, \blocks
.endr
	EVEN_256	\v, \u, \s0, \a, \t, 7
	EACH_V		vaesenc, \v, \b, \blocks
	EACH_V		vaesenclast, \v, \a, \blocks
.endm

// Goes to \wrong unless %xmm\x, the check value under the registers' M, is the one of KEY. Clobbers
// %xmm\x.
.macro	COMPARE_CHECK_V	x, wrong
	vpxor		KEY_CHECK(KEY), %xmm\x, %xmm\x
	vptest		%xmm\x, %xmm\x
	jnz		\wrong
.endm

// Goes to \one if the section starts at its data unit's first block: the power of x is 1, and there
// is nothing to multiply by. Clobbers %r10.
.macro	UNLESS_POWER	one
	mov		START_POWER(START), POWER_LO
	dec		POWER_LO
	or		START_POWER+8(START), POWER_LO
	jz		\one
.endm

// %xmm\x := %xmm\x times x in GF(2^128), IEEE 1619 section 5.2. Clobbers \t.
.macro	TIMES_X_V	x, t
	vpshufd		$0x13, %xmm\x, %xmm\t
	vpaddq		%xmm\x, %xmm\x, %xmm\x
	vpsrad		$31, %xmm\t, %xmm\t
	vpand		.Lgf128_poly(%rip), %xmm\t, %xmm\t
	vpxor		%xmm\t, %xmm\x, %xmm\x
.endm

// %xmm\x := %xmm\x times the power of x at START, as TIMES_POWER in aesni/xts.S. Clobbers \p, \t,
// %rax, %r10, %r11.
.macro	TIMES_POWER_V	x, p, t
	mov		START_POWER(START), POWER_LO
	mov		START_POWER+8(START), POWER_HI
	vpxor		%xmm\p, %xmm\p, %xmm\p
.Lbit\@:
	test		$1, POWER_LO
	jz		.Lzero_bit\@
	vpxor		%xmm\x, %xmm\p, %xmm\p
.Lzero_bit\@:
	shrd		$1, POWER_HI, POWER_LO
	shr		$1, POWER_HI
	mov		POWER_LO, %rax
	or		POWER_HI, %rax
	jz		.Lproduct\@
	TIMES_X_V	\x, \t
	jmp		.Lbit\@
.Lproduct\@:
	vmovdqa		%xmm\p, %xmm\x
.endm
