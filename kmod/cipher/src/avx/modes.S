// SPDX-License-Identifier: GPL-2.0-or-later
//
// ECB, CBC, CTR and ESSIV (SP 800-38A) for the variants with AVX.
//
// \v is the variant: x (aesni_avx), y (vaes_avx2) or z (vaes_avx512); \w the vectors at work, of the
// variant's width or, block by block, x. \size is 128, 192 or 256, \dir enc or dec. \mode is what happens
// to a block:
//	ecb	nothing
//	cbcenc	CBC encryption: the block of ciphertext before goes in before the first round
//	cbcdec	CBC decryption: it goes in behind the last round
//	ctr	counters are encrypted, and the text goes in behind the last round
//	stream	the last counter, for less than a block of text
// CBC encrypts one block after the other. Else vectors are in flight as in XTS, and what is less than all
// of these goes block by block: each is independent of the one before, so that a CPU has several at work.
//
// Registers, by number: blocks, round keys and scratch as in packed.S, or, in vaes_avx512/xts.S, blocks
// 0-3 and round keys 17-31. 4 holds the block of ciphertext before the text, or the counter of the next
// block, as two little-endian quadwords, in each lane its own. 5-7 hold more ciphertext, or scratch.
// Counters are public; but all of these are wiped with the others.

.pushsection .rodata.tresor_avx, "a", @progbits
	.balign		64
.Lreversed_bytes:		// PSHUFB
.rept 4
	.byte		15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0
.endr
.Lfirst_counters:		// 0, 1, .. for each lane
	.quad		0, 0, 1, 0, 2, 0, 3, 0
.Lcount_z:			// blocks in a vector
	.quad		4, 0, 4, 0, 4, 0, 4, 0
.Lcount_y:
	.quad		2, 0, 2, 0
.Lcount_x:
	.quad		1, 0
.popsection

// As in packed.S.
.set	IN_FLIGHT_128_z, 4
.set	IN_FLIGHT_192_z, 4
.set	IN_FLIGHT_256_z, 4
.set	BYTES_z, 64

// What AVX-512 has other names for. Operands have no space in them.
.macro	XOR_V		a, b, c
.if THREE_OPERANDS
	vpxord		\a, \b, \c
.else
	vpxor		\a, \b, \c
.endif
.endm
.macro	MOVE_V		a, b
.if THREE_OPERANDS
	vmovdqu64	\a, \b
.else
	vmovdqu		\a, \b
.endif
.endm

// Register 4, counters, += the numbers at \by, below 2^63. Clobbers 5, 6. A carry out of the lower
// quadword is its highest bit going from 1 to 0, as a section has fewer than 2^63 blocks.
.macro	COUNT		w, by
	vpaddq		\by(%rip), %\w\()mm4, %\w\()mm5
.ifc \w,z
	vpandnq		%zmm4, %zmm5, %zmm6
.else
	vpandn		%\w\()mm4, %\w\()mm5, %\w\()mm6
.endif
	vpsrlq		$63, %\w\()mm6, %\w\()mm6
	vpslldq		$8, %\w\()mm6, %\w\()mm6
	vpaddq		%\w\()mm6, %\w\()mm5, %\w\()mm4
.endm

// What register 4 begins with. Vectors of several blocks have a counter for each.
.macro	START_CTR_x
	vmovdqu		START_IV(START), %xmm4
	vpshufb		.Lreversed_bytes(%rip), %xmm4, %xmm4
.endm
.macro	START_CTR_y
	vbroadcasti128	START_IV(START), %ymm4
	vpshufb		.Lreversed_bytes(%rip), %ymm4, %ymm4
	COUNT		y, .Lfirst_counters
.endm
.macro	START_CTR_z
	vbroadcasti32x4	START_IV(START), %zmm4
	vpshufb		.Lreversed_bytes(%rip), %zmm4, %zmm4
	COUNT		z, .Lfirst_counters
.endm

// As OPENV_xts and CLOSEV_xts, for the other modes.
.macro	OPENV_ecb	i, t, w, size, op, key
	XOR_V		BYTES_\w*\i(SRC), \key, %\w\()mm\i
.endm
.macro	CLOSEV_ecb	i, t, w, size, op, key
	\op		\key, %\w\()mm\i, %\w\()mm\i
	MOVE_V		%\w\()mm\i, BYTES_\w*\i(DST)
.endm
.macro	OPENV_cbcenc	i, t, w, size, op, key
	XOR_V		(SRC), \key, %xmm\i
	vpxor		%xmm\t, %xmm\i, %xmm\i
.endm
.macro	CLOSEV_cbcenc	i, t, w, size, op, key
	CLOSEV_ecb	\i, \t, \w, \size, \op, \key
.endm
// What vectors behind the first are chained to is loaded before something is stored in its place.
.macro	OPENV_cbcdec	i, t, w, size, op, key
	XOR_V		BYTES_\w*\i(SRC), \key, %\w\()mm\i
.if \i
	MOVE_V		BYTES_\w*\i-16(SRC), %\w\()mm\t
.endif
.endm
.macro	CLOSEV_cbcdec	i, t, w, size, op, key
	\op		\key, %\w\()mm\i, %\w\()mm\i
	XOR_V		%\w\()mm\t, %\w\()mm\i, %\w\()mm\i
	MOVE_V		%\w\()mm\i, BYTES_\w*\i(DST)
.endm
.macro	OPENV_ctr	i, t, w, size, op, key
	OPENV_stream	\i, \t, \w, \size, \op, \key
	COUNT		\w, .Lcount_\w
.endm
.macro	CLOSEV_ctr	i, t, w, size, op, key
	\op		\key, %\w\()mm\i, %\w\()mm\i
	XOR_V		BYTES_\w*\i(SRC), %\w\()mm\i, %\w\()mm\i
	MOVE_V		%\w\()mm\i, BYTES_\w*\i(DST)
.endm
.macro	OPENV_stream	i, t, w, size, op, key
	vpshufb		.Lreversed_bytes(%rip), %\w\()mm4, %\w\()mm\i
	XOR_V		\key, %\w\()mm\i, %\w\()mm\i
.endm
.macro	CLOSEV_stream	i, t, w, size, op, key
	\op		\key, %\w\()mm\i, %\w\()mm\i
.endm

// Around \n vectors: what register 4 is to them, and what it is to the next ones.
.macro	BEFORE_cbcdec	w, size, n
.ifc \w,z
	vinserti128	$1, (SRC), %ymm4, %ymm4
	vinserti64x4	$1, 16(SRC), %zmm4, %zmm4
	vmovdqu		BYTES_z*\n-16(SRC), %xmm8
.else
.ifc \w,y
	vinserti128	$1, (SRC), %ymm4, %ymm4
.endif
	vmovdqu		BYTES_\w*\n-16(SRC), TMP_\size\()_x
.endif
.endm
.macro	AFTER_cbcdec	w, size
.ifc \w,z
	vmovdqa		%xmm8, %xmm4
.else
	vmovdqa		TMP_\size\()_x, %xmm4
.endif
.endm
.macro	BEFORE_cbcenc	w, size, n
.endm
.macro	AFTER_cbcenc	w, size
	vmovdqa		%xmm0, %xmm4
.endm
.macro	BEFORE_ecb	w, size, n
.endm
.macro	AFTER_ecb	w, size
.endm
.macro	BEFORE_ctr	w, size, n
.endm
.macro	AFTER_ctr	w, size
.endm

// \n vectors from SRC to DST, by CRYPT_VECTORS_<v>, the variant's.
.macro	CRYPT_VECTORS_x	w, size, dir, n, mode
	CRYPT_\size\()_\dir \w, \n, \mode
.endm
.macro	CRYPT_VECTORS_y	w, size, dir, n, mode
	CRYPT_\size\()_\dir \w, \n, \mode
.endm
.macro	CRYPT_SOME	v, w, size, dir, n, mode
	BEFORE_\mode	\w, \size, \n
	CRYPT_VECTORS_\v \w, \size, \dir, \n, \mode
	AFTER_\mode	\w, \size
	ADVANCE		BYTES_\w*\n
.endm

// The text, with the round keys and register 4 in place; LEN is not 0, and for cbcenc a multiple of 16.
// Falls through when done.
.macro	CRYPT_MODE	v, size, dir, mode
.ifc \mode,cbcenc
.Lblock\@:
	CRYPT_SOME	\v, x, \size, \dir, 1, \mode
	sub		$16, LEN
	jnz		.Lblock\@
.else
	sub		$IN_FLIGHT_\size\()_\v * BYTES_\v, LEN
	jb		.Lfew\@
	.balign		32, 0x90
.Lgroup\@:
	CRYPT_SOME	\v, \v, \size, \dir, IN_FLIGHT_\size\()_\v, \mode
	sub		$IN_FLIGHT_\size\()_\v * BYTES_\v, LEN
	jae		.Lgroup\@
.Lfew\@:
	add		$IN_FLIGHT_\size\()_\v * BYTES_\v, LEN
	sub		$16, LEN
	jb		.Lblocks_done\@
.Lblock\@:
	CRYPT_SOME	\v, x, \size, \dir, 1, \mode
	sub		$16, LEN
	jae		.Lblock\@
.Lblocks_done\@:
.endif
.ifc \mode,ctr
	add		$16, LEN
	jz		.Lstream_done\@
	CRYPT_VECTORS_\v x, \size, \dir, 1, stream
	END_OF_STREAM
.Lstream_done\@:
.endif
.endm

// \bytes (8, 4, 2 or 1) bytes of text, if so many are left, xored with the first ones of the key stream in
// xmm0, which moves on. Clobbers xmm1.
.macro	PIECE		bytes
	cmp		$\bytes, LEN
	jb		.Lno_piece\@
.if \bytes == 8
	vmovq		(SRC), %xmm1
.elseif \bytes == 4
	vmovd		(SRC), %xmm1
.else
	vpxor		%xmm1, %xmm1, %xmm1
.if \bytes == 2
	vpinsrw		$0, (SRC), %xmm1, %xmm1
.else
	vpinsrb		$0, (SRC), %xmm1, %xmm1
.endif
.endif
	vpxor		%xmm0, %xmm1, %xmm1
.if \bytes == 8
	vmovq		%xmm1, (DST)
.elseif \bytes == 4
	vmovd		%xmm1, (DST)
.elseif \bytes == 2
	vpextrw		$0, %xmm1, (DST)
.else
	vpextrb		$0, %xmm1, (DST)
.endif
	vpsrldq		$\bytes, %xmm0, %xmm0
	ADVANCE		\bytes
	sub		$\bytes, LEN
.Lno_piece\@:
.endm

// The last LEN bytes of text, 1 to 15, xored with as many of xmm0. Clobbers xmm0, xmm1.
.macro	END_OF_STREAM
	PIECE		8
	PIECE		4
	PIECE		2
	PIECE		1
.endm

// All that is done with a request's data, from the keys where KEYS_ has them.
.macro	DATA_ecb	v, size, dir
	EXPAND_ONE_\size KEEP_\v\()_\dir
	CRYPT_MODE	\v, \size, \dir, ecb
.endm
.macro	DATA_cbc	v, size, dir
	EXPAND_ONE_\size KEEP_\v\()_\dir
	vmovdqu		START_IV(START), %xmm4
	CHAIN_\dir	\v, \size
.endm
.macro	DATA_essiv	v, size, dir
	EXPAND_ONE_\size KEEP_\v\()_\dir
	ENCRYPT_IV
	CHAIN_\dir	\v, \size
.endm
.macro	CHAIN_enc	v, size
	CRYPT_MODE	\v, \size, enc, cbcenc
.endm
.macro	CHAIN_dec	v, size
	CRYPT_MODE	\v, \size, dec, cbcdec
.endm
.macro	DATA_ctr	v, size
	EXPAND_ONE_\size KEEP_\v\()_enc
	START_CTR_\v
	CRYPT_MODE	\v, \size, enc, ctr
.endm

// u32 tresor_<engine>_<mode><size>_<dir>(const struct share *share, const struct volume_key *key,
//					  const struct start *start, u8 *dst, const u8 *src, u64 len);
// u32 tresor_<engine>_ctr<size>(..), for both ways.
//
// Return 0, or 1 without having written anything if the registers hold no M with the key's check value.
// \len is as the mode allows it (Mode::allows in crypt.rs).
.macro	MODE_REQUEST	engine, v, name, keys, data:vararg
	ROUTINE		tresor_\engine\()_\name
	KEYS_\keys	DERIVE_OUTPUTS, .Lnot_held_\engine\()_\name
	\data
	LEAVE_\v	.Lnot_held_\engine\()_\name
	END_ROUTINE	tresor_\engine\()_\name
.endm

// All of a variant's routines in these modes; \request is MODE_REQUEST, or what has its arguments.
.macro	MODES		request, engine, v
	MODES_OF_SIZE	\request, \engine, \v, 128
	MODES_OF_SIZE	\request, \engine, \v, 192
	MODES_OF_SIZE	\request, \engine, \v, 256
.endm
.macro	MODES_OF_SIZE	request, engine, v, size
	MODES_ONE_WAY	\request, \engine, \v, \size, enc
	MODES_ONE_WAY	\request, \engine, \v, \size, dec
	\request	\engine, \v, ctr\size, one_\size, DATA_ctr \v, \size
.endm
.macro	MODES_ONE_WAY	request, engine, v, size, dir
	\request	\engine, \v, ecb\size\()_\dir, one_\size, DATA_ecb \v, \size, \dir
	\request	\engine, \v, cbc\size\()_\dir, one_\size, DATA_cbc \v, \size, \dir
	\request	\engine, \v, essiv\size\()_\dir, essiv_\size, DATA_essiv \v, \size, \dir
.endm
