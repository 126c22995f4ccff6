// SPDX-License-Identifier: GPL-2.0-or-later
//
// The AES key schedule (FIPS 197 section 5.2) for the variants with AVX: one AESENCLAST per round key
// on the way from one to the next, and nothing else.
//
// Notation is that of aesni/schedule.S: k_i has the words w0..w3, all(f) is (f,f,f,f), + is xor, S is
// SubWord, R is RotWord. What is said here holds for AES-256 with the even and the odd round keys as
// a chain each, and for AES-128 with all round keys as one chain. j counts along a chain; k_j, k_{j-1}
// are neighbours in it.
//
// Last words are enough. Let u_j be w3 of k_j. The schedule adds the word before to each word, so
// w2(k_j) = u_j + u_{j-1}, and going on,
//	k_j = (u_j + u_{j-1} + u_{j-2} + u_{j-3}, u_j + u_{j-2}, u_j + u_{j-1}, u_j)
//	u_j = u_{j-4} + S(R(u before)) + rcon_j		(AES-256, odd round keys: without R and rcon)
// where "before" is in the other chain for AES-256. For j < 4 the words of k_0 stand for those that
// there are none of: a = w0 + w1 + w2 + w3, b = w1 + w3, c = w2 + w3, d = w3 for u_{-3}..u_0.
//
// A chain's state is one register with its last four u, u_j in word (j-1) mod 4. The way from a u to
// the next one is AESENCLAST on all(u), where ShiftRows changes nothing, with all(u_{j-4} + rcon_j) as
// the operand, which has been ready for long. All of k_j but u_j, which is in each of its words, is put
// together beside that way, so that k_j is there a shuffle and an addition after u_j.
//
// Frames. R is a rotation by one byte, and S takes bytes one by one: so instead of rotating u, the
// frame in which all words are written rotates. u_j is kept as R^-j(u_j), round constants likewise,
// and the shuffles that build k_j from the state turn words back. As 4 turns are none, the word of
// the state that u_j is in says how it is turned.
//
// The macros work on 128-bit lanes: \v is x for one key, y for two keys side by side, K1 in the lower
// and K2 in the upper lane, or the same one twice. Register arguments are numbers. Each register that
// is named holds secrets. Constants are repeated for both lanes.

.macro	BOTH_LANES	bytes:vararg
	.byte		\bytes, \bytes
.endm

.pushsection .rodata.tresor_avx, "a", @progbits
	.balign		64
.Lwords:		// PSHUFB, for j mod 4: u_{j-3}, u_{j-2}, u_{j-1}, 0, turned back
	BOTH_LANES	 1, 2, 3, 0,  6, 7, 4, 5,  11, 8, 9,10,  -1,-1,-1,-1
	BOTH_LANES	 6, 7, 4, 5,  11, 8, 9,10,  12,13,14,15, -1,-1,-1,-1
	BOTH_LANES	11, 8, 9,10,  12,13,14,15,  1, 2, 3, 0,  -1,-1,-1,-1
	BOTH_LANES	12,13,14,15,  1, 2, 3, 0,   6, 7, 4, 5,  -1,-1,-1,-1
.Lword_before:		// PSHUFB, for j mod 4: u_{j-1}, 0, 0, 0, turned back
	BOTH_LANES	11, 8, 9,10,  -1,-1,-1,-1, -1,-1,-1,-1,  -1,-1,-1,-1
	BOTH_LANES	12,13,14,15,  -1,-1,-1,-1, -1,-1,-1,-1,  -1,-1,-1,-1
	BOTH_LANES	 1, 2, 3, 0,  -1,-1,-1,-1, -1,-1,-1,-1,  -1,-1,-1,-1
	BOTH_LANES	 6, 7, 4, 5,  -1,-1,-1,-1, -1,-1,-1,-1,  -1,-1,-1,-1
.Lturn_back:		// PSHUFB, for j mod 4: all(u_j), turned back
	BOTH_LANES	 0, 1, 2, 3,  4, 5, 6, 7,   8, 9,10,11,  12,13,14,15
	BOTH_LANES	 1, 2, 3, 0,  5, 6, 7, 4,   9,10,11, 8,  13,14,15,12
	BOTH_LANES	 2, 3, 0, 1,  6, 7, 4, 5,  10,11, 8, 9,  14,15,12,13
	BOTH_LANES	 3, 0, 1, 2,  7, 4, 5, 6,  11, 8, 9,10,  15,12,13,14
.Lhigh_to_low:		// PSHUFB: w2, w3, 0, 0
	BOTH_LANES	 8, 9,10,11,  12,13,14,15, -1,-1,-1,-1,  -1,-1,-1,-1
.Lto_frames:		// PSHUFB: a, b, c, d into the frames of their places
	BOTH_LANES	 3, 0, 1, 2,  6, 7, 4, 5,   9,10,11, 8,  12,13,14,15
.Lall_a:		// PSHUFB: all(a) in the frame of its place
	BOTH_LANES	 3, 0, 1, 2,  3, 0, 1, 2,   3, 0, 1, 2,   3, 0, 1, 2
.Lturned_rcon:		// all(rcon_j) for j = 1.., FIPS 197 table 5, in the frame of u_j
	.fill		8, 4, 0x01 << 8
	.fill		8, 4, 0x02 << 16
	.fill		8, 4, 0x04 << 24
	.fill		8, 4, 0x08
	.fill		8, 4, 0x10 << 8
	.fill		8, 4, 0x20 << 16
	.fill		8, 4, 0x40 << 24
	.fill		8, 4, 0x80
	.fill		8, 4, 0x1b << 8
	.fill		8, 4, 0x36 << 16
.popsection

// Whether AVX-512 adds three operands at once, with register 16 for scratch.
	.set		THREE_OPERANDS, 0

// \op with register \key on each of \blocks.
.macro	EACH_V		op, v, key, blocks:vararg
.irp b, \blocks
	\op		%\v\()mm\key, %\v\()mm\b, %\v\()mm\b
.endr
.endm

// \s := a, b, c, d of the round key \k that a chain begins with. Clobbers \t. \k and \s may be one.
.macro	OPEN_CHAIN	v, k, s, t
	vpsrlq		$32, %\v\()mm\k, %\v\()mm\t
	vpxor		%\v\()mm\t, %\v\()mm\k, %\v\()mm\s
	vpshufb		.Lhigh_to_low(%rip), %\v\()mm\s, %\v\()mm\t
	vpxor		%\v\()mm\t, %\v\()mm\s, %\v\()mm\s
.endm

.macro	FRAME_CHAIN	v, s
	vpshufb		.Lto_frames(%rip), %\v\()mm\s, %\v\()mm\s
.endm

// The first step of a schedule: \u := all(u_1), for \s as OPEN_CHAIN leaves it and \u = all(w3) of
// the round key before. a is added behind the S, as it comes late. Clobbers \t.
.macro	FIRST_U		v, u, s, t
	vaesenclast	.Lturned_rcon(%rip), %\v\()mm\u, %\v\()mm\u
	vpshufb		.Lall_a(%rip), %\v\()mm\s, %\v\()mm\t
	vpxor		%\v\()mm\t, %\v\()mm\u, %\v\()mm\u
.endm

// \c := the operand that makes u_j, for the state \s.
.macro	OPERAND		v, s, c, j, rcon
	vpshufd		$0x55 * (((\j) - 1) & 3), %\v\()mm\s, %\v\()mm\c
.ifnb \rcon
	vpxor		.Lturned_rcon + 32 * ((\j) - 1)(%rip), %\v\()mm\c, %\v\()mm\c
.endif
.endm

// \s := the state with \u = all(u_j) in it.
.macro	INTO_STATE	v, u, s, j
.ifc \v,x
	vpblendw	$3 << (2 * (((\j) - 1) & 3)), %xmm\u, %xmm\s, %xmm\s
.else
	vpblendd	$0x11 << (((\j) - 1) & 3), %ymm\u, %ymm\s, %ymm\s
.endif
.endm

// \k := k_j without u_j, for the state \s before u_j is in it. Clobbers \t.
.macro	REST_OF_KEY	v, s, k, t, j
	vpshufb		.Lwords + 32 * ((\j) & 3)(%rip), %\v\()mm\s, %\v\()mm\k
	vpshufb		.Lword_before + 32 * ((\j) & 3)(%rip), %\v\()mm\s, %\v\()mm\t
.if THREE_OPERANDS
	vpxord		%\v\()mm\t, %\v\()mm\k, %\v\()mm\k
.else
	vpxor		%\v\()mm\t, %\v\()mm\k, %\v\()mm\k
.endif
	vpsrlq		$32, %\v\()mm\k, %\v\()mm\t
.if !THREE_OPERANDS
	vpxor		%\v\()mm\t, %\v\()mm\k, %\v\()mm\k
.endif
.endm

// \k := k_j, from \k as REST_OF_KEY leaves it and \u = all(u_j). Clobbers \t.
.macro	ADD_LAST_WORD	v, u, k, t, j
.if THREE_OPERANDS
.if (\j) & 3
	vpshufb		.Lturn_back + 32 * ((\j) & 3)(%rip), %\v\()mm\u, %\v\()mm16
	vpternlogd	$0x96, %\v\()mm16, %\v\()mm\t, %\v\()mm\k
.else
	vpternlogd	$0x96, %\v\()mm\u, %\v\()mm\t, %\v\()mm\k
.endif
.elseif (\j) & 3
	vpshufb		.Lturn_back + 32 * ((\j) & 3)(%rip), %\v\()mm\u, %\v\()mm\t
	vpxor		%\v\()mm\t, %\v\()mm\k, %\v\()mm\k
.else
	vpxor		%\v\()mm\u, %\v\()mm\k, %\v\()mm\k
.endif
.endm

// AES-256: begins the schedule of k_0 = \k0, k_1 = \k1, which survive: \s0, \s1 the chains' states
// before k_2, \u the last word of k_1. Clobbers \t.
.macro	OPEN_256	v, k0, k1, s0, s1, u, t
	vpshufd		$0xff, %\v\()mm\k1, %\v\()mm\u
	OPEN_CHAIN	\v, \k0, \s0, \t
	FIRST_U		\v, \u, \s0, \t
	OPEN_CHAIN	\v, \k1, \s1, \t
	FRAME_CHAIN	\v, \s0
	FRAME_CHAIN	\v, \s1
.endm

// AES-256: \k := k_{2j}. \s is the even chain's state.
.macro	EVEN_256	v, u, s, k, t, j
.if \j > 1
	OPERAND		\v, \s, \t, \j, rcon
	vaesenclast	%\v\()mm\t, %\v\()mm\u, %\v\()mm\u
.endif
	REST_OF_KEY	\v, \s, \k, \t, \j
	INTO_STATE	\v, \u, \s, \j
	ADD_LAST_WORD	\v, \u, \k, \t, \j
.endm

// AES-256: \k := k_{2j+1}. \s is the odd chain's state.
.macro	ODD_256		v, u, s, k, t, j
	OPERAND		\v, \s, \t, \j
	vaesenclast	%\v\()mm\t, %\v\()mm\u, %\v\()mm\u
	REST_OF_KEY	\v, \s, \k, \t, \j
	INTO_STATE	\v, \u, \s, \j
	ADD_LAST_WORD	\v, \u, \k, \t, \j
.endm

// AES-128: begins the schedule of k_0 = \k0, which survives: \s its state before k_1, \u := all(u_1),
// \c the operand of u_2. Clobbers \t.
.macro	OPEN_128	v, k0, s, u, c, t
	vpshufd		$0xff, %\v\()mm\k0, %\v\()mm\u
	OPEN_CHAIN	\v, \k0, \s, \t
	FIRST_U		\v, \u, \s, \t
	FRAME_CHAIN	\v, \s
	OPERAND		\v, \s, \c, 2, rcon
.endm

// AES-128: \k := k_j. The operand of u_{j+1} is taken before u_j is in the state: it would be late.
.macro	NEXT_128	v, u, s, c, k, t, j
.if \j > 1
	vaesenclast	%\v\()mm\c, %\v\()mm\u, %\v\()mm\u
.if \j < 10
	OPERAND		\v, \s, \c, \j + 1, rcon
.endif
.endif
	REST_OF_KEY	\v, \s, \k, \t, \j
	INTO_STATE	\v, \u, \s, \j
	ADD_LAST_WORD	\v, \u, \k, \t, \j
.endm

// AES-192, which has no pair of keys to expand side by side, and is simpler than the above: eight steps
// make six words each, w0..w3 in one register and w4, w5 in another, by
//	(w0..w5)_j = P((w0..w5)_{j-1}) + all(S(R(w5_{j-1})) + rcon_j)
// with P, the running sum, now of six words. Last words would be enough here, too (u_j is the sum of
// u_{j-2}, u_{j-4}, u_{j-6} and the S), but three round keys straddle two steps, and with 8 steps in
// place of 13 what the chain could gain is about the time of two rounds.
//
// xmm\na, xmm\nb := the words of step \j from those in xmm\a, xmm\b, of which \b survives. Clobbers
// \a, \t.
.macro	NEXT_192	a, b, na, nb, t, j
	vpshufb		.Lrot_w1(%rip), %xmm\b, %xmm\t
	vaesenclast	.Lrcon_\j(%rip), %xmm\t, %xmm\t
	vpslldq		$4, %xmm\a, %xmm\na
	vpxor		%xmm\na, %xmm\a, %xmm\a
	vpslldq		$8, %xmm\a, %xmm\na
	vpxor		%xmm\na, %xmm\a, %xmm\na
	vpxor		%xmm\t, %xmm\na, %xmm\na
	vpsllq		$32, %xmm\b, %xmm\nb
	vpxor		%xmm\b, %xmm\nb, %xmm\nb
	vpshufd		$0xff, %xmm\na, %xmm\t
	vpxor		%xmm\t, %xmm\nb, %xmm\nb
.endm

// %xmm\k := the round key between those that two steps begin with: w4, w5 of the first (\b), w0, w1 of
// the second (\a).
.macro	FIRST_BETWEEN_192 b, a, k
	vshufps		$0x44, %xmm\a, %xmm\b, %xmm\k
.endm
// %xmm\k := the next one: w2..w5 of the second, \a and \b.
.macro	SECOND_BETWEEN_192 a, b, k
	vshufps		$0x4e, %xmm\b, %xmm\a, %xmm\k
.endm
