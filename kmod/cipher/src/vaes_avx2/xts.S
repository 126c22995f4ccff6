// SPDX-License-Identifier: GPL-2.0-or-later
//
// XTS-AES as in aesni/xts.S, with 256-bit vectors.
//
// CPUs: VAES and AVX2, with or without AVX-512 (Intel since Alder Lake, AMD since Zen 3).
//
// Covered and not covered: as in aesni/xts.S.
//
// What a call does: as in vaes_avx512/xts.S, but there is room for the round keys only in pairs
// (avx/packed.S), and a round begins with one lane permutation that gives its key to both lanes.
//
// Memory: as in aesni/request.S. Registers: avx/packed.S; general ones as in aesni/request.S.

.pushsection .rodata.tresor_vaes_avx2, "a", @progbits
	.balign		32
.Lcarried_out_2:		// 0 to 3 times x^7 + x^2 + x + 1
	.long		0, 0x87, 0x10e, 0x189, 0, 0x87, 0x10e, 0x189
.Lby_x_2:			// shifts of the lower half, and none of the upper one left
	.quad		1, 64, 1, 64
.Lby_x2_2:
	.quad		2, 64, 2, 64
.Lby_x7_2:
	.quad		7, 64, 7, 64
.Lleft_2:			// of both halves of the tweak of block 0, 1, .. of a group
	.quad		0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7
.Lright_2:			// 64 less that: what is shifted out
	.quad		64, 64, 63, 63, 62, 62, 61, 61, 60, 60, 59, 59, 58, 58, 57, 57
.popsection

// A step of both schedules, with the round of the first tweak, which is in the upper lane of ymm2.
.macro	EVEN_256_y	dir, j, reg, end, op=vaesenc
	EVEN_256	y, 5, 3, 0, 6, \j
	\op		%ymm0, %ymm2, %ymm2
	KEEP_\dir	0, 6, \reg, 0, \end
.endm
.macro	ODD_256_y	dir, j, reg
	ODD_256		y, 5, 4, 1, 6, \j
	vaesenc		%ymm1, %ymm2, %ymm2
	KEEP_\dir	1, 6, \reg, 1
.endm
.macro	NEXT_128_y	dir, j, reg, half, end, op=vaesenc
	NEXT_128	y, 5, 3, 4, 0, 6, \j
	\op		%ymm0, %ymm2, %ymm2
	KEEP_\dir	0, 6, \reg, \half, \end
.endm

// The round keys of K1, and the upper lane of ymm2 := the IV encrypted under K2, from where DERIVE_
// puts the keys.
.macro	EXPAND_256_y	dir
	vbroadcasti128	START_IV(START), %ymm2
	vpxor		%ymm0, %ymm2, %ymm2
	vaesenc		%ymm1, %ymm2, %ymm2
	OPEN_256	y, 0, 1, 3, 4, 5, 6
	KEEP_\dir	0, 6, 8, 0, end
	KEEP_\dir	1, 6, 8, 1
	EVEN_256_y	\dir, 1, 9
	ODD_256_y	\dir, 1, 9
	EVEN_256_y	\dir, 2, 10
	ODD_256_y	\dir, 2, 10
	EVEN_256_y	\dir, 3, 11
	ODD_256_y	\dir, 3, 11
	EVEN_256_y	\dir, 4, 12
	ODD_256_y	\dir, 4, 12
	EVEN_256_y	\dir, 5, 13
	ODD_256_y	\dir, 5, 13
	EVEN_256_y	\dir, 6, 14
	ODD_256_y	\dir, 6, 14
	EVEN_256_y	\dir, 7, 15, end, vaesenclast
.endm
.macro	EXPAND_128_y	dir
	vbroadcasti128	START_IV(START), %ymm2
	vpxor		%ymm0, %ymm2, %ymm2
	OPEN_128	y, 0, 3, 5, 4, 6
	KEEP_\dir	0, 6, 10, 0, end
	NEXT_128_y	\dir, 1, 10, 1
	NEXT_128_y	\dir, 2, 11, 0
	NEXT_128_y	\dir, 3, 11, 1
	NEXT_128_y	\dir, 4, 12, 0
	NEXT_128_y	\dir, 5, 12, 1
	NEXT_128_y	\dir, 6, 13, 0
	NEXT_128_y	\dir, 7, 13, 1
	NEXT_128_y	\dir, 8, 14, 0
	NEXT_128_y	\dir, 9, 14, 1
	NEXT_128_y	\dir, 10, 15, 0, end, vaesenclast
.endm

// \t := \t + \c times x^128, for at most 16 bits that were shifted out of each half of a tweak, in the
// other half's place: those of the lower half go on in the upper one, those of the upper half come in
// again at the bottom times x^7 + x^2 + x + 1. Without VPCLMULQDQ: emulators have VAES without it.
// Clobbers \c and \u.
.macro	ADD_CARRY_y	t, c, u
	vpxor		\c, \t, \t
	vpsllvq		.Lby_x_2(%rip), \c, \u
	vpxor		\u, \t, \t
	vpsllvq		.Lby_x2_2(%rip), \c, \u
	vpsllvq		.Lby_x7_2(%rip), \c, \c
	vpxor		\u, \t, \t
	vpxor		\c, \t, \t
.endm

// %ymm\t := the tweaks of the two blocks from 2*\n, from the first one in both lanes of ymm2. Clobbers
// ymm0, ymm1.
.macro	FIRST_TWEAKS_y	t, n
	vpsrlvq		.Lright_2 + 32*\n(%rip), %ymm2, %ymm0
	vpsllvq		.Lleft_2 + 32*\n(%rip), %ymm2, %ymm\t
	vpshufd		$0x4e, %ymm0, %ymm0
	ADD_CARRY_y	%ymm\t, %ymm0, %ymm1
.endm

// %ymm\n := %ymm\x times x^2. The two bits that leave the upper half choose what comes in at the bottom,
// those that leave the lower half go on in the upper one. Clobbers \c and \u.
.macro	NEXT_TWEAK_y	x, n, c, u
	vmovdqa		.Lcarried_out_2(%rip), \u
	vpsrlq		$62, %ymm\x, \c
	vpsllq		$2, %ymm\x, %ymm\n
	vpshufd		$0x4e, \c, \c
	vpermilps	\c, \u, \u
	vpblendd	$0x44, \c, \u, \u
	vpxor		\u, %ymm\n, %ymm\n
.endm
// The first vector of tweaks by x^6, for a group of three, or x^8, for one of four; the others follow
// from it. Only the first is waited for from group to group.
.macro	NEXT_TWEAKS_256_y
	vpsrlq		$58, %ymm4, TMP_256_y
	vpsllq		$6, %ymm4, %ymm4
	vpshufd		$0x4e, TMP_256_y, TMP_256_y
	ADD_CARRY_y	%ymm4, TMP_256_y, KT_256_y
	NEXT_TWEAK_y	4, 5, TMP_256_y, KT_256_y
	NEXT_TWEAK_y	5, 6, TMP_256_y, KT_256_y
.endm
.macro	NEXT_TWEAKS_128_y
	vpsrlq		$56, %ymm4, TMP_128_y
	vpsllq		$8, %ymm4, %ymm4
	vpshufd		$0x4e, TMP_128_y, TMP_128_y
	ADD_CARRY_y	%ymm4, TMP_128_y, KT_128_y
	NEXT_TWEAK_y	4, 5, TMP_128_y, KT_128_y
	NEXT_TWEAK_y	5, 6, TMP_128_y, KT_128_y
	NEXT_TWEAK_y	6, 7, TMP_128_y, KT_128_y
.endm

// All of the data, from K1 and K2 where DERIVE_ puts them.
.macro	DATA_y		size, dir
	EXPAND_\size\()_y \dir
	UNLESS_POWER	.Lfirst\@
	vextracti128	$1, %ymm2, %xmm2
	TIMES_POWER_V	2, 0, 1
	vinserti128	$1, %xmm2, %ymm2, %ymm2
.Lfirst\@:
	vperm2i128	$0x11, %ymm2, %ymm2, %ymm2
	FIRST_TWEAKS_y	4, 0
	FIRST_TWEAKS_y	5, 1
	FIRST_TWEAKS_y	6, 2
.if \size == 128
	FIRST_TWEAKS_y	7, 3
.endif
	CRYPT_ALL	y, \size, \dir
.endm

// u32 tresor_vaes_avx2_xts<size>_<dir>(const struct share *share, const struct volume_key *key,
//					const struct start *start, u8 *dst, const u8 *src, u64 len);
//
// Returns 0, or 1 without having written anything if the registers hold no M with the key's check
// value. \len is 16 or more.
.macro	XTS_y		size, dir
	ROUTINE		tresor_vaes_avx2_xts\size\()_\dir
	DERIVE_\size\()_y .Lnot_held_y_\size\()_\dir
	DATA_y		\size, \dir
	LEAVE_y		.Lnot_held_y_\size\()_\dir
	END_ROUTINE	tresor_vaes_avx2_xts\size\()_\dir
.endm

	XTS_y		128, enc
	XTS_y		128, dec
	XTS_y		256, enc
	XTS_y		256, dec
