// SPDX-License-Identifier: GPL-2.0-or-later
//
// AES-192: its key schedule, and the rounds of a group beside it (groups.S). schedule.S has the notation.
//
// FIPS 197 section 5.2 makes six words at a time, of which four are a round key: the words are kept as
// A = (w0, w1, w2, w3) and B = (w4, w5, -, -), whose upper half is something secret that nobody looks at.
//   A_j = P(A_{j-1}) + all(S(R(w5)) + rcon_j)
//   B_j = P(B_{j-1}) + all(A_j.w3)
// and with lo and hi for the halves of a register
//   k_{3i} = A_{2i}, k_{3i+1} = (B_{2i}.lo, A_{2i+1}.lo), k_{3i+2} = (A_{2i+1}.hi, B_{2i+1}.lo)
// up to k_12 = A_8.

.pushsection .rodata.tresor_aesni, "a", @progbits
	.balign		16
.Lrot_w1:				// PSHUFB: all(RotWord(w1))
	.long		0x04070605, 0x04070605, 0x04070605, 0x04070605
.Lrot_w1_to_w0:			// PSHUFB: RotWord(w1), where ShiftRows moves it to w0; else zero
	.byte		5, -1, -1, -1, -1, 6, -1, -1, -1, -1, 7, -1, -1, -1, -1, 4
.popsection

// \a := A_j, for \a = A_{j-1} and \b = B_{j-1}, which survives. Clobbers \t, \u.
.macro	NEXT192_A	a, b, t, u, rcon
	movdqa		%xmm\b, %xmm\t
	pshufb		.Lrot_w1(%rip), %xmm\t
	aesenclast	.Lrcon_\rcon(%rip), %xmm\t
	RUNNING_SUM	\a, \u
	pxor		%xmm\t, %xmm\a
.endm

// \b := B_j, for \a = A_j and \b = B_{j-1}. Clobbers \t.
.macro	NEXT192_B	a, b, t
	movdqa		%xmm\b, %xmm\t
	psllq		$32, %xmm\t
	pxor		%xmm\t, %xmm\b
	pshufd		$0xff, %xmm\a, %xmm\t
	pxor		%xmm\t, %xmm\b
.endm

// The other way: \b := B_{j-1}, for \a = A_j and \b = B_j. Clobbers \t.
.macro	PREVIOUS192_B	a, b, t
	pshufd		$0xff, %xmm\a, %xmm\t
	pxor		%xmm\t, %xmm\b
	movdqa		%xmm\b, %xmm\t
	psllq		$32, %xmm\t
	pxor		%xmm\t, %xmm\b
.endm

// \a := A_{j-1}, for \a = A_j and \b = B_{j-1}, which survives. Clobbers \t, \u.
.macro	PREVIOUS192_A	a, b, t, u, rcon
	movdqa		%xmm\b, %xmm\t
	pshufb		.Lrot_w1_to_w0(%rip), %xmm\t
	aesenclast	.Lalone_\rcon(%rip), %xmm\t
	ONE_WORD_UP	\a, \u
	pxor		%xmm\u, %xmm\a
	pxor		%xmm\t, %xmm\a
.endm

// \b := (\b.lo, \a.lo): k_{3i+1}.
.macro	LOW_HALVES	a, b
	shufps		$0x44, %xmm\a, %xmm\b
.endm
// \a := (\a.hi, \b.lo): k_{3i+2}.
.macro	MIDDLE_HALVES	b, a
	shufps		$0x4e, %xmm\b, %xmm\a
.endm

// Keeps A_0 in xmm9 and B_0 in xmm10, where they are.
.macro	KEEP_192_enc
.endm
.macro	BEGIN_192_enc
.endm
.macro	FIRST_ROUNDS_192_enc x
.endm

// Two steps, with the rounds of k_{3i+1}, k_{3i+2} and, unless it is the last, k_{3i+3}, for A_{2i} in
// xmm11 and B_{2i} in xmm12. \r and \s are the round constants'.
.macro	THREE_ROUNDS_192 r, s, last
	movdqa		%xmm12, %xmm15
	NEXT192_A	11, 12, 13, 14, \r
	LOW_HALVES	11, 15
	ROUND		aesenc, 15
	NEXT192_B	11, 12, 13
	movdqa		%xmm11, %xmm15
	MIDDLE_HALVES	12, 15
	ROUND		aesenc, 15
	NEXT192_A	11, 12, 13, 14, \s
.ifb \last
	ROUND		aesenc, 11
	NEXT192_B	11, 12, 13
.endif
.endm

.macro	GROUP_192_enc
	movdqa		%xmm9, %xmm11
	movdqa		%xmm10, %xmm12
	THREE_ROUNDS_192 1, 2
	THREE_ROUNDS_192 3, 4
	THREE_ROUNDS_192 5, 6
	THREE_ROUNDS_192 7, 8, last
	movdqa		%xmm11, %xmm15
.endm

// Keeps k_12 = A_8 in xmm9, A_7 in xmm10, B_7 in xmm11.
.macro	KEEP_192_dec
.irp j, 1,2,3,4,5,6,7
	NEXT192_A	9, 10, 13, 14, \j
	NEXT192_B	9, 10, 13
.endr
	movdqa		%xmm10, %xmm11
	movdqa		%xmm9, %xmm10
	NEXT192_A	9, 11, 13, 14, 8
.endm
.macro	BEGIN_192_dec
.endm
.macro	FIRST_ROUNDS_192_dec x
.endm

// Two steps backwards, with the rounds of k_{3i+2}, k_{3i+1} and, unless it is the last, k_{3i}, for
// A_{2i+1} in xmm12 and B_{2i+1} in xmm14. Leaves k_{3i} in xmm12 and, unless it is the last, A_{2i-1} and
// B_{2i-1} as above.
.macro	THREE_BACK_192	r, s
	movdqa		%xmm12, %xmm15
	MIDDLE_HALVES	14, 15
	MIDDLE_ROUND	15, 13
	PREVIOUS192_B	12, 14, 13
	movdqa		%xmm14, %xmm15
	LOW_HALVES	12, 15
	MIDDLE_ROUND	15, 13
	PREVIOUS192_A	12, 14, 13, 15, \r
.ifnb \s
	MIDDLE_ROUND	12, 13
	PREVIOUS192_B	12, 14, 13
	PREVIOUS192_A	12, 14, 13, 15, \s
.endif
.endm

.macro	GROUP_192_dec
	movdqa		%xmm10, %xmm12
	movdqa		%xmm11, %xmm14
	THREE_BACK_192	7, 6
	THREE_BACK_192	5, 4
	THREE_BACK_192	3, 2
	THREE_BACK_192	1
	movdqa		%xmm12, %xmm15
.endm
