// SPDX-License-Identifier: GPL-2.0-or-later
//
// The tweaks of XTS with 512-bit vectors: those of the first 32 blocks from the first one, and those of the
// next 32 from them. Registers as in xts.S.
//
// The first ones are products with powers of x below x^32, by shifts and VPCLMULQDQ. On AMD's cores that
// takes one of the two execution units of AES for two cycles, which is no loss as long as AES waits for
// tweaks, but is one in the midst of the data. So the next tweaks are made without it.
//
// Streams. Let s_i be the highest bit of the tweak T times x^i. The highest bits of T are s_0, s_1 and so
// on, down to s_120 in bit 7; only below it the polynomial x^128 + x^7 + x^2 + x + 1 has come in. W, the
// *window* s_0 .. s_127, is thus T but for bits 0 to 6, and the window of T times x^n is s_n .. s_{n+127}:
// a move, without any reduction. From the polynomial, too,
//	s_{n+128} = s_n + s_{n+1} + s_{n+2} + s_{n+7}
// so what follows a window is, from the top, W + 2W + 4W + 128W: of the upper quadword, 57 bits, which is
// enough for 7 bytes (Q below). And in a tweak times x^8 the lowest byte is the polynomial's product with
// the byte that was shifted out, less what is shifted out of that byte again: the same sum of one byte, not
// of quadwords (X below). Of a move by k bytes that is byte 16 - k of X.
//
// Back from T to W: the lowest byte of W is the second lowest of W moved by one, and this one is the same
// in T times x^8.

	.set		LOWEST_BYTES, 0x0001000100010001	// of each lane, as a mask of bytes

.pushsection .rodata.tresor_vaes_avx512, "a", @progbits
	.balign		64
.Lpoly_in_all_lanes:		// x^128 = x^7 + x^2 + x + 1
	.quad		0x87, 0, 0x87, 0, 0x87, 0, 0x87, 0
.Lbit_7:			// of each byte
	.fill		64, 1, 0x80
.Lleft_8:			// shifts of both halves of the tweak of block 0, 1, .. of eight
	.quad		0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7
.Lright_8:			// 64 less that: what is shifted out
	.quad		64, 64, 63, 63, 62, 62, 61, 61, 60, 60, 59, 59, 58, 58, 57, 57
.popsection

// %xmm\x := %xmm\x times the power of x at START: a product of 256 bits in \h and \l, of which first the
// highest quadword and then the next one are folded down by the polynomial. Clobbers \h, \l, \m, \t.
.macro	TIMES_POWER_512	x, h, l, m, t
	vmovdqu		START_POWER(START), %xmm\m
	vpclmulqdq	$0x00, %xmm\m, %xmm\x, %xmm\l
	vpclmulqdq	$0x11, %xmm\m, %xmm\x, %xmm\h
	vpclmulqdq	$0x01, %xmm\m, %xmm\x, %xmm\t
	vpclmulqdq	$0x10, %xmm\m, %xmm\x, %xmm\m
	vpxor		%xmm\m, %xmm\t, %xmm\m
	vpslldq		$8, %xmm\m, %xmm\t
	vpxor		%xmm\t, %xmm\l, %xmm\l
	vpsrldq		$8, %xmm\m, %xmm\m
	vpxor		%xmm\m, %xmm\h, %xmm\h
	vmovdqa		.Lpoly_in_all_lanes(%rip), %xmm\x
	vpclmulqdq	$0x01, %xmm\x, %xmm\h, %xmm\m
	vpslldq		$8, %xmm\m, %xmm\t
	vpxor		%xmm\t, %xmm\l, %xmm\l
	vpsrldq		$8, %xmm\m, %xmm\m
	vpxor		%xmm\m, %xmm\h, %xmm\h
	vpclmulqdq	$0x00, %xmm\x, %xmm\h, %xmm\x
	vpxor		%xmm\l, %xmm\x, %xmm\x
.endm

// TW0, TW2, TW4, TW6 := the tweaks of the first 32 blocks in even vectors, from the upper lane of ymm2. For
// FIRST_ODD_512: zmm5 := the polynomial, zmm7 := the first tweak in all lanes. Clobbers zmm0-zmm4.
//
// The first eight tweaks are shifted by bits, the others follow from them by bytes, which takes fewer
// instructions; none is more than two such steps away.
.macro	FIRST_TWEAKS_512
	UNLESS_POWER	.Lfirst\@
	vextracti128	$1, %ymm2, %xmm2
	TIMES_POWER_512	2, 0, 1, 3, 4
	vinserti128	$1, %xmm2, %ymm2, %ymm2
.Lfirst\@:
	vmovdqa64	.Lpoly_in_all_lanes(%rip), %zmm5
	vshufi32x4	$0x55, %zmm2, %zmm2, %zmm7
	EIGHT_TWEAKS_512 TW0, 0
	TIMES_BYTES_512	TW0, TW2, 1
	TIMES_BYTES_512	TW0, TW4, 2
	TIMES_BYTES_512	TW0, TW6, 3
.endm
// TW1, TW3, TW5, TW7 := those in odd vectors. Clobbers zmm1, zmm3.
.macro	FIRST_ODD_512
	EIGHT_TWEAKS_512 TW1, 64
	TIMES_BYTES_512	TW1, TW3, 1
	TIMES_BYTES_512	TW1, TW5, 2
	TIMES_BYTES_512	TW1, TW7, 3
.endm

// \t := the tweaks of four blocks of the first eight. Clobbers zmm1, zmm3.
.macro	EIGHT_TWEAKS_512 t, at
	vpsrlvq		.Lright_8 + \at(%rip), %zmm7, %zmm3
	vpsllvq		.Lleft_8 + \at(%rip), %zmm7, \t
	vpclmulqdq	$0x01, %zmm5, %zmm3, %zmm1
	vpslldq		$8, %zmm3, %zmm3
	vpternlogd	$0x96, %zmm3, %zmm1, \t
.endm
// \n := \t times x^(8 * \bytes). Clobbers zmm3.
.macro	TIMES_BYTES_512	t, n, bytes
	vpsrldq		$16 - \bytes, \t, %zmm3
	vpclmulqdq	$0x00, %zmm5, %zmm3, %zmm3
	vpslldq		$\bytes, \t, \n
	vpxord		%zmm3, \n, \n
.endm

// Each tweak of half a group times x^32: \t0, and \t1-\t3, which are \t0 times x^8, x^16, x^24. \t0 in
// between is W. Clobbers zmm\q, zmm\x, zmm\s, zmm\u. Needs k2 to be LOWEST_BYTES.
.macro	NEXT_TWEAKS_512	t0, t1, t2, t3, q, x, s, u
	vpalignr	$1, \t1, \t1, \t0{%k2}
	vpaddq		\t0, \t0, %zmm\q
	vpaddb		\t0, \t0, %zmm\x
	vpsllq		$7, \t0, %zmm\u
	vpaddq		%zmm\q, %zmm\q, %zmm\s
	vpternlogd	$0x96, %zmm\s, \t0, %zmm\q
	vpaddb		%zmm\x, %zmm\x, %zmm\s
	vpternlogd	$0x96, %zmm\s, \t0, %zmm\x
	vpxord		%zmm\u, %zmm\q, %zmm\q
	vpternlogd	$0x78, .Lbit_7(%rip), %zmm\u, %zmm\x
	vpalignr	$11, %zmm\q, \t0, \t1
	vpalignr	$10, %zmm\q, \t0, \t2
	vpalignr	$9, %zmm\q, \t0, \t3
	vpalignr	$12, %zmm\q, \t0, \t0
	vpalignr	$11, %zmm\x, %zmm\x, \t1{%k2}
	vpalignr	$10, %zmm\x, %zmm\x, \t2{%k2}
	vpalignr	$9, %zmm\x, %zmm\x, \t3{%k2}
	vpalignr	$12, %zmm\x, %zmm\x, \t0{%k2}
.endm
// For the rounds of the other half: the blocks of this one are stored, and their registers free.
.macro	NEXT_EVEN_512
	NEXT_TWEAKS_512	TW0, TW2, TW4, TW6, 0, 2, 4, 6
.endm
.macro	NEXT_ODD_512
	NEXT_TWEAKS_512	TW1, TW3, TW5, TW7, 1, 3, 5, 7
.endm
