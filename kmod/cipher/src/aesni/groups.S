// SPDX-License-Identifier: GPL-2.0-or-later
//
// A group: eight blocks in xmm0-xmm7 on their way through AES, with the schedule of K1 beside them.
//
// For each <size> (128, 256; 192 in schedule192.S) and <dir> (enc, dec):
//	PREPARE_<size>_<dir>	once a call of XTS. xmm8 := xmm8 encrypted under K2; computes from K1 the round
//				keys that are kept. K1 and K2 are where DERIVE_<size> puts them. Clobbers
//				xmm1-xmm3, xmm13-xmm15.
//	KEEP_<size>_<dir>	the same without xmm8 and K2, in modes other than XTS. Clobbers xmm11,
//				xmm13, xmm14.
//	BEGIN_<size>_<dir>	prepares what the next two need. Clobbers xmm13.
//	FIRST_ROUNDS_<size>_<dir> x
//				the rounds after the first round key, as far as kept keys go, on one
//				block. Clobbers nothing.
//	GROUP_<size>_<dir>	the rounds up to the one before the last, on all blocks. Leaves the last
//				round key in xmm15.
//	LAST_ROUND_<dir> key, x	the last round of one block.
// All preserve xmm8, xmm9 (the first round key that blocks meet) and the kept keys, and those that XTS
// uses xmm12, which from BEGIN_ to GROUP_ is 192's. From
// BEGIN_ to GROUP_ xmm11 and xmm14 are theirs, xmm13 is free; after GROUP_ only xmm15 matters.
//
// Within GROUP_ a round key is computed one round ahead, before the rounds that wait for the one
// before it: the CPU takes the oldest of what is ready, and the chain of keys must not wait.

.set	LONE, 0			// 1 where xmm0 is alone

.macro	ROUND		op, key
.if LONE
	EACH		\op, \key, 0
.else
	EACH		\op, \key, 0, 1, 2, 3, 4, 5, 6, 7
.endif
.endm

// Keeps k_0..k_2 in xmm9-xmm11.
.macro	KEEP_256_enc
	movdqa		%xmm9, %xmm13
	NEXT256_EVEN	13, 10, 11, 1
.endm
.macro	PREPARE_256_enc
	ENCRYPT256	1, 2, 3, 8
	KEEP_256_enc
.endm

// xmm14 := k_3.
.macro	BEGIN_256_enc
	movdqa		%xmm10, %xmm13
	NEXT256_ODD	13, 11, 14
.endm

.macro	FIRST_ROUNDS_256_enc x
	aesenc		%xmm10, %xmm\x
	aesenc		%xmm11, %xmm\x
.endm

.macro	GROUP_256_enc
	movdqa		%xmm11, %xmm13
	NEXT256_EVEN	13, 14, 15, 2
	ROUND		aesenc, 14
	NEXT256_ODD	14, 15, 13
	ROUND		aesenc, 15
	NEXT256_EVEN	15, 13, 14, 3
	ROUND		aesenc, 13
	NEXT256_ODD	13, 14, 15
	ROUND		aesenc, 14
	NEXT256_EVEN	14, 15, 13, 4
	ROUND		aesenc, 15
	NEXT256_ODD	15, 13, 14
	ROUND		aesenc, 13
	NEXT256_EVEN	13, 14, 15, 5
	ROUND		aesenc, 14
	NEXT256_ODD	14, 15, 13
	ROUND		aesenc, 15
	NEXT256_EVEN	15, 13, 14, 6
	ROUND		aesenc, 13
	NEXT256_ODD	13, 14, 15
	ROUND		aesenc, 14
	NEXT256_EVEN	14, 15, 13, 7
	ROUND		aesenc, 15
	movdqa		%xmm13, %xmm15
.endm

// Keeps k_14 in xmm9, k_13 in xmm10.
.macro	PREPARE_256_dec
	ENCRYPT256_LAST256 1, 2, 3, 8, 9, 10, 11
	movdqa		%xmm11, %xmm9
.endm
.macro	KEEP_256_dec
	ENCRYPT256	9, 10, 11
	movdqa		%xmm11, %xmm9
.endm

// Middle round keys of decryption pass InvMixColumns first (FIPS 197 section 5.3.5).
.macro	MIDDLE_ROUND	key, t
	aesimc		%xmm\key, %xmm\t
	ROUND		aesdec, \t
.endm

// xmm11 := InvMixColumns of k_13, xmm14 := w3 of k_13, moved.
.macro	BEGIN_256_dec
	aesimc		%xmm10, %xmm11
	movdqa		%xmm10, %xmm14
	pshufb		.Lrot_w3_to_w0(%rip), %xmm14
.endm

.macro	FIRST_ROUNDS_256_dec x
	aesdec		%xmm11, %xmm\x
.endm

// Two steps backwards with their rounds: k_{i-2} for even i in xmm15, k_{i-3} in xmm11.
.macro	TWO_ROUNDS_256	rcon
	PREVIOUS256	15, 14, 13, \rcon, .Lw3_to_w0
	MIDDLE_ROUND	15, 14
	PREVIOUS256	11, 13, 14, 0, .Lrot_w3_to_w0
	MIDDLE_ROUND	11, 13
.endm

.macro	GROUP_256_dec
	movdqa		%xmm9, %xmm15
	movdqa		%xmm10, %xmm11
	TWO_ROUNDS_256	7
	TWO_ROUNDS_256	6
	TWO_ROUNDS_256	5
	TWO_ROUNDS_256	4
	TWO_ROUNDS_256	3
	TWO_ROUNDS_256	2
	PREVIOUS256	15, 14, 13, 1
.endm

// Keeps k_0..k_2 in xmm9-xmm11.
.macro	KEEP_128_enc
	NEXT128		9, 10, 13, 1
	NEXT128		10, 11, 13, 2
.endm
.macro	PREPARE_128_enc
	ENCRYPT128	1, 2, 3, 8
	KEEP_128_enc
.endm

// xmm14 := k_3.
.macro	BEGIN_128_enc
	NEXT128		11, 14, 13, 3
.endm

.macro	FIRST_ROUNDS_128_enc x
	aesenc		%xmm10, %xmm\x
	aesenc		%xmm11, %xmm\x
.endm

.macro	GROUP_128_enc
	NEXT128		14, 15, 13, 4
	ROUND		aesenc, 14
	NEXT128		15, 14, 13, 5
	ROUND		aesenc, 15
	NEXT128		14, 15, 13, 6
	ROUND		aesenc, 14
	NEXT128		15, 14, 13, 7
	ROUND		aesenc, 15
	NEXT128		14, 15, 13, 8
	ROUND		aesenc, 14
	NEXT128		15, 14, 13, 9
	ROUND		aesenc, 15
	NEXT128		14, 15, 13, 10
	ROUND		aesenc, 14
.endm

// Keeps k_10 in xmm9, InvMixColumns of k_9 in xmm10, k_9 itself in xmm11.
.macro	PREPARE_128_dec
	ENCRYPT128_LAST128 1, 2, 3, 8, 9, 11, 13
	aesimc		%xmm11, %xmm10
.endm
.macro	KEEP_128_dec
	LAST128		9, 11, 13
	aesimc		%xmm11, %xmm10
.endm

// xmm14 := w3 of k_8, moved.
.macro	BEGIN_128_dec
	OLDER_W3_128	11, 14
.endm

// One step backwards with its round.
.macro	ONE_ROUND_128	s, n, rcon
	PREVIOUS128	15, \s, \n, \rcon
	MIDDLE_ROUND	15, \s
.endm

.macro	FIRST_ROUNDS_128_dec x
	aesdec		%xmm10, %xmm\x
.endm

.macro	GROUP_128_dec
	movdqa		%xmm11, %xmm15
	ONE_ROUND_128	14, 13, 9
	ONE_ROUND_128	13, 14, 8
	ONE_ROUND_128	14, 13, 7
	ONE_ROUND_128	13, 14, 6
	ONE_ROUND_128	14, 13, 5
	ONE_ROUND_128	13, 14, 4
	ONE_ROUND_128	14, 13, 3
	ONE_ROUND_128	13, 14, 2
	PREVIOUS128	15, 14, 13, 1, last
.endm

.macro	LAST_ROUND_enc	key, x
	aesenclast	%xmm\key, %xmm\x
.endm

.macro	LAST_ROUND_dec	key, x
	aesdeclast	%xmm\key, %xmm\x
.endm
