// SPDX-License-Identifier: GPL-2.0-or-later
//
// For tests only, never in the module: the code of the variants with AVX under a key given in memory, as
// in aesni/raw.S.

.macro	WIPE_x
	WIPE_AVX
.endm
.macro	WIPE_y
	WIPE_AVX
.endm
.macro	WIPE_z
	WIPE_AVX512
.endm

// As DERIVE_<size>_<v>.
.macro	LOAD_KEYS_128_x
	LOAD_OUTPUTS	none, 0, 1
.endm
.macro	LOAD_KEYS_256_x
	LOAD_OUTPUTS	none, 0, 1, 2, 3
.endm
.macro	LOAD_KEYS_128_y
	vmovdqu		KEY_INPUTS(KEY), %ymm0
.endm
.macro	LOAD_KEYS_256_y
	vmovdqu		KEY_INPUTS(KEY), %xmm0
	vinserti128	$1, KEY_INPUTS+32(KEY), %ymm0, %ymm0
	vmovdqu		KEY_INPUTS+16(KEY), %xmm1
	vinserti128	$1, KEY_INPUTS+48(KEY), %ymm1, %ymm1
.endm
.macro	LOAD_KEYS_128_z
	LOAD_KEYS_128_y
.endm
.macro	LOAD_KEYS_256_z
	LOAD_KEYS_256_y
.endm

.macro	RAW_XTS		engine, v, size, dir
	ROUTINE		tresor_\engine\()_raw_xts\size\()_\dir
	LOAD_KEYS_\size\()_\v
	DATA_\v		\size, \dir
	WIPE_\v
	RETURN
	END_ROUTINE	tresor_\engine\()_raw_xts\size\()_\dir
.endm

.macro	RAW_MODE_REQUEST engine, v, name, keys, data:vararg
	ROUTINE		tresor_\engine\()_raw_\name
	KEYS_\keys	LOAD_OUTPUTS, none
	\data
	WIPE_\v
	RETURN
	END_ROUTINE	tresor_\engine\()_raw_\name
.endm

// u32 tresor_<engine>_unwiped_xts256_enc(..): as tresor_<engine>_xts256_enc, but without the wipe.
.macro	UNWIPED		engine, v, derive
	ROUTINE		tresor_\engine\()_unwiped_xts256_enc
	\derive		.Lunwiped_\engine
	DATA_\v		256, enc
	xor		%eax, %eax
	RETURN
.Lunwiped_\engine:
	mov		$1, %eax
	RETURN
	END_ROUTINE	tresor_\engine\()_unwiped_xts256_enc
.endm

.macro	RAW_VARIANT	engine, v, derive
	RAW_XTS		\engine, \v, 128, enc
	RAW_XTS		\engine, \v, 128, dec
	RAW_XTS		\engine, \v, 256, enc
	RAW_XTS		\engine, \v, 256, dec
	MODES		RAW_MODE_REQUEST, \engine, \v
	UNWIPED		\engine, \v, \derive
.endm

	RAW_VARIANT	aesni_avx, x, DERIVE_256_x
	RAW_VARIANT	vaes_avx2, y, DERIVE_256_y
	.set		THREE_OPERANDS, 1
	RAW_VARIANT	vaes_avx512, z, DERIVE_256_y
	.set		THREE_OPERANDS, 0
