// SPDX-License-Identifier: GPL-2.0-or-later
//
// The schedule of schedule.S again, for two 128-bit lanes where there are registers enough to keep the
// last four u_j of each chain in one of their own, all(u_j) in its frame: then the operand of AESENCLAST
// needs no shuffle, and there is no state to put u_j into. Shuffles share an execution unit with AES on
// AMD's cores; with fewer of them the way from u to u waits less (Zen 4: 8 of 75 cycles).
//
// ymm5-ymm8 are u_j of the even round keys, or of AES-128, by (j-1) mod 4; ymm9-ymm12 of the odd ones.
// ymm13 is scratch, and ymm16 with AVX-512. All hold secrets.

.pushsection .rodata.tresor_avx, "a", @progbits
	.balign		32
// PSHUFB: the words of k_j that a u is in, turned back.
.Lback_1:		// for u_{j-1}, by (j-1) mod 4
	BOTH_LANES	0, 1, 2, 3,  -1,-1,-1,-1,  0, 1, 2, 3,  -1,-1,-1,-1
	BOTH_LANES	1, 2, 3, 0,  -1,-1,-1,-1,  1, 2, 3, 0,  -1,-1,-1,-1
	BOTH_LANES	2, 3, 0, 1,  -1,-1,-1,-1,  2, 3, 0, 1,  -1,-1,-1,-1
	BOTH_LANES	3, 0, 1, 2,  -1,-1,-1,-1,  3, 0, 1, 2,  -1,-1,-1,-1
.Lback_2:		// for u_{j-2}, by (j-2) mod 4
	BOTH_LANES	0, 1, 2, 3,  0, 1, 2, 3,  -1,-1,-1,-1,  -1,-1,-1,-1
	BOTH_LANES	1, 2, 3, 0,  1, 2, 3, 0,  -1,-1,-1,-1,  -1,-1,-1,-1
	BOTH_LANES	2, 3, 0, 1,  2, 3, 0, 1,  -1,-1,-1,-1,  -1,-1,-1,-1
	BOTH_LANES	3, 0, 1, 2,  3, 0, 1, 2,  -1,-1,-1,-1,  -1,-1,-1,-1
.Lback_3:		// for u_{j-3}, by (j-3) mod 4
	BOTH_LANES	0, 1, 2, 3,  -1,-1,-1,-1,  -1,-1,-1,-1,  -1,-1,-1,-1
	BOTH_LANES	1, 2, 3, 0,  -1,-1,-1,-1,  -1,-1,-1,-1,  -1,-1,-1,-1
	BOTH_LANES	2, 3, 0, 1,  -1,-1,-1,-1,  -1,-1,-1,-1,  -1,-1,-1,-1
	BOTH_LANES	3, 0, 1, 2,  -1,-1,-1,-1,  -1,-1,-1,-1,  -1,-1,-1,-1
.Lall_b:		// PSHUFB: all(b), all(c) in the frames of their places
	BOTH_LANES	6, 7, 4, 5,  6, 7, 4, 5,  6, 7, 4, 5,  6, 7, 4, 5
.Lall_c:
	BOTH_LANES	9,10,11, 8,  9,10,11, 8,  9,10,11, 8,  9,10,11, 8
.popsection

// \a, \b, \c, \d := u_{-3}..u_0 of the chain that begins with \k, which survives.
.macro	OPEN_W		k, a, b, c, d
	OPEN_CHAIN	y, \k, 13, \a
	vpshufb		.Lall_a(%rip), %ymm13, %ymm\a
	vpshufd		$0xff, %ymm\k, %ymm\d
	vpshufb		.Lall_b(%rip), %ymm13, %ymm\b
	vpshufb		.Lall_c(%rip), %ymm13, %ymm\c
.endm

// \u0 := u_j, in place of u_{j-4}, from \before; for j = 1 u_{j-4} is added behind the S, as it comes
// late. Then \k := k_j, for \u1..\u3 = u_{j-1}..u_{j-3}.
.macro	STEP_W		j, rcon, k, before, u0, u1, u2, u3
.ifc \rcon,none
	vaesenclast	%ymm\u0, %ymm\before, %ymm\u0
.elseif \j == 1
	vaesenclast	.Lturned_rcon(%rip), %ymm\before, %ymm13
	vpxor		%ymm13, %ymm\u0, %ymm\u0
.else
	vpxor		.Lturned_rcon + 32 * (\j - 1)(%rip), %ymm\u0, %ymm\u0
	vaesenclast	%ymm\u0, %ymm\before, %ymm\u0
.endif
	vpshufb		.Lback_1 + 32 * ((\j - 1) & 3)(%rip), %ymm\u1, %ymm\k
	vpshufb		.Lback_2 + 32 * ((\j - 2) & 3)(%rip), %ymm\u2, %ymm13
.if THREE_OPERANDS
	vpshufb		.Lback_3 + 32 * ((\j - 3) & 3)(%rip), %ymm\u3, %ymm16
	vpternlogd	$0x96, %ymm16, %ymm13, %ymm\k
.if \j & 3
	vpshufb		.Lturn_back + 32 * (\j & 3)(%rip), %ymm\u0, %ymm16
	vpxord		%ymm16, %ymm\k, %ymm\k
.else
	vpxord		%ymm\u0, %ymm\k, %ymm\k
.endif
.else
	vpxor		%ymm13, %ymm\k, %ymm\k
	vpshufb		.Lback_3 + 32 * ((\j - 3) & 3)(%rip), %ymm\u3, %ymm13
	vpxor		%ymm13, %ymm\k, %ymm\k
.if \j & 3
	vpshufb		.Lturn_back + 32 * (\j & 3)(%rip), %ymm\u0, %ymm13
	vpxor		%ymm13, %ymm\k, %ymm\k
.else
	vpxor		%ymm\u0, %ymm\k, %ymm\k
.endif
.endif
.endm

// AES-256: begins the schedule of k_0 = \k0, k_1 = \k1, which survive.
.macro	OPEN_W_256	k0, k1
	OPEN_W		\k1, 9, 10, 11, 12
	OPEN_W		\k0, 5, 6, 7, 8
.endm
// \k := k_{2j}.
.macro	EVEN_W		j, k
.if (\j & 3) == 1
	STEP_W		\j, rcon, \k, 12, 5, 8, 7, 6
.elseif (\j & 3) == 2
	STEP_W		\j, rcon, \k, 9, 6, 5, 8, 7
.elseif (\j & 3) == 3
	STEP_W		\j, rcon, \k, 10, 7, 6, 5, 8
.else
	STEP_W		\j, rcon, \k, 11, 8, 7, 6, 5
.endif
.endm
// \k := k_{2j+1}.
.macro	ODD_W		j, k
.if (\j & 3) == 1
	STEP_W		\j, none, \k, 5, 9, 12, 11, 10
.elseif (\j & 3) == 2
	STEP_W		\j, none, \k, 6, 10, 9, 12, 11
.elseif (\j & 3) == 3
	STEP_W		\j, none, \k, 7, 11, 10, 9, 12
.else
	STEP_W		\j, none, \k, 8, 12, 11, 10, 9
.endif
.endm

// AES-128: begins the schedule of k_0 = \k0, which survives.
.macro	OPEN_W_128	k0
	OPEN_W		\k0, 5, 6, 7, 8
.endm
// \k := k_j.
.macro	NEXT_W		j, k
.if (\j & 3) == 1
	STEP_W		\j, rcon, \k, 8, 5, 8, 7, 6
.elseif (\j & 3) == 2
	STEP_W		\j, rcon, \k, 5, 6, 5, 8, 7
.elseif (\j & 3) == 3
	STEP_W		\j, rcon, \k, 6, 7, 6, 5, 8
.else
	STEP_W		\j, rcon, \k, 7, 8, 7, 6, 5
.endif
.endm

// Encrypts \blocks with AES-256 under k_0 = ymm3, k_1 = ymm4, as ENCRYPT256_V. Clobbers ymm3-ymm13.
.macro	ENCRYPT256_W	blocks:vararg
	OPEN_W_256	3, 4
	EACH_V		vpxor, y, 3, \blocks
.irp j, 1,2,3,4,5,6
	EVEN_W		\j, 3
	EACH_V		vaesenc, y, 4, \blocks
	ODD_W		\j, 4
	EACH_V		vaesenc, y, 3, \blocks
.endr
	EVEN_W		7, 3
	EACH_V		vaesenc, y, 4, \blocks
	EACH_V		vaesenclast, y, 3, \blocks
.endm

// K1 and K2 of XTS-AES-256: k_0 of both in the lanes of ymm0, k_1 in those of ymm1. Goes to \wrong if
// the check value differs.
.macro	DERIVE_256_y	wrong
	LOAD_M_V	y, 3, 4
	vmovdqu		KEY_INPUTS(KEY), %xmm0
	vinserti128	$1, KEY_INPUTS+32(KEY), %ymm0, %ymm0
	vmovdqu		KEY_INPUTS+16(KEY), %xmm1
	vinserti128	$1, KEY_INPUTS+48(KEY), %ymm1, %ymm1
	vmovdqa		.Lcheck_input(%rip), %xmm2
	ENCRYPT256_W	0, 1, 2
	COMPARE_CHECK_V	2, \wrong
.endm
.macro	DERIVE_128_y	wrong
	LOAD_M_V	y, 3, 4
	vmovdqu		KEY_INPUTS(KEY), %ymm0
	vmovdqa		.Lcheck_input(%rip), %xmm2
	ENCRYPT256_W	0, 2
	COMPARE_CHECK_V	2, \wrong
.endm
