// SPDX-License-Identifier: GPL-2.0-or-later
//
// ECB, counter mode, and the decryption of CBC and ESSIV (SP 800-38A sections 6.1, 6.2, 6.5), eight
// blocks at a time. The encryption of CBC and ESSIV, which is serial, is in chain.S.
//
// A mode is two things around the rounds of a group: OPEN_<mode> makes what goes in, CLOSE_<mode> and
// CLOSE_SOME_<mode> what comes out.
//
// In place or not: what of the source is needed again is loaded before it is stored over.
//
// Registers, besides those of request.S
//	%r10	counter mode: the counter's lower half, in the order of numbers
//	xmm0-xmm7	secret: blocks in flight; in counter mode the key stream
//	xmm8	CBC: the block before the group, public; before the first of ESSIV the encrypted IV, secret.
//		Counter mode: the next counter, least significant byte first, public
//	xmm9-xmm15	secret: K, round keys, the schedule in progress; M at the beginning; after GROUP_
//		xmm12 to xmm14 are free, for text and what comes of it

.pushsection .rodata.tresor_aesni, "a", @progbits
	.balign		16
.Lreverse:				// PSHUFB: bytes in reverse order
	.byte		15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0
.Lone:
	.quad		1, 0
.Lone_above:				// 2^64
	.quad		0, 1
.popsection

// Loads eight blocks or those that there are. Blocks that are not there are zero, and are not stored.
.macro	OPEN_ecb
	cmp		$128, LEN
	jb		.Lload_some\@
.irp i, 0,1,2,3,4,5,6,7
	movdqu		16*\i(SRC), %xmm\i
.endr
	jmp		.Lloaded\@
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
.Lloaded\@:
.endm
.macro	CLOSE_ecb
.irp i, 0,1,2,3,4,5,6,7
	movdqu		%xmm\i, 16*\i(DST)
.endr
.endm
.macro	CLOSE_SOME_ecb
	movdqu		%xmm0, (DST)
.irp i, 1,2,3,4,5,6
	cmp		$16*\i+16, LEN
	jb		.Lall\@
	movdqu		%xmm\i, 16*\i(DST)
.endr
.Lall\@:
.endm

.macro	OPEN_cbc
	OPEN_ecb
.endm
// Each block with the block of ciphertext before it, from the last to the first.
.macro	CLOSE_cbc
	movdqu		112(SRC), %xmm12
.irp i, 7,6,5,4,3,2,1
	movdqu		16*\i-16(SRC), %xmm13
	pxor		%xmm13, %xmm\i
	movdqu		%xmm\i, 16*\i(DST)
.endr
	pxor		%xmm8, %xmm0
	movdqu		%xmm0, (DST)
	movdqa		%xmm12, %xmm8
.endm
.macro	CLOSE_SOME_cbc
.irp i, 6,5,4,3,2,1
	cmp		$16*\i+16, LEN
	jb		.Lnone\@_\i
	movdqu		16*\i-16(SRC), %xmm13
	pxor		%xmm13, %xmm\i
	movdqu		%xmm\i, 16*\i(DST)
.Lnone\@_\i:
.endr
	pxor		%xmm8, %xmm0
	movdqu		%xmm0, (DST)
.endm

// xmm8, %r10 := the first counter. Clobbers %r11.
.macro	FIRST_COUNTER
	movdqu		START_IV(START), %xmm8
	pshufb		.Lreverse(%rip), %xmm8
	movq		%xmm8, %r10
.endm
// Eight counters, however many blocks there are. The carry into the upper half is a branch, as the
// counter is public.
.macro	OPEN_ctr
.irp i, 0,1,2,3,4,5,6,7
	movdqa		%xmm8, %xmm\i
	pshufb		.Lreverse(%rip), %xmm\i
	paddq		.Lone(%rip), %xmm8
	add		$1, %r10
	jae		.Lno_carry\@_\i
	paddq		.Lone_above(%rip), %xmm8
.Lno_carry\@_\i:
.endr
.endm
.macro	CLOSE_ctr
.irp i, 0,1,2,3,4,5,6,7
	movdqu		16*\i(SRC), %xmm13
	pxor		%xmm13, %xmm\i
	movdqu		%xmm\i, 16*\i(DST)
.endr
.endm

// \n bytes, 8, 4, 2 or 1, if there are, with the first \n bytes of the key stream in xmm0, which moves
// on. What is behind them in xmm13 is the key stream itself, and stays there.
.macro	PART_ctr	n, load, store
	cmp		$\n, LEN
	jb		.Lfewer\@
	pxor		%xmm13, %xmm13
.if \n > 2
	\load		(SRC), %xmm13
	pxor		%xmm0, %xmm13
	\store		%xmm13, (DST)
.else
	\load		$0, (SRC), %xmm13
	pxor		%xmm0, %xmm13
	\store		$0, %xmm13, (DST)
.endif
	psrldq		$\n, %xmm0
	add		$\n, SRC
	add		$\n, DST
	sub		$\n, LEN
.Lfewer\@:
.endm
.macro	CLOSE_SOME_ctr
.irp i, 1,2,3,4,5,6,7,8
	cmp		$16, LEN
	jb		.Lpart\@
.if \i < 8
	movdqu		(SRC), %xmm13
	pxor		%xmm13, %xmm0
	movdqu		%xmm0, (DST)
	movdqa		%xmm\i, %xmm0
	add		$16, SRC
	add		$16, DST
	sub		$16, LEN
.endif
.endr
.Lpart\@:
	PART_ctr	8, movq, movq
	PART_ctr	4, movd, movd
	PART_ctr	2, pinsrw, pextrw
	PART_ctr	1, pinsrb, pextrb
.endm

// The data, under K where DERIVE puts it and with xmm8 as the mode wants it. LEN is not 0. Falls through
// when done.
.macro	GROUPS		mode, size, dir
	KEEP_\size\()_\dir
.Lgroup\@:
	OPEN_\mode
	BEGIN_\size\()_\dir
.irp i, 0,1,2,3,4,5,6,7
	pxor		%xmm9, %xmm\i
	FIRST_ROUNDS_\size\()_\dir \i
.endr
	GROUP_\size\()_\dir
.irp i, 0,1,2,3,4,5,6,7
	LAST_ROUND_\dir 15, \i
.endr
	cmp		$128, LEN
	jb		.Lsome\@
	CLOSE_\mode
	add		$128, SRC
	add		$128, DST
	sub		$128, LEN
	jnz		.Lgroup\@
	jmp		.Lgroups_done\@
.Lsome\@:
	CLOSE_SOME_\mode
.Lgroups_done\@:
.endm

// \x := what the first block is chained to: of ESSIV the IV, encrypted under the key in xmm1 and xmm2 if
// it has not been. Clobbers xmm1-xmm3, %r10.
.macro	FIRST_CHAIN	mode, x
	movdqu		START_IV(START), %xmm\x
.ifc \mode,essiv
	mov		START_FIRST(START), %r10
	test		%r10, %r10
	jz		.Lchained\@
	ENCRYPT256	1, 2, 3, \x
.Lchained\@:
.endif
.endm

.macro	ECB_DATA	size, dir
	GROUPS		ecb, \size, \dir
.endm
.macro	CTR_DATA	size
	FIRST_COUNTER
	GROUPS		ctr, \size, enc
.endm
.macro	CBC_DATA_dec	mode, size
	FIRST_CHAIN	\mode, 8
	GROUPS		cbc, \size, dec
.endm
