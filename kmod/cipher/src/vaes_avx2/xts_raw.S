// SPDX-License-Identifier: GPL-2.0-or-later
//
// For tests only, never in the module: as aesni/xts_raw.S.

.macro	LOAD_KEY_256_y
	vmovdqu		0(KEY), %xmm0
	vinserti128	$1, 32(KEY), %ymm0, %ymm0
	vmovdqu		16(KEY), %xmm1
	vinserti128	$1, 48(KEY), %ymm1, %ymm1
.endm

.macro	LOAD_KEY_128_y
	vmovdqu		0(KEY), %ymm0
.endm

.macro	RAW_XTS_y	size, dir
	ROUTINE		tresor_vaes_avx2_raw_xts\size\()_\dir
	LOAD_KEY_\size\()_y
	DATA_y		\size, \dir
	WIPE_AVX
	RETURN
	END_ROUTINE	tresor_vaes_avx2_raw_xts\size\()_\dir
.endm

	RAW_XTS_y	128, enc
	RAW_XTS_y	128, dec
	RAW_XTS_y	256, enc
	RAW_XTS_y	256, dec

// As tresor_vaes_avx2_xts256_enc, but without the wipe.
	ROUTINE		tresor_vaes_avx2_unwiped_xts256_enc
	DERIVE_256_y	.Lunwiped_y
	DATA_y		256, enc
	xor		%eax, %eax
	RETURN
.Lunwiped_y:
	mov		$1, %eax
	RETURN
	END_ROUTINE	tresor_vaes_avx2_unwiped_xts256_enc
