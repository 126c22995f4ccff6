// SPDX-License-Identifier: GPL-2.0-or-later
//
// XTS-AES (IEEE 1619-2018) under keys that exist for one call, in vector registers.
//
// Covered: XTS-AES-128 and XTS-AES-256, both directions, lengths from 16 bytes, ciphertext stealing, any
// alignment, in place or not. Not covered: overlapping buffers. The kernel's own aes-xts-avx code, which
// this is measured against, wants AVX.
//
// The IV is encrypted under K2 and multiplied by the power of x that the section starts at, then the
// data goes through under K1, eight blocks at a time. The schedule of K1 runs once a group (groups.S):
// 16 registers hold eight blocks or the round keys, not both. Likewise the eight tweaks of a group do not
// fit beside the eight blocks, and must not go to memory. They are computed twice, before the first round
// and after the last.
//
// Speed: what limits a group is the number of vector instructions, AES rounds among them; the latency
// of the schedule hides behind the rounds. So what can be done by a cheap instruction is, and a group
// is handed over to the next one block by block, rounds mixed with tweaks.
//
// Registers, besides those of request.S
//	%rsi	length of the tail: 0, or, if the text is no multiple of 16 bytes, 16 and the bytes of
//		its last block, which are kept from the groups
//	xmm0-xmm7	secret: blocks in flight; before that the check value and K2
//	xmm8		secret: tweak of the next block to be stored
//	xmm9-xmm11	secret: K1, then round keys kept from group to group (in xmm11, decryption with
//			AES-256 has no room to keep one)
//	xmm12		secret: tweak of the next block to be loaded
//	xmm13-xmm15	secret: schedule in progress; M at the beginning

.set	TAIL,		%rsi	// KEY, which is not needed any more
.set	POWER_LO,	%r10
.set	POWER_HI,	%r11

.pushsection .rodata.tresor_aesni, "a", @progbits
	.balign		16
.Lgf128_poly:			// x^128 = x^7 + x^2 + x + 1; and the carry between the halves
	.quad		0x87, 1
.Lfrom_0:			// i, in byte i
	.byte		0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
.Lfrom_minus_16:		// i - 16
	.byte		-16, -15, -14, -13, -12, -11, -10, -9, -8, -7, -6, -5, -4, -3, -2, -1
.L16_each:
	.quad		0x1010101010101010, 0x1010101010101010
.popsection

// \x := \x times x in GF(2^128), IEEE 1619 section 5.2. Clobbers \t.
.macro	TIMES_X		x, t
	pshufd		$0x13, %xmm\x, %xmm\t
	paddq		%xmm\x, %xmm\x
	psrad		$31, %xmm\t
	pand		.Lgf128_poly(%rip), %xmm\t
	pxor		%xmm\t, %xmm\x
.endm

// xmm8 := xmm8 times the power of x at START: shift and add, over the bits of the power, which is
// public. Clobbers xmm3, xmm4, %rax, %r10, %r11.
.macro	TIMES_POWER
	mov		START_POWER(START), POWER_LO
	mov		START_POWER+8(START), POWER_HI
	pxor		%xmm3, %xmm3
.Lbit\@:
	test		$1, POWER_LO
	jz		.Lzero_bit\@
	pxor		%xmm8, %xmm3
.Lzero_bit\@:
	shrd		$1, POWER_HI, POWER_LO
	shr		$1, POWER_HI
	mov		POWER_LO, %rax
	or		POWER_HI, %rax
	jz		.Lproduct\@
	TIMES_X		8, 4
	jmp		.Lbit\@
.Lproduct\@:
	movdqa		%xmm3, %xmm8
.endm

// One step of the change from group to group, for up to four blocks at different points of it: the
// last round of block \last; \turn is masked, stored, and its successor loaded; \open is masked with
// the first round key and its tweak; \first goes through its first rounds.
.macro	HAND_OVER	size, dir, last, turn, open, first
.ifnb \last
	LAST_ROUND_\dir 15, \last
.endif
.ifnb \turn
	pxor		%xmm8, %xmm\turn
	TIMES_X		8, 13
	movdqu		%xmm\turn, 16*\turn(DST)
	movdqu		128+16*\turn(SRC), %xmm\turn
.endif
.ifnb \open
	pxor		%xmm9, %xmm\open
	pxor		%xmm12, %xmm\open
	TIMES_X		12, 13
.endif
.ifnb \first
	FIRST_ROUNDS_\size\()_\dir \first
.endif
.endm

// The data, under K1 and K2 where DERIVE puts them. \size is 128 or 256, \dir enc or dec; LEN is at
// least 16. Falls through when done.
//
// xmm8 runs over the tweaks that blocks are masked with after the last round, xmm12 over those of
// the blocks that are loaded: eight blocks ahead. While whole groups follow each other, a block's
// register takes its successor right after the store, so that the two chains of tweaks and the ends
// and beginnings of groups all run side by side.
.macro	XTS_DATA	size, dir
	movdqu		START_IV(START), %xmm8
	PREPARE_\size\()_\dir
	TIMES_POWER
// Of a text that is no multiple of 16 bytes the tail goes another way.
	mov		LEN, TAIL
	and		$15, TAIL
	jz		.Lstart\@
	add		$16, TAIL
	sub		TAIL, LEN
	jz		.Ldata_done\@
.Lstart\@:
	cmp		$128, LEN
	jb		.Lload_some\@
.irp i, 0,1,2,3,4,5,6,7
	movdqu		16*\i(SRC), %xmm\i
.endr
.Lloaded\@:
	movdqa		%xmm8, %xmm12
	BEGIN_\size\()_\dir
.irp i, 0,1,2,3,4,5,6,7
	pxor		%xmm12, %xmm\i
	pxor		%xmm9, %xmm\i
	FIRST_ROUNDS_\size\()_\dir \i
	TIMES_X		12, 13
.endr
	jmp		.Lgroup\@

	.balign		32, 0x90
.Lnext_group\@:
	BEGIN_\size\()_\dir
	HAND_OVER	\size, \dir, 0
	HAND_OVER	\size, \dir, 1, 0
	HAND_OVER	\size, \dir, 2, 1, 0
	HAND_OVER	\size, \dir, 3, 2, 1, 0
	HAND_OVER	\size, \dir, 4, 3, 2, 1
	HAND_OVER	\size, \dir, 5, 4, 3, 2
	HAND_OVER	\size, \dir, 6, 5, 4, 3
	HAND_OVER	\size, \dir, 7, 6, 5, 4
	HAND_OVER	\size, \dir, , 7, 6, 5
	HAND_OVER	\size, \dir, , , 7, 6
	HAND_OVER	\size, \dir, , , , 7
	add		$128, SRC
	add		$128, DST
	sub		$128, LEN
.Lgroup\@:
	GROUP_\size\()_\dir
	cmp		$256, LEN
	jae		.Lnext_group\@

// Of this group and what follows at least one is short. The next group, if any, starts anew.
.irp i, 0,1,2,3,4,5,6,7
	LAST_ROUND_\dir 15, \i
.endr
	cmp		$128, LEN
	jb		.Lstore_some\@
.irp i, 0,1,2,3,4,5,6,7
	pxor		%xmm8, %xmm\i
	TIMES_X		8, 13
	movdqu		%xmm\i, 16*\i(DST)
.endr
	add		$128, SRC
	add		$128, DST
	sub		$128, LEN
	jnz		.Lstart\@
	jmp		.Ldata_done\@

// Blocks that are not there are zero, and are not stored.
.Lload_some\@:
.irp i, 1,2,3,4,5,6,7
	pxor		%xmm\i, %xmm\i
.endr
	movdqu		(SRC), %xmm0
.irp i, 1,2,3,4,5,6
	cmp		$16*\i+16, LEN
	jb		.Lloaded\@
	movdqu		16*\i(SRC), %xmm\i
.endr
	jmp		.Lloaded\@

// Leaves in xmm8 the tweak of the block behind the last one.
.Lstore_some\@:
.irp i, 0,1,2,3,4,5,6
.if \i
	cmp		$16*\i+16, LEN
	jb		.Ldata_done\@
.endif
	pxor		%xmm8, %xmm\i
	TIMES_X		8, 13
	movdqu		%xmm\i, 16*\i(DST)
.endr
.Ldata_done\@:
	test		TAIL, TAIL
	jz		.Lall_done\@
	STEAL		\size, \dir
.Lall_done\@:
.endm

// One block, xmm0, alone, from tweak to tweak. Clobbers xmm11, xmm13-xmm15.
.macro	LONE_BLOCK	size, dir, tweak
	BEGIN_\size\()_\dir
	pxor		%xmm\tweak, %xmm0
	pxor		%xmm9, %xmm0
	FIRST_ROUNDS_\size\()_\dir 0
.set	LONE, 1
	GROUP_\size\()_\dir
.set	LONE, 0
	LAST_ROUND_\dir 15, 0
	pxor		%xmm\tweak, %xmm0
.endm

// Ciphertext stealing (IEEE 1619-2018 sections 5.3.2 and 5.4.2): the last whole block and the b bytes
// behind it, for TAIL = 16 + b, LEN bytes from SRC and DST; xmm8 is the whole block's tweak.
//
// The first b bytes of what the whole block becomes are output, and go to the end. The others, which
// are stolen, never leave the registers: behind the text's last b bytes they make the block that is
// worked on next, and is output in the whole one's place. Decryption uses the tweaks in turn.
//
// The last 16 bytes of the text overlap the whole block: all text is loaded before any store. Their store
// writes zeros in front of the b bytes, in the place of the block that is stored after it.
.macro	STEAL		size, dir
	add		LEN, SRC
	add		LEN, DST
	movdqu		(SRC), %xmm0
	movdqu		-16(SRC, TAIL), %xmm1
	movdqa		%xmm8, %xmm12
.ifc \dir,enc
	TIMES_X		12, 13
.else
	TIMES_X		8, 13
.endif
	LONE_BLOCK	\size, \dir, 8
// From here b alone.
	sub		$16, TAIL
	movq		TAIL, %xmm3
	pxor		%xmm2, %xmm2
	pshufb		%xmm2, %xmm3
	movdqa		.Lfrom_0(%rip), %xmm2
	psubb		%xmm3, %xmm2		// i - b
	paddb		.Lfrom_minus_16(%rip), %xmm3	// i + b - 16
	movdqa		%xmm0, %xmm4
	pshufb		%xmm3, %xmm4		// its first b bytes to the end, else zero
	movdqa		.L16_each(%rip), %xmm5
	paddb		%xmm2, %xmm5		// i - b + 16
	pshufb		%xmm5, %xmm1		// the text's last b bytes to the front
	movdqa		%xmm0, %xmm3
	movdqa		%xmm2, %xmm0
	pblendvb	%xmm0, %xmm1, %xmm3	// those where i < b
	movdqu		%xmm4, (DST, TAIL)
	movdqa		%xmm3, %xmm0
	LONE_BLOCK	\size, \dir, 12
	movdqu		%xmm0, (DST)
.endm

.irp size, 128,256
.irp dir, enc,dec
	REQUEST		xts\size\()_\dir, xts, \size, XTS_DATA \size, \dir
.endr
.endr
