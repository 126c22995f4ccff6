// SPDX-License-Identifier: GPL-2.0-or-later
//
// The encryption of CBC and ESSIV (SP 800-38A section 6.2): block after block, each waiting for the one
// before it. Nothing hides a schedule here, so all round keys stay in registers.
//
// Registers, besides those of request.S
//	xmm0		secret: the block under way; between blocks the one before, which is output
//	xmm1		secret: scratch, and a block of text
//	xmm2-xmm15	secret: round keys, as EXPAND_<size> says

// xmm2-xmm12 := k_0..k_10 of AES-128, for k_0 in xmm9. Clobbers xmm1.
.macro	EXPAND_128
	movdqa		%xmm9, %xmm2
	NEXT128		2, 3, 1, 1
	NEXT128		3, 4, 1, 2
	NEXT128		4, 5, 1, 3
	NEXT128		5, 6, 1, 4
	NEXT128		6, 7, 1, 5
	NEXT128		7, 8, 1, 6
	NEXT128		8, 9, 1, 7
	NEXT128		9, 10, 1, 8
	NEXT128		10, 11, 1, 9
	NEXT128		11, 12, 1, 10
.endm

// xmm2-xmm14 := k_0..k_12 of AES-192, for A_0 in xmm9, B_0 in xmm10. Clobbers xmm1, xmm15.
.macro	THREE_KEYS_192	r, s, x, y, last
	movdqa		%xmm15, %xmm\x
	NEXT192_A	14, 15, 1, 13, \r
	LOW_HALVES	14, \x
	NEXT192_B	14, 15, 1
	movdqa		%xmm14, %xmm\y
	MIDDLE_HALVES	15, \y
.ifb \last
	NEXT192_A	14, 15, 1, 13, \s
	NEXT192_B	14, 15, 1
.else
// k_11 is where the scratch was: the last step wants less.
	pshufb		.Lrot_w1(%rip), %xmm15
	aesenclast	.Lrcon_\s(%rip), %xmm15
	RUNNING_SUM	14, 1
	pxor		%xmm15, %xmm14
.endif
.endm
.macro	EXPAND_192
	movdqa		%xmm9, %xmm14
	movdqa		%xmm10, %xmm15
	movdqa		%xmm14, %xmm2
	THREE_KEYS_192	1, 2, 3, 4
	movdqa		%xmm14, %xmm5
	THREE_KEYS_192	3, 4, 6, 7
	movdqa		%xmm14, %xmm8
	THREE_KEYS_192	5, 6, 9, 10
	movdqa		%xmm14, %xmm11
	THREE_KEYS_192	7, 8, 12, 13, last
.endm

// AES-256 has 15 round keys, one more than there is room for. xmm2 := P(k_0) + rcon_1, which gives
// both k_0, by P^-1, and k_2, by one AESENCLAST on k_1; xmm3 := k_1, xmm4-xmm15 := k_3..k_14. For k_0 in
// xmm9, k_1 in xmm10. Clobbers xmm1.
.macro	EXPAND_256
	movdqa		%xmm9, %xmm2
	RUNNING_SUM	2, 1
	pxor		.Lrcon_1(%rip), %xmm2
	movdqa		%xmm10, %xmm3
	movdqa		%xmm3, %xmm15		// k_2, for now
	pshufb		.Lrot_w3(%rip), %xmm15
	aesenclast	%xmm2, %xmm15
	movdqa		%xmm3, %xmm1
	NEXT256_ODD	1, 15, 4
	movdqa		%xmm15, %xmm1
	NEXT256_EVEN	1, 4, 5, 2
	movdqa		%xmm4, %xmm1
	NEXT256_ODD	1, 5, 6
	movdqa		%xmm5, %xmm1
	NEXT256_EVEN	1, 6, 7, 3
	movdqa		%xmm6, %xmm1
	NEXT256_ODD	1, 7, 8
	movdqa		%xmm7, %xmm1
	NEXT256_EVEN	1, 8, 9, 4
	movdqa		%xmm8, %xmm1
	NEXT256_ODD	1, 9, 10
	movdqa		%xmm9, %xmm1
	NEXT256_EVEN	1, 10, 11, 5
	movdqa		%xmm10, %xmm1
	NEXT256_ODD	1, 11, 12
	movdqa		%xmm11, %xmm1
	NEXT256_EVEN	1, 12, 13, 6
	movdqa		%xmm12, %xmm1
	NEXT256_ODD	1, 13, 14
	movdqa		%xmm13, %xmm1
	NEXT256_EVEN	1, 14, 15, 7
.endm

// Encrypts xmm0. Clobbers xmm1.
.macro	CIPHER_128
	pxor		%xmm2, %xmm0
.irp k, 3,4,5,6,7,8,9,10,11
	aesenc		%xmm\k, %xmm0
.endr
	aesenclast	%xmm12, %xmm0
.endm
.macro	CIPHER_192
	pxor		%xmm2, %xmm0
.irp k, 3,4,5,6,7,8,9,10,11,12,13
	aesenc		%xmm\k, %xmm0
.endr
	aesenclast	%xmm14, %xmm0
.endm
.macro	CIPHER_256
	movdqa		.Lrcon_1(%rip), %xmm1
	pxor		%xmm2, %xmm1		// P(k_0)
	pxor		%xmm1, %xmm0
	pshufd		$0x90, %xmm1, %xmm1
	pand		.Lnot_w0(%rip), %xmm1
	pxor		%xmm1, %xmm0
	movdqa		%xmm3, %xmm1
	pshufb		.Lrot_w3(%rip), %xmm1
	aesenc		%xmm3, %xmm0
	aesenclast	%xmm2, %xmm1		// k_2
	aesenc		%xmm1, %xmm0
.irp k, 4,5,6,7,8,9,10,11,12,13,14
	aesenc		%xmm\k, %xmm0
.endr
	aesenclast	%xmm15, %xmm0
.endm

// The data, under K where DERIVE puts it. LEN is a multiple of 16 and not 0. Falls through when done.
.macro	CBC_DATA_enc	mode, size
	FIRST_CHAIN	\mode, 0
	EXPAND_\size
.Lchain\@:
	movdqu		(SRC), %xmm1
	pxor		%xmm1, %xmm0
	CIPHER_\size
	movdqu		%xmm0, (DST)
	add		$16, SRC
	add		$16, DST
	sub		$16, LEN
	jnz		.Lchain\@
.endm

.macro	CBC_REQUEST	mode, size, dir
	REQUEST		\mode\size\()_\dir, \mode, \size, CBC_DATA_\dir \mode, \size
.endm

.irp size, 128,192,256
	REQUEST		ctr\size, ctr, \size, CTR_DATA \size
.irp dir, enc,dec
	REQUEST		ecb\size\()_\dir, ecb, \size, ECB_DATA \size, \dir
	CBC_REQUEST	cbc, \size, \dir
	CBC_REQUEST	essiv, \size, \dir
.endr
.endr
