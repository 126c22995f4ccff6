// SPDX-License-Identifier: GPL-2.0-or-later
//
// Ciphertext stealing in XTS (IEEE 1619-2018 sections 5.3.2 and 5.4.2) for the variants with AVX; what is
// said at STEAL in aesni/xts.S holds here too.
//
// \mode for CRYPT_VECTORS_: "stolen" is the whole block, which is not stored; "mended" the one made of
// what was stolen from it and of the text's last bytes, in xmm0, which is stored in the whole one's place.

.macro	OPENV_stolen	i, t, w, size, op, key
	OPENV_cbcenc	\i, \t, \w, \size, \op, \key
.endm
.macro	CLOSEV_stolen	i, t, w, size, op, key
	\op		\key, %xmm\i, %xmm\i
	vpxor		%xmm\t, %xmm\i, %xmm\i
.endm
.macro	OPENV_mended	i, t, w, size, op, key
	vpxor		%xmm\t, %xmm\i, %xmm\i
	XOR_V		\key, %xmm\i, %xmm\i
.endm
.macro	CLOSEV_mended	i, t, w, size, op, key
	CLOSEV_stolen	\i, \t, \w, \size, \op, \key
	vmovdqu		%xmm\i, (DST)
.endm

// TAIL := 0, or, if the text is no multiple of 16 bytes, 16 and the bytes of its last block, which LEN
// then counts no more; goes to \done if that leaves nothing.
.macro	SPLIT_TAIL	done
	mov		LEN, TAIL
	and		$15, TAIL
	jz		.Lno_tail\@
	add		$16, TAIL
	sub		TAIL, LEN
	jz		\done
.Lno_tail\@:
.endm

// The whole block LEN bytes (a multiple of 16) from SRC and DST, and the b bytes behind it, for TAIL =
// 16 + b, with the tweak of the block at SRC in xmm4. Clobbers xmm0-xmm5, KT, TMP, %r10.
.macro	STEAL_V		v, size, dir
	mov		LEN, %r10
	shr		$4, %r10
	jz		.Lthere\@
.Lblock_on\@:
	TIMES_X_V	4, 2
	dec		%r10
	jnz		.Lblock_on\@
.Lthere\@:
	add		LEN, SRC
	add		LEN, DST
	vmovdqu		-16(SRC, TAIL), %xmm1
	vmovdqa		%xmm4, %xmm5
.ifc \dir,enc
	TIMES_X_V	5, 2
.else
	TIMES_X_V	4, 2
.endif
	CRYPT_VECTORS_\v x, \size, \dir, 1, stolen
// From here b alone.
	sub		$16, TAIL
	vmovq		TAIL, %xmm3
	vpxor		%xmm2, %xmm2, %xmm2
	vpshufb		%xmm2, %xmm3, %xmm3
	vmovdqa		.Lfrom_0(%rip), %xmm2
	vpsubb		%xmm3, %xmm2, %xmm2		// i - b
	vpaddb		.Lfrom_minus_16(%rip), %xmm3, %xmm3	// i + b - 16
	vpshufb		%xmm3, %xmm0, %xmm4		// its first b bytes to the end, else zero
	vpaddb		.L16_each(%rip), %xmm2, %xmm3	// i - b + 16
	vpshufb		%xmm3, %xmm1, %xmm1		// the text's last b bytes to the front
	vpblendvb	%xmm2, %xmm1, %xmm0, %xmm0	// those where i < b
	vmovdqu		%xmm4, (DST, TAIL)
	vmovdqa		%xmm5, %xmm4
	CRYPT_VECTORS_\v x, \size, \dir, 1, mended
.endm
