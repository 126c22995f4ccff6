// SPDX-License-Identifier: GPL-2.0-or-later
//
// ECB, CBC, CTR and ESSIV with 512-bit vectors: avx/modes.S. CPUs, memory and the registers of the round
// keys: as in xts.S.

.macro	KEEP_z_enc	r, i, back, reg, half
	KEEP_512_enc	\r, \i, \back
.endm
.macro	KEEP_z_dec	r, i, back, reg, half
	KEEP_512_dec	\r, \i, \back
.endm

	.set		THREE_OPERANDS, 1
	MODES		MODE_REQUEST, vaes_avx512, z
	.set		THREE_OPERANDS, 0
