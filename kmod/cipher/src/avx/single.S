// SPDX-License-Identifier: GPL-2.0-or-later
//
// What goes before the data in ECB, CBC, CTR and ESSIV, in all variants with AVX: one key for the data,
// expanded alone in xmm registers, and for ESSIV one more for the IV. The derivation is aesni_avx's in
// XTS, too.
//
// Register arguments are numbers; general registers are as in aesni/request.S. After EXPAND_ONE_ the
// round keys are where the variant's KEEP_ puts them.

// %xmm\i := output \i of F, for each \i of \outputs (0 to 3). Goes to \wrong if the check value differs.
// Clobbers xmm4-xmm10.
.macro	DERIVE_OUTPUTS	wrong, outputs:vararg
	LOAD_M_V	x, 5, 6
.irp i, \outputs
	vmovdqu		KEY_INPUTS + 16 * \i(KEY), %xmm\i
.endr
	vmovdqa		.Lcheck_input(%rip), %xmm4
	ENCRYPT256_V	x, 5, 6, 7, 8, 9, 10, \outputs, 4
	COMPARE_CHECK_V	4, \wrong
.endm

// Under a key in memory, for tests.
.macro	LOAD_OUTPUTS	unused, outputs:vararg
.irp i, \outputs
	vmovdqu		KEY_INPUTS + 16 * \i(KEY), %xmm\i
.endr
.endm

// The data's key in xmm0 and, if it is longer than 16 bytes, xmm1; ESSIV's for the IV in xmm2, xmm3. \then
// is DERIVE_OUTPUTS or LOAD_OUTPUTS, \wrong its argument.
.macro	KEYS_one_128	then, wrong
	\then		\wrong, 0
.endm
.macro	KEYS_one_192	then, wrong
	\then		\wrong, 0, 1
.endm
.macro	KEYS_one_256	then, wrong
	\then		\wrong, 0, 1
.endm
.macro	KEYS_essiv_128	then, wrong
	\then		\wrong, 0, 2, 3
.endm
.macro	KEYS_essiv_192	then, wrong
	\then		\wrong, 0, 1, 2, 3
.endm
.macro	KEYS_essiv_256	then, wrong
	\then		\wrong, 0, 1, 2, 3
.endm

// A round key of the data's, in %xmm\r, to where the variant keeps it: KEEP_<v>_<dir> gets its number
// \i, what the last one's number is more than that (\back), and its place if they are packed. Clobbers
// xmm7.
.macro	KEEP_x_enc	r, i, back, reg, half
	KEEP_enc	\r, 7, \reg, \half
.endm
.macro	KEEP_x_dec	r, i, back, reg, half
.if \i == 0 || \back == 0
	KEEP_enc	\r, 7, \reg, \half
.else
	KEEP_dec	\r, 7, \reg, \half
.endif
.endm
.macro	KEEP_y_enc	r, i, back, reg, half
	KEEP_x_enc	\r, \i, \back, \reg, \half
.endm
.macro	KEEP_y_dec	r, i, back, reg, half
	KEEP_x_dec	\r, \i, \back, \reg, \half
.endm

// EXPAND_ONE_<size>: all round keys of the data's key, from where KEYS_ has it, to where \keep puts
// them. Clobbers xmm0, xmm1, xmm4-xmm7.

.macro	STEP_ONE_128	keep, j, back, reg, half
	NEXT_128	x, 6, 4, 5, 0, 7, \j
	\keep		0, \j, \back, \reg, \half
.endm
.macro	EXPAND_ONE_128	keep
	\keep		0, 0, 10, 10, 0
	OPEN_128	x, 0, 4, 6, 5, 7
	STEP_ONE_128	\keep, 1, 9, 10, 1
	STEP_ONE_128	\keep, 2, 8, 11, 0
	STEP_ONE_128	\keep, 3, 7, 11, 1
	STEP_ONE_128	\keep, 4, 6, 12, 0
	STEP_ONE_128	\keep, 5, 5, 12, 1
	STEP_ONE_128	\keep, 6, 4, 13, 0
	STEP_ONE_128	\keep, 7, 3, 13, 1
	STEP_ONE_128	\keep, 8, 2, 14, 0
	STEP_ONE_128	\keep, 9, 1, 14, 1
	STEP_ONE_128	\keep, 10, 0, 15, 0
.endm

// Two steps, of rcon_\j and rcon_\l, for three round keys.
.macro	STEPS_ONE_192	keep, j, l, i1, back1, reg1, half1, i2, back2, reg2, half2, i3, back3, reg3, half3
	NEXT_192	0, 1, 4, 5, 6, \j
	FIRST_BETWEEN_192 1, 4, 6
	\keep		6, \i1, \back1, \reg1, \half1
	SECOND_BETWEEN_192 4, 5, 6
	\keep		6, \i2, \back2, \reg2, \half2
	NEXT_192	4, 5, 0, 1, 6, \l
	\keep		0, \i3, \back3, \reg3, \half3
.endm
.macro	EXPAND_ONE_192	keep
	\keep		0, 0, 12, 9, 0
	STEPS_ONE_192	\keep, 1, 2, 1, 11, 9, 1, 2, 10, 10, 0, 3, 9, 10, 1
	STEPS_ONE_192	\keep, 3, 4, 4, 8, 11, 0, 5, 7, 11, 1, 6, 6, 12, 0
	STEPS_ONE_192	\keep, 5, 6, 7, 5, 12, 1, 8, 4, 13, 0, 9, 3, 13, 1
	STEPS_ONE_192	\keep, 7, 8, 10, 2, 14, 0, 11, 1, 14, 1, 12, 0, 15, 0
.endm

.macro	EVEN_ONE_256	keep, j, i, back, reg
	EVEN_256	x, 6, 4, 0, 7, \j
	\keep		0, \i, \back, \reg, 0
.endm
.macro	ODD_ONE_256	keep, j, i, back, reg
	ODD_256		x, 6, 5, 0, 7, \j
	\keep		0, \i, \back, \reg, 1
.endm
.macro	EXPAND_ONE_256	keep
	OPEN_256	x, 0, 1, 4, 5, 6, 7
	\keep		0, 0, 14, 8, 0
	\keep		1, 1, 13, 8, 1
	EVEN_ONE_256	\keep, 1, 2, 12, 9
	ODD_ONE_256	\keep, 1, 3, 11, 9
	EVEN_ONE_256	\keep, 2, 4, 10, 10
	ODD_ONE_256	\keep, 2, 5, 9, 10
	EVEN_ONE_256	\keep, 3, 6, 8, 11
	ODD_ONE_256	\keep, 3, 7, 7, 11
	EVEN_ONE_256	\keep, 4, 8, 6, 12
	ODD_ONE_256	\keep, 4, 9, 5, 12
	EVEN_ONE_256	\keep, 5, 10, 4, 13
	ODD_ONE_256	\keep, 5, 11, 3, 13
	EVEN_ONE_256	\keep, 6, 12, 2, 14
	ODD_ONE_256	\keep, 6, 13, 1, 14
	EVEN_ONE_256	\keep, 7, 14, 0, 15
.endm

// ESSIV: xmm4 := the block that the section's first one is chained to, from the IV's key in xmm2, xmm3.
// Clobbers xmm0-xmm3, xmm5, xmm6, %r10.
.macro	ENCRYPT_IV
	vmovdqu		START_IV(START), %xmm4
	mov		START_FIRST(START), %r10
	test		%r10, %r10
	jz		.Lchained\@
	ENCRYPT256_V	x, 2, 3, 0, 1, 5, 6, 4
.Lchained\@:
.endm
