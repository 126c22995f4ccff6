// SPDX-License-Identifier: GPL-2.0-or-later
//
// For tests only, never in the module: the modes of modes.S under a key in memory, as in aesni/raw.S.

.macro	WIPE_x
	WIPE_AVX
.endm
.macro	WIPE_y
	WIPE_AVX
.endm
.macro	WIPE_z
	WIPE_AVX512
.endm

.macro	RAW_MODE_REQUEST engine, v, name, keys, data:vararg
	ROUTINE		tresor_\engine\()_raw_\name
	KEYS_\keys	LOAD_OUTPUTS, none
	\data
	WIPE_\v
	RETURN
	END_ROUTINE	tresor_\engine\()_raw_\name
.endm

	MODES		RAW_MODE_REQUEST, aesni_avx, x
	MODES		RAW_MODE_REQUEST, vaes_avx2, y
	.set		THREE_OPERANDS, 1
	MODES		RAW_MODE_REQUEST, vaes_avx512, z
	.set		THREE_OPERANDS, 0
