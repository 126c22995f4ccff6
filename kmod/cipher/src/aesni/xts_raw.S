// SPDX-License-Identifier: GPL-2.0-or-later
//
// For tests only, never in the module: the XTS code above under a key given in memory, since the
// published vectors name keys, and F yields no chosen key.
//
// void tresor_aesni_raw_xts<size>_<dir>(const u8 *unused, const u8 *key, const struct start *start,
//					 u8 *dst, const u8 *src, u64 len);
//
// \key is K1 and K2, 32 or 64 bytes.

.macro	LOAD_KEY_256
	movdqu		0(KEY), %xmm9
	movdqu		16(KEY), %xmm10
	movdqu		32(KEY), %xmm1
	movdqu		48(KEY), %xmm2
.endm

.macro	LOAD_KEY_128
	movdqu		0(KEY), %xmm9
	movdqu		16(KEY), %xmm1
.endm

.macro	RAW_XTS		size, dir
	ROUTINE		tresor_aesni_raw_xts\size\()_\dir
	LOAD_KEY_\size
	DATA		\size, \dir
	WIPE
	RETURN
	END_ROUTINE	tresor_aesni_raw_xts\size\()_\dir
.endm

	RAW_XTS		128, enc
	RAW_XTS		128, dec
	RAW_XTS		256, enc
	RAW_XTS		256, dec

// u32 tresor_aesni_unwiped_xts256_enc(..): as tresor_aesni_xts256_enc, but without the wipe. The
// control for the test that looks for secrets in the registers after a routine.
	ROUTINE		tresor_aesni_unwiped_xts256_enc
	DERIVE_256	.Lunwiped
	DATA		256, enc
	xor		%eax, %eax
	RETURN
.Lunwiped:
	mov		$1, %eax
	RETURN
	END_ROUTINE	tresor_aesni_unwiped_xts256_enc
