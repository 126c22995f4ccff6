// SPDX-License-Identifier: GPL-2.0-or-later
//
// XTS-AES as in aesni/xts.S, with 512-bit vectors.
//
// CPUs: VAES, VPCLMULQDQ and AVX-512 F, BW, VL (Intel since Ice Lake, AMD since Zen 4).
//
// Covered and not covered: as in aesni/xts.S.
//
// What a call does: M goes into both lanes of ymm registers, so that K1 and K2 come out side by side,
// a block of each in one register, and the check value beside them. Both keys are expanded in two
// lanes at once; the IV is encrypted in K2's lane while the round keys appear. Those of K1 are
// broadcast to all lanes and stay until the end, as do eight vectors of tweaks (tweaks.S): 32 blocks make
// a group. A group goes through in halves, its even and its odd vectors: a CPU that looks ahead over a few
// hundred instructions then finds the next half's loads in time. The tweaks of one half are made during
// the first rounds of the other, in execution units that AES does not want.
//
// Memory: as in aesni/request.S. Mask registers: k1 what is there of a vector, k2 LOWEST_BYTES.
//
// Registers: general ones as in aesni/request.S. Vector registers, all secret:
//	zmm0-zmm7	blocks; before that keys, states of schedules, scratch
//	zmm8-zmm15	tweaks of the group
//	zmm16		scratch
//	zmm17-zmm31	RK0-RK14, the round keys of K1 in the order of use, in all lanes

	.set		TW0, %zmm8
	.set		TW1, %zmm9
	.set		TW2, %zmm10
	.set		TW3, %zmm11
	.set		TW4, %zmm12
	.set		TW5, %zmm13
	.set		TW6, %zmm14
	.set		TW7, %zmm15
	.set		RK0, %zmm17
	.set		RK1, %zmm18
	.set		RK2, %zmm19
	.set		RK3, %zmm20
	.set		RK4, %zmm21
	.set		RK5, %zmm22
	.set		RK6, %zmm23
	.set		RK7, %zmm24
	.set		RK8, %zmm25
	.set		RK9, %zmm26
	.set		RK10, %zmm27
	.set		RK11, %zmm28
	.set		RK12, %zmm29
	.set		RK13, %zmm30
	.set		RK14, %zmm31

// Zeroes all vector registers, the upper parts too, and leaves the CPU in the state in which SSE code
// is not slowed down.
.macro	WIPE_AVX512
.irp i, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
	vpxor		%xmm\i, %xmm\i, %xmm\i
.endr
.irp i, 16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
	vpxord		%xmm\i, %xmm\i, %xmm\i
.endr
	vzeroupper
.endm

// The round key k_\i of K1, in the lower lane of %ymm\r, to where it is used: encryption goes forth,
// decryption back, \back being the last round key's number less \i, and wants InvMixColumns of the
// round keys that are neither first nor last (FIPS 197 section 5.3.5). Clobbers xmm8.
.macro	KEEP_512_enc	r, i, back
	vshufi32x4	$0, %zmm\r, %zmm\r, RK\i
.endm
.macro	KEEP_512_dec	r, i, back
.if \i == 0 || \back == 0
	vshufi32x4	$0, %zmm\r, %zmm\r, RK\back
.else
	vaesimc		%xmm\r, %xmm8
	vshufi32x4	$0, %zmm8, %zmm8, RK\back
.endif
.endm

// A step of both schedules, into the register that the round key is used from; then the first tweak's
// round with the round key before: what is older comes first, and the schedule must not wait. For the
// same reason round keys are put into all lanes when all of them are there (KEEP_ALL_512), in time that
// the first tweaks leave. \k and \p are registers of this round key and the one before for encryption,
// \dk and \dp for decryption.
.macro	EVEN_512_enc	j, k, dk, p, dp
	EVEN_W		\j, \k
	vaesenc		%ymm\p, %ymm2, %ymm2
.endm
.macro	EVEN_512_dec	j, k, dk, p, dp
	EVEN_512_enc	\j, \dk, \k, \dp, \p
.endm
.macro	ODD_512_enc	j, k, dk, p, dp
	ODD_W		\j, \k
	vaesenc		%ymm\p, %ymm2, %ymm2
.endm
.macro	ODD_512_dec	j, k, dk, p, dp
	ODD_512_enc	\j, \dk, \k, \dp, \p
.endm
.macro	NEXT_512_enc	j, k, dk, op=vaesenc
	NEXT_W		\j, \k
	\op		%ymm\k, %ymm2, %ymm2
.endm
.macro	NEXT_512_dec	j, k, dk, op=vaesenc
	NEXT_512_enc	\j, \dk, \k, \op
.endm

// The round keys of K1 in the lower lanes of zmm17.., of which the last is \last, into all lanes; for
// decryption through InvMixColumns first, but for the first and the last one (FIPS 197 section 5.3.5).
// Clobbers xmm8.
.macro	KEEP_ALL_512_enc last, middle:vararg
.irp r, 17,\middle,\last
	vshufi32x4	$0, %zmm\r, %zmm\r, %zmm\r
.endr
.endm
.macro	KEEP_ALL_512_dec last, middle:vararg
	vshufi32x4	$0, %zmm17, %zmm17, %zmm17
.irp r, \middle
	vmovdqa64	%xmm\r, %xmm8
	vaesimc		%xmm8, %xmm8
	vshufi32x4	$0, %zmm8, %zmm8, %zmm\r
.endr
	vshufi32x4	$0, %zmm\last, %zmm\last, %zmm\last
.endm

// RK0.. := round keys, and the upper lane of ymm2 := the IV encrypted under K2, for k_0 of K1 and K2
// in the lanes of ymm0 and, if \size is 256, k_1 in those of ymm1. Clobbers ymm0-ymm13.
.macro	EXPAND_512_256 dir
	OPEN_W_256	0, 1
	vbroadcasti128	START_IV(START), %ymm2
	vpxor		%ymm0, %ymm2, %ymm2
.ifc \dir,enc
	vmovdqa64	%ymm0, %ymm17
	vmovdqa64	%ymm1, %ymm18
.else
	vmovdqa64	%ymm0, %ymm31
	vmovdqa64	%ymm1, %ymm30
.endif
	EVEN_512_\dir	1, 19, 29, 18, 30
	ODD_512_\dir	1, 20, 28, 19, 29
	EVEN_512_\dir	2, 21, 27, 20, 28
	ODD_512_\dir	2, 22, 26, 21, 27
	EVEN_512_\dir	3, 23, 25, 22, 26
	ODD_512_\dir	3, 24, 24, 23, 25
	EVEN_512_\dir	4, 25, 23, 24, 24
	ODD_512_\dir	4, 26, 22, 25, 23
	EVEN_512_\dir	5, 27, 21, 26, 22
	ODD_512_\dir	5, 28, 20, 27, 21
	EVEN_512_\dir	6, 29, 19, 28, 20
	ODD_512_\dir	6, 30, 18, 29, 19
	EVEN_512_\dir	7, 31, 17, 30, 18
.ifc \dir,enc
	vaesenclast	%ymm31, %ymm2, %ymm2
.else
	vaesenclast	%ymm17, %ymm2, %ymm2
.endif
	KEEP_ALL_512_\dir 31, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30
.endm
.macro	EXPAND_512_128 dir
	vbroadcasti128	START_IV(START), %ymm2
	vpxor		%ymm0, %ymm2, %ymm2
	OPEN_W_128	0
.ifc \dir,enc
	vmovdqa64	%ymm0, %ymm17
.else
	vmovdqa64	%ymm0, %ymm27
.endif
	NEXT_512_\dir	1, 18, 26
	NEXT_512_\dir	2, 19, 25
	NEXT_512_\dir	3, 20, 24
	NEXT_512_\dir	4, 21, 23
	NEXT_512_\dir	5, 22, 22
	NEXT_512_\dir	6, 23, 21
	NEXT_512_\dir	7, 24, 20
	NEXT_512_\dir	8, 25, 19
	NEXT_512_\dir	9, 26, 18
	NEXT_512_\dir	10, 27, 17, vaesenclast
	KEEP_ALL_512_\dir 27, 18, 19, 20, 21, 22, 23, 24, 25, 26
.endm

.macro	ROUND_512	op, key, blocks:vararg
.irp i, \blocks
	\op		\key, %zmm\i, %zmm\i
.endr
.endm
.macro	ROUNDS_512_128	op, blocks:vararg
.irp r, RK4,RK5,RK6,RK7,RK8,RK9
	ROUND_512	\op, \r, \blocks
.endr
	ROUND_512	\op\()last, RK10, \blocks
.endm
.macro	ROUNDS_512_256	op, blocks:vararg
.irp r, RK4,RK5,RK6,RK7,RK8,RK9,RK10,RK11,RK12,RK13
	ROUND_512	\op, \r, \blocks
.endr
	ROUND_512	\op\()last, RK14, \blocks
.endm

// All rounds of the vectors \blocks; between them, early, \then.
.macro	CIPHER_512	size, dir, then, blocks:vararg
.irp r, RK1,RK2,RK3
	ROUND_512	vaes\dir, \r, \blocks
.endr
	\then
	ROUNDS_512_\size vaes\dir, \blocks
.endm

// The vectors \blocks of a group, all there. \then as above.
.macro	CRYPT_512	size, dir, then, blocks:vararg
.irp i, \blocks
	vmovdqu64	64*\i(SRC), %zmm\i
	vpternlogd	$0x96, TW\i, RK0, %zmm\i
.endr
	CIPHER_512	\size, \dir, \then, \blocks
.irp i, \blocks
	vpxord		TW\i, %zmm\i, %zmm\i
	vmovdqu64	%zmm\i, 64*\i(DST)
.endr
.endm
.macro	EVEN_VECTORS	size, dir, then
	CRYPT_512	\size, \dir, \then, 0, 2, 4, 6
.endm
.macro	ODD_VECTORS	size, dir, then
	CRYPT_512	\size, \dir, \then, 1, 3, 5, 7
.endm

// As CRYPT_VECTORS_x in avx/modes.S.
.macro	ROUNDS_z_128	w, n, op, mode
.irp r, 18,19,20,21,22,23,24,25,26
	EACH_OF		\n, ROUND_BLOCK, \w, 128, \op, %\w\()mm\r
.endr
	EACH_OF		\n, CLOSEV_\mode, \w, 128, \op\()last, %\w\()mm27
.endm
.macro	ROUNDS_z_192	w, n, op, mode
.irp r, 18,19,20,21,22,23,24,25,26,27,28
	EACH_OF		\n, ROUND_BLOCK, \w, 192, \op, %\w\()mm\r
.endr
	EACH_OF		\n, CLOSEV_\mode, \w, 192, \op\()last, %\w\()mm29
.endm
.macro	ROUNDS_z_256	w, n, op, mode
.irp r, 18,19,20,21,22,23,24,25,26,27,28,29,30
	EACH_OF		\n, ROUND_BLOCK, \w, 256, \op, %\w\()mm\r
.endr
	EACH_OF		\n, CLOSEV_\mode, \w, 256, \op\()last, %\w\()mm31
.endm
.macro	CRYPT_VECTORS_z	w, size, dir, n, mode
	EACH_OF		\n, OPENV_\mode, \w, \size, none, %\w\()mm17
	ROUNDS_z_\size	\w, \n, vaes\dir, \mode
.endm

// All of the data, from K1 and K2 where DERIVE_ puts them. Falls through when done.
//
// At .Lgroup the even vectors are done, and the odd ones have their tweaks.
.macro	DATA_z	size, dir
	EXPAND_512_\size \dir
	FIRST_TWEAKS_512
	SPLIT_TAIL	.Ldata_done\@
	cmp		$512, LEN
	jb		.Lno_group\@
	mov		$LOWEST_BYTES, %r10
	kmovq		%r10, %k2
	EVEN_VECTORS	\size, \dir, FIRST_ODD_512
	.balign		64, 0x90
.Lgroup\@:
	cmp		$512, LEN
	je		.Llast_half\@
	ODD_VECTORS	\size, \dir, NEXT_EVEN_512
	add		$512, SRC
	add		$512, DST
	sub		$512, LEN
	cmp		$512, LEN
	jb		.Lrest\@
	EVEN_VECTORS	\size, \dir, NEXT_ODD_512
	jmp		.Lgroup\@
.Llast_half\@:
	ODD_VECTORS	\size, \dir
	jmp		.Ldata_done\@
.Lno_group\@:
	FIRST_ODD_512
	jmp		.Lpart\@
.Lrest\@:
	NEXT_ODD_512
// A group of which only the first blocks are there: one bit of %r10 for each quadword, eight to a
// vector.
.Lpart\@:
	mov		LEN, %r11
	shr		$3, %r11
	xor		%r10d, %r10d
	bts		%r11, %r10
	dec		%r10
	mov		%r10, %r11
.irp i, 0,1,2,3,4,5,6,7
	kmovq		%r11, %k1
	shr		$8, %r11
	vmovdqu64	64*\i(SRC), %zmm\i{%k1}{z}
	vpternlogd	$0x96, TW\i, RK0, %zmm\i
.endr
	CIPHER_512	\size, \dir, , 0, 1, 2, 3, 4, 5, 6, 7
.irp i, 0,1,2,3,4,5,6,7
	kmovq		%r10, %k1
	shr		$8, %r10
	vpxord		TW\i, %zmm\i, %zmm\i
	vmovdqu64	%zmm\i, 64*\i(DST){%k1}
.endr
.Ldata_done\@:
	test		TAIL, TAIL
	jz		.Lall_done\@
	vmovdqa		%xmm8, %xmm4
	STEAL_V		z, \size, \dir
.Lall_done\@:
.endm


// The way out: wipes, and returns 0, or 1 if entered at \wrong.
.macro	LEAVE_z		wrong
	WIPE_AVX512
	xor		%eax, %eax
	RETURN
\wrong:
	WIPE_AVX512
	mov		$1, %eax
	RETURN
.endm

// u32 tresor_vaes_avx512_xts<size>_<dir>(const struct share *share, const struct volume_key *key,
//					  const struct start *start, u8 *dst, const u8 *src, u64 len);
//
// Returns 0, or 1 without having written anything if the registers hold no M with the key's check
// value. \len is 16 or more.
.macro	XTS_512		size, dir
	ROUTINE		tresor_vaes_avx512_xts\size\()_\dir
	DERIVE_\size\()_y .Lnot_held_512_\size\()_\dir
	DATA_z	\size, \dir
	LEAVE_z		.Lnot_held_512_\size\()_\dir
	END_ROUTINE	tresor_vaes_avx512_xts\size\()_\dir
.endm

	.set		THREE_OPERANDS, 1
	XTS_512		128, enc
	XTS_512		128, dec
	XTS_512		256, enc
	XTS_512		256, dec
	.set		THREE_OPERANDS, 0
