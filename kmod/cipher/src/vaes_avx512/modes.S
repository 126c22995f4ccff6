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

.macro	ROUNDS_z_128	w, n, op, mode
.irp r, 18,19,20,21,22,23,24,25,26
	EACH_OF		\n, ROUND_BLOCK, \w, 128, \op, %\w\()mm\r
.endr
	EACH_OF		\n, CLOSE_\mode, \w, 128, \op\()last, %\w\()mm27
.endm
.macro	ROUNDS_z_192	w, n, op, mode
.irp r, 18,19,20,21,22,23,24,25,26,27,28
	EACH_OF		\n, ROUND_BLOCK, \w, 192, \op, %\w\()mm\r
.endr
	EACH_OF		\n, CLOSE_\mode, \w, 192, \op\()last, %\w\()mm29
.endm
.macro	ROUNDS_z_256	w, n, op, mode
.irp r, 18,19,20,21,22,23,24,25,26,27,28,29,30
	EACH_OF		\n, ROUND_BLOCK, \w, 256, \op, %\w\()mm\r
.endr
	EACH_OF		\n, CLOSE_\mode, \w, 256, \op\()last, %\w\()mm31
.endm
.macro	CRYPT_VECTORS_z	w, size, dir, n, mode
	EACH_OF		\n, OPEN_\mode, \w, \size, none, %\w\()mm17
	ROUNDS_z_\size	\w, \n, vaes\dir, \mode
.endm

	.set		THREE_OPERANDS, 1
	MODES		MODE_REQUEST, vaes_avx512, z
	.set		THREE_OPERANDS, 0
