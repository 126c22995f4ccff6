// SPDX-License-Identifier: GPL-2.0-or-later
//
// For tests only, never in the module: the code of all modes under a key given in memory, since the
// published vectors name keys, and F yields no chosen key.
//
// void tresor_aesni_raw_<mode><size>_<dir>(const u8 *unused, const u8 key[64], const struct start *start,
//					    u8 *dst, const u8 *src, u64 len);
//
// \key is laid out as the inputs of struct volume_key.

.macro	NO_MORE		registers:vararg
.endm

.macro	RAW_REQUEST	name, mode, size, data:vararg
	ROUTINE		tresor_aesni_raw_\name
	LOAD_KEYS	\mode, \size, NO_MORE
	\data
	WIPE
	RETURN
	END_ROUTINE	tresor_aesni_raw_\name
.endm

.macro	RAW_CBC		mode, size, dir
	RAW_REQUEST	\mode\size\()_\dir, \mode, \size, CBC_DATA_\dir \mode, \size
.endm

.irp size, 128,192,256
	RAW_REQUEST	ctr\size, ctr, \size, CTR_DATA \size
.irp dir, enc,dec
	RAW_REQUEST	ecb\size\()_\dir, ecb, \size, ECB_DATA \size, \dir
	RAW_CBC		cbc, \size, \dir
	RAW_CBC		essiv, \size, \dir
.endr
.endr
.irp size, 128,256
.irp dir, enc,dec
	RAW_REQUEST	xts\size\()_\dir, xts, \size, XTS_DATA \size, \dir
.endr
.endr

// u32 tresor_aesni_unwiped_xts256_enc(..): as tresor_aesni_xts256_enc, but without the wipe. The
// control for the test that looks for secrets in the registers after a routine.
	ROUTINE		tresor_aesni_unwiped_xts256_enc
	DERIVE		xts, 256, .Lunwiped
	XTS_DATA	256, enc
	xor		%eax, %eax
	RETURN
.Lunwiped:
	mov		$1, %eax
	RETURN
	END_ROUTINE	tresor_aesni_unwiped_xts256_enc
