// SPDX-License-Identifier: GPL-2.0-or-later
//
// For tests only, never in the module: as aesni/xts_raw.S. The key is loaded as in vaes_avx2/xts_raw.S.

.macro	RAW_XTS_512	size, dir
	ROUTINE		tresor_vaes_avx512_raw_xts\size\()_\dir
	LOAD_KEY_\size\()_y
	DATA_512	\size, \dir
	WIPE_AVX512
	RETURN
	END_ROUTINE	tresor_vaes_avx512_raw_xts\size\()_\dir
.endm

	RAW_XTS_512	128, enc
	RAW_XTS_512	128, dec
	RAW_XTS_512	256, enc
	RAW_XTS_512	256, dec

// As tresor_vaes_avx512_xts256_enc, but without the wipe.
	ROUTINE		tresor_vaes_avx512_unwiped_xts256_enc
	DERIVE_256_y	.Lunwiped_512
	DATA_512	256, enc
	xor		%eax, %eax
	RETURN
.Lunwiped_512:
	mov		$1, %eax
	RETURN
	END_ROUTINE	tresor_vaes_avx512_unwiped_xts256_enc
