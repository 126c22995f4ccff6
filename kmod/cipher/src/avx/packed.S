// SPDX-License-Identifier: GPL-2.0-or-later
//
// The data, for the variants with 16 registers, whose round keys stay in registers with the data: two
// in each ymm register, taken out when their round comes. The modes other than XTS are in modes.S.
//
// \v is x (128-bit vectors: aesni_avx) or y (256-bit: vaes_avx2), \size 128, 192 or 256, \dir enc or
// dec.
//
// Registers, by number:
//			AES-256, -192	AES-128
//	blocks		0-2		0-3		vectors in flight
//	tweaks		4-6		4-7		theirs; other modes: see modes.S
//	scratch		3, 7		8, 9		KT, the round key at work, and TMP
//	round keys	8-15, 9-15	10-15		k_0, k_1 of K1 in the lanes of the first, and so on
// Up to the first tweak, 0-7 (and for AES-128 8 and 9) belong to both schedules of XTS.

.set	KT_256_x, %xmm3
.set	KT_256_y, %ymm3
.set	TMP_256_x, %xmm7
.set	TMP_256_y, %ymm7
.set	KT_192_x, %xmm3
.set	KT_192_y, %ymm3
.set	TMP_192_x, %xmm7
.set	TMP_192_y, %ymm7
.set	KT_128_x, %xmm8
.set	KT_128_y, %ymm8
.set	TMP_128_x, %xmm9
.set	TMP_128_y, %ymm9

// Vectors in flight, and bytes in a vector.
.set	IN_FLIGHT_256_x, 3
.set	IN_FLIGHT_256_y, 3
.set	IN_FLIGHT_192_x, 3
.set	IN_FLIGHT_192_y, 3
.set	IN_FLIGHT_128_x, 4
.set	IN_FLIGHT_128_y, 4
.set	BYTES_x, 16
.set	BYTES_y, 32

.macro	WIPE_AVX
	vzeroall
.endm

// The round key of K1 in the lower lane of \r into lane \half of \reg. For encryption as it is, for
// decryption through InvMixColumns (FIPS 197 section 5.3.5) unless it is the first or the last one
// (\end). Clobbers \t.
.macro	KEEP_enc	r, t, reg, half, end
.if \half
	vinsertf128	$1, %xmm\r, %ymm\reg, %ymm\reg
.else
	vmovdqa		%xmm\r, %xmm\reg
.endif
.endm
.macro	KEEP_dec	r, t, reg, half, end
.ifnb \end
	KEEP_enc	\r, \t, \reg, \half
.else
	vaesimc		%xmm\r, %xmm\t
	KEEP_enc	\t, \t, \reg, \half
.endif
.endm

// \m with the numbers of each of \n vectors of blocks and of its tweaks, and \args.
.macro	EACH_OF		n, m, args:vararg
	\m		0, 4, \args
.if \n > 1
	\m		1, 5, \args
.endif
.if \n > 2
	\m		2, 6, \args
.endif
.if \n > 3
	\m		3, 7, \args
.endif
.endm

// \m with the round key in lane \half of \reg as its first argument, for vectors of \v.
.macro	WITH_KEY	m, v, size, reg, half, n, op
.ifc \v,x
.if \half
	vextractf128	$1, %ymm\reg, KT_\size\()_x
	EACH_OF		\n, \m, \v, \size, \op, KT_\size\()_x
.else
	EACH_OF		\n, \m, \v, \size, \op, %xmm\reg
.endif
.else
	vperm2i128	$0x11 * \half, %ymm\reg, %ymm\reg, KT_\size\()_y
	EACH_OF		\n, \m, \v, \size, \op, KT_\size\()_y
.endif
.endm

// What a mode does with a vector before its first round (OPENV_), and with its last one (CLOSEV_).
.macro	OPENV_xts	i, t, v, size, op, key
	vpxor		BYTES_\v * \i(SRC), \key, %\v\()mm\i
	vpxor		%\v\()mm\t, %\v\()mm\i, %\v\()mm\i
.endm
.macro	ROUND_BLOCK	i, t, v, size, op, key
	\op		\key, %\v\()mm\i, %\v\()mm\i
.endm
// The tweak after the last round goes in with the round key: that is not later than the round key.
.macro	CLOSEV_xts	i, t, v, size, op, key
	vpxor		%\v\()mm\t, \key, TMP_\size\()_\v
	\op		TMP_\size\()_\v, %\v\()mm\i, %\v\()mm\i
	vmovdqu		%\v\()mm\i, BYTES_\v * \i(DST)
.endm

// \n vectors from SRC to DST.
.macro	CRYPT_256_enc	v, n, mode=xts
	WITH_KEY	OPENV_\mode, \v, 256, 8, 0, \n
	WITH_KEY	ROUND_BLOCK, \v, 256, 8, 1, \n, vaesenc
.irp r, 9,10,11,12,13,14
	WITH_KEY	ROUND_BLOCK, \v, 256, \r, 0, \n, vaesenc
	WITH_KEY	ROUND_BLOCK, \v, 256, \r, 1, \n, vaesenc
.endr
	WITH_KEY	CLOSEV_\mode, \v, 256, 15, 0, \n, vaesenclast
.endm
.macro	CRYPT_256_dec	v, n, mode=xts
	WITH_KEY	OPENV_\mode, \v, 256, 15, 0, \n
.irp r, 14,13,12,11,10,9
	WITH_KEY	ROUND_BLOCK, \v, 256, \r, 1, \n, vaesdec
	WITH_KEY	ROUND_BLOCK, \v, 256, \r, 0, \n, vaesdec
.endr
	WITH_KEY	ROUND_BLOCK, \v, 256, 8, 1, \n, vaesdec
	WITH_KEY	CLOSEV_\mode, \v, 256, 8, 0, \n, vaesdeclast
.endm
.macro	CRYPT_192_enc	v, n, mode=xts
	WITH_KEY	OPENV_\mode, \v, 192, 9, 0, \n
	WITH_KEY	ROUND_BLOCK, \v, 192, 9, 1, \n, vaesenc
.irp r, 10,11,12,13,14
	WITH_KEY	ROUND_BLOCK, \v, 192, \r, 0, \n, vaesenc
	WITH_KEY	ROUND_BLOCK, \v, 192, \r, 1, \n, vaesenc
.endr
	WITH_KEY	CLOSEV_\mode, \v, 192, 15, 0, \n, vaesenclast
.endm
.macro	CRYPT_192_dec	v, n, mode=xts
	WITH_KEY	OPENV_\mode, \v, 192, 15, 0, \n
.irp r, 14,13,12,11,10
	WITH_KEY	ROUND_BLOCK, \v, 192, \r, 1, \n, vaesdec
	WITH_KEY	ROUND_BLOCK, \v, 192, \r, 0, \n, vaesdec
.endr
	WITH_KEY	ROUND_BLOCK, \v, 192, 9, 1, \n, vaesdec
	WITH_KEY	CLOSEV_\mode, \v, 192, 9, 0, \n, vaesdeclast
.endm
.macro	CRYPT_128_enc	v, n, mode=xts
	WITH_KEY	OPENV_\mode, \v, 128, 10, 0, \n
	WITH_KEY	ROUND_BLOCK, \v, 128, 10, 1, \n, vaesenc
.irp r, 11,12,13,14
	WITH_KEY	ROUND_BLOCK, \v, 128, \r, 0, \n, vaesenc
	WITH_KEY	ROUND_BLOCK, \v, 128, \r, 1, \n, vaesenc
.endr
	WITH_KEY	CLOSEV_\mode, \v, 128, 15, 0, \n, vaesenclast
.endm
.macro	CRYPT_128_dec	v, n, mode=xts
	WITH_KEY	OPENV_\mode, \v, 128, 15, 0, \n
.irp r, 14,13,12,11
	WITH_KEY	ROUND_BLOCK, \v, 128, \r, 1, \n, vaesdec
	WITH_KEY	ROUND_BLOCK, \v, 128, \r, 0, \n, vaesdec
.endr
	WITH_KEY	ROUND_BLOCK, \v, 128, 10, 1, \n, vaesdec
	WITH_KEY	CLOSEV_\mode, \v, 128, 10, 0, \n, vaesdeclast
.endm

.macro	ADVANCE		bytes
	add		$\bytes, SRC
	add		$\bytes, DST
.endm

// The data, with the round keys and the first tweaks in place. NEXT_TWEAKS_<size>_<v>, the variant's,
// multiplies the tweaks of a group by the power of x that leads to the next group. Falls through when
// done.
.macro	CRYPT_ALL	v, size, dir
	SPLIT_TAIL	.Ldata_done\@
	sub		$IN_FLIGHT_\size\()_\v * BYTES_\v, LEN
	jb		.Lremainder\@
	.balign		32, 0x90
.Lgroup\@:
	CRYPT_\size\()_\dir \v, IN_FLIGHT_\size\()_\v
	ADVANCE		(IN_FLIGHT_\size\()_\v * BYTES_\v)
	NEXT_TWEAKS_\size\()_\v
	sub		$IN_FLIGHT_\size\()_\v * BYTES_\v, LEN
	jae		.Lgroup\@
.Lremainder\@:
	add		$IN_FLIGHT_\size\()_\v * BYTES_\v, LEN
	jz		.Ldata_done\@
	sub		$2 * BYTES_\v, LEN
	jb		.Lone\@
	CRYPT_\size\()_\dir \v, 2
	ADVANCE		(2 * BYTES_\v)
	vmovdqa		%\v\()mm6, %\v\()mm4
.if IN_FLIGHT_\size\()_\v > 3
	vmovdqa		%\v\()mm7, %\v\()mm5
.endif
	sub		$2 * BYTES_\v, LEN
.Lone\@:
	add		$2 * BYTES_\v, LEN
	jz		.Ldata_done\@
.ifc \v,y
	cmp		$32, LEN
	jb		.Lhalf\@
	CRYPT_\size\()_\dir y, 1
	ADVANCE		32
	vmovdqa		%ymm5, %ymm4
	sub		$32, LEN
	jz		.Ldata_done\@
.Lhalf\@:
.endif
	CRYPT_\size\()_\dir x, 1
.Ldata_done\@:
	test		TAIL, TAIL
	jz		.Lall_done\@
	STEAL_V		\v, \size, \dir
.Lall_done\@:
.endm

// The way out: wipes, and returns 0, or 1 if entered at \wrong.
.macro	LEAVE_x		wrong
	WIPE_AVX
	xor		%eax, %eax
	RETURN
\wrong:
	WIPE_AVX
	mov		$1, %eax
	RETURN
.endm
.macro	LEAVE_y		wrong
	LEAVE_x		\wrong
.endm
