// SPDX-License-Identifier: GPL-2.0-or-later
//
// XTS-AES as in aesni/xts.S, with 128-bit vectors and AVX.
//
// CPUs: AES-NI and AVX (Intel since Sandy Bridge, AMD since Bulldozer); for those without VAES.
//
// Covered and not covered: as in aesni/xts.S.
//
// What AVX adds is room: the upper halves of the ymm registers, which AES-NI cannot reach, hold every
// other round key (avx/packed.S), so that the schedule runs once a call. K1 and K2 are expanded side
// by side in registers of their own, a step of one, then a step of the other, and the IV is encrypted
// on the way.
//
// Memory: as in aesni/request.S. Registers: avx/packed.S; general ones as in aesni/request.S.

// K1 in xmm0, xmm1 and K2 in xmm2, xmm3; goes to \wrong if the check value differs.
.macro	DERIVE_256_x	wrong
	DERIVE_OUTPUTS	\wrong, 0, 1, 2, 3
.endm
// K1 in xmm0, K2 in xmm1.
.macro	DERIVE_128_x	wrong
	DERIVE_OUTPUTS	\wrong, 0, 1
.endm

// A step of both schedules with the round of the first tweak, xmm4. The round key of K2 comes first:
// xmm15 has its u until the last round key of K1 takes the place.
.macro	EVEN_256_x	dir, j, reg, end, op=vaesenc
	EVEN_256	x, 15, 2, 0, 1, \j
	\op		%xmm0, %xmm4, %xmm4
	EVEN_256	x, 7, 5, 0, 1, \j
	KEEP_\dir	0, 1, \reg, 0, \end
.endm
.macro	ODD_256_x	dir, j, reg
	ODD_256		x, 15, 3, 0, 1, \j
	vaesenc		%xmm0, %xmm4, %xmm4
	ODD_256		x, 7, 6, 0, 1, \j
	KEEP_\dir	0, 1, \reg, 1
.endm
.macro	NEXT_128_x	dir, j, reg, half, end, op=vaesenc
	NEXT_128	x, 6, 1, 7, 0, 8, \j
	\op		%xmm0, %xmm2, %xmm2
	NEXT_128	x, 4, 3, 5, 0, 8, \j
	KEEP_\dir	0, 8, \reg, \half, \end
.endm

// The round keys of K1, and xmm4 := the IV encrypted under K2, from where DERIVE_ puts the keys.
.macro	EXPAND_256_x	dir
	vmovdqu		START_IV(START), %xmm4
	vpxor		%xmm2, %xmm4, %xmm4
	vaesenc		%xmm3, %xmm4, %xmm4
	OPEN_256	x, 0, 1, 5, 6, 7, 15
	KEEP_\dir	0, 15, 8, 0, end
	KEEP_\dir	1, 15, 8, 1
	OPEN_256	x, 2, 3, 2, 3, 15, 1
	EVEN_256_x	\dir, 1, 9
	ODD_256_x	\dir, 1, 9
	EVEN_256_x	\dir, 2, 10
	ODD_256_x	\dir, 2, 10
	EVEN_256_x	\dir, 3, 11
	ODD_256_x	\dir, 3, 11
	EVEN_256_x	\dir, 4, 12
	ODD_256_x	\dir, 4, 12
	EVEN_256_x	\dir, 5, 13
	ODD_256_x	\dir, 5, 13
	EVEN_256_x	\dir, 6, 14
	ODD_256_x	\dir, 6, 14
	EVEN_256_x	\dir, 7, 15, end, vaesenclast
.endm
.macro	EXPAND_128_x	dir
	vmovdqu		START_IV(START), %xmm2
	vpxor		%xmm1, %xmm2, %xmm2
	OPEN_128	x, 0, 3, 4, 5, 8
	OPEN_128	x, 1, 1, 6, 7, 8
	KEEP_\dir	0, 8, 10, 0, end
	NEXT_128_x	\dir, 1, 10, 1
	NEXT_128_x	\dir, 2, 11, 0
	NEXT_128_x	\dir, 3, 11, 1
	NEXT_128_x	\dir, 4, 12, 0
	NEXT_128_x	\dir, 5, 12, 1
	NEXT_128_x	\dir, 6, 13, 0
	NEXT_128_x	\dir, 7, 13, 1
	NEXT_128_x	\dir, 8, 14, 0
	NEXT_128_x	\dir, 9, 14, 1
	NEXT_128_x	\dir, 10, 15, 0, end, vaesenclast
	vmovdqa		%xmm2, %xmm4
.endm

// %xmm\n := %xmm\x times x. Clobbers \t.
.macro	NEXT_TWEAK_x	x, n, t
	vpshufd		$0x13, %xmm\x, \t
	vpaddq		%xmm\x, %xmm\x, %xmm\n
	vpsrad		$31, \t, \t
	vpand		.Lgf128_poly(%rip), \t, \t
	vpxor		\t, %xmm\n, %xmm\n
.endm
.macro	NEXT_TWEAKS_256_x
	NEXT_TWEAK_x	6, 4, TMP_256_x
	NEXT_TWEAK_x	4, 5, TMP_256_x
	NEXT_TWEAK_x	5, 6, TMP_256_x
.endm
.macro	NEXT_TWEAKS_128_x
	NEXT_TWEAK_x	7, 4, TMP_128_x
	NEXT_TWEAK_x	4, 5, TMP_128_x
	NEXT_TWEAK_x	5, 6, TMP_128_x
	NEXT_TWEAK_x	6, 7, TMP_128_x
.endm

// All of the data, from K1 and K2 where DERIVE_ puts them.
.macro	DATA_x		size, dir
	EXPAND_\size\()_x \dir
	UNLESS_POWER	.Lfirst\@
	TIMES_POWER_V	4, 0, 1
.Lfirst\@:
	NEXT_TWEAK_x	4, 5, TMP_\size\()_x
	NEXT_TWEAK_x	5, 6, TMP_\size\()_x
.if \size == 128
	NEXT_TWEAK_x	6, 7, TMP_\size\()_x
.endif
	CRYPT_ALL	x, \size, \dir
.endm

// u32 tresor_aesni_avx_xts<size>_<dir>(const struct share *share, const struct volume_key *key,
//					const struct start *start, u8 *dst, const u8 *src, u64 len);
//
// Returns 0, or 1 without having written anything if the registers hold no M with the key's check
// value. \len is 16 or more.
.macro	XTS_x		size, dir
	ROUTINE		tresor_aesni_avx_xts\size\()_\dir
	DERIVE_\size\()_x .Lnot_held_x_\size\()_\dir
	DATA_x		\size, \dir
	LEAVE_x		.Lnot_held_x_\size\()_\dir
	END_ROUTINE	tresor_aesni_avx_xts\size\()_\dir
.endm

	XTS_x		128, enc
	XTS_x		128, dec
	XTS_x		256, enc
	XTS_x		256, dec
