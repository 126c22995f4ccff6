// SPDX-License-Identifier: GPL-2.0-or-later
//
// For tests only, never in the module: as aesni/xts_raw.S.

.macro	LOAD_KEY_256_x
	vmovdqu		0(KEY), %xmm0
	vmovdqu		16(KEY), %xmm1
	vmovdqu		32(KEY), %xmm2
	vmovdqu		48(KEY), %xmm3
.endm

.macro	LOAD_KEY_128_x
	vmovdqu		0(KEY), %xmm0
	vmovdqu		16(KEY), %xmm1
.endm

.macro	RAW_XTS_x	size, dir
	ROUTINE		tresor_aesni_avx_raw_xts\size\()_\dir
	LOAD_KEY_\size\()_x
	DATA_x		\size, \dir
	WIPE_AVX
	RETURN
	END_ROUTINE	tresor_aesni_avx_raw_xts\size\()_\dir
.endm

	RAW_XTS_x	128, enc
	RAW_XTS_x	128, dec
	RAW_XTS_x	256, enc
	RAW_XTS_x	256, dec

// As tresor_aesni_avx_xts256_enc, but without the wipe.
	ROUTINE		tresor_aesni_avx_unwiped_xts256_enc
	DERIVE_256_x	.Lunwiped_x
	DATA_x		256, enc
	xor		%eax, %eax
	RETURN
.Lunwiped_x:
	mov		$1, %eax
	RETURN
	END_ROUTINE	tresor_aesni_avx_unwiped_xts256_enc
