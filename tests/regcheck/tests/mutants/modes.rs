// SPDX-License-Identifier: GPL-2.0-or-later

//! Edits of ciphertext stealing and of the modes other than XTS.

use regcheck::Rule;

use super::Mutant;

macro_rules! mutants {
    ($($name:literal, $rule:ident, $file:literal, $routine:literal: $anchor:literal => $replacement:literal;)*) => {
        /// Mutants of what a mode may store, and of what goes with it.
        pub const MODES: &[Mutant] = &[$(Mutant {
            name: $name,
            file: $file,
            anchor: $anchor,
            replacement: $replacement,
            rule: Rule::$rule,
            routine: $routine,
        }),*];
    };
}

mutants! {
    // Ciphertext stealing.
    "the block that is stolen from is stored whole", Stores, "xts.S", "tresor_aesni_xts256_enc":
        "	pshufb		%xmm3, %xmm4		//" => "	//";
    "one byte of what is stolen is stored", Stores, "xts.S", "tresor_aesni_xts128_dec":
        "	.byte		-16, -15, -14, -13," => "	.byte		-15, -15, -14, -13,";
    "what is not stolen goes to the front", Stores, "xts.S", "tresor_aesni_xts128_enc":
        "	movdqu		%xmm4, (DST, TAIL)\n" => "	movdqu		%xmm4, (DST)\n";
    "the shuffle is one of another length", Stores, "xts.S", "tresor_aesni_xts256_dec":
        "	paddb		.Lfrom_minus_16(%rip), %xmm3\t//" => "	paddb		.Lfrom_minus_16(%rip), %xmm3\n	paddb		.Lfrom_0(%rip), %xmm3\t//";
    "a text with a part of a block goes through the groups", Stores, "xts.S", "tresor_aesni_xts256_enc":
        "	and		$15, TAIL\n	jz		.Lstart\\@\n" => "	and		$15, TAIL\n	test		$1, %r10d\n	jz		.Lstart\\@\n";
    "the tail is used where there may be none", Stores, "xts.S", "tresor_aesni_xts128_enc":
        "	test		TAIL, TAIL\n	jz		.Lall_done\\@\n" => "";
    "a byte behind the text is read", Stores, "xts.S", "tresor_aesni_xts256_dec":
        "	movdqu		-16(SRC, TAIL), %xmm1\n" => "	movdqu		-15(SRC, TAIL), %xmm1\n";
    "a byte behind the text is written", Stores, "xts.S", "tresor_aesni_xts256_dec":
        "	movdqu		%xmm4, (DST, TAIL)\n" => "	movdqu		%xmm4, 1(DST, TAIL)\n";
    "the block made of what was stolen is stored as it is", Stores, "xts.S", "tresor_aesni_xts256_enc":
        "	LONE_BLOCK	\\size, \\dir, 12\n" => "";
    "no whole block is kept from the groups", Stores, "xts.S", "tresor_aesni_xts128_dec":
        "	add		$16, TAIL\n" => "";
    "the block that is stolen from lacks its last tweak", Stores, "xts.S", "tresor_aesni_xts256_dec":
        "	LAST_ROUND_\\dir 15, 0\n	pxor		%xmm\\tweak, %xmm0\n" => "	LAST_ROUND_\\dir 15, 0\n";
    "aesni_avx: the block that is stolen from is stored whole", Stores, "avx/steal.S", "tresor_aesni_avx_xts256_enc":
        "	vmovdqu		%xmm4, (DST, TAIL)\n" => "	vmovdqu		%xmm0, (DST, TAIL)\n";
    "vaes_avx2: all of its bytes are moved, none dropped", Stores, "avx/steal.S", "tresor_vaes_avx2_xts128_enc":
        "	vpshufb		%xmm3, %xmm0, %xmm4		//" => "	vpshufb		%xmm2, %xmm0, %xmm4		//";
    "vaes_avx512: a text with a part of a block goes through the groups", Stores, "avx/steal.S", "tresor_vaes_avx512_xts256_dec":
        "	sub		TAIL, LEN\n" => "";

    // ECB, and all groups.
    "ECB: a block is stored before its last round", Stores, "modes.S", "tresor_aesni_ecb128_enc":
        "	LAST_ROUND_\\dir 15, \\i\n" => "";
    "ECB: a block meets no first key", Stores, "modes.S", "tresor_aesni_ecb256_dec":
        "	pxor		%xmm9, %xmm\\i\n	FIRST" => "	FIRST";
    "ECB: text is stored that met no key", Stores, "modes.S", "tresor_aesni_ecb128_dec":
        "	movdqu		%xmm0, (DST)\n.irp i, 1,2,3,4,5,6\n" => "	movdqu		(SRC), %xmm0\n	movdqu		%xmm0, (DST)\n.irp i, 1,2,3,4,5,6\n";
    "half of a longer key is left out", Stores, "request.S", "tresor_aesni_ecb256_enc":
        "	movdqu		KEY_INPUTS+16(KEY), %xmm10\n" => "	movdqu		KEY_INPUTS(KEY), %xmm10\n";
    "AES-192: a round of encryption is forgotten", Stores, "schedule192.S", "tresor_aesni_ecb192_enc":
        "	LOW_HALVES	11, 15\n	ROUND		aesenc, 15\n" => "	LOW_HALVES	11, 15\n";
    "AES-192: a round of decryption is forgotten", Stores, "schedule192.S", "tresor_aesni_cbc192_dec":
        "	LOW_HALVES	12, 15\n	MIDDLE_ROUND	15, 13\n" => "	LOW_HALVES	12, 15\n";
    "AES-192: a counter passes one round more", Stores, "schedule192.S", "tresor_aesni_ctr192":
        "	LOW_HALVES	11, 15\n	ROUND		aesenc, 15\n" => "	LOW_HALVES	11, 15\n	ROUND		aesenc, 15\n	ROUND		aesenc, 15\n";

    // CBC.
    "CBC: a decrypted block is stored without the one before", Stores, "modes.S", "tresor_aesni_cbc128_dec":
        "	pxor		%xmm8, %xmm0\n	movdqu		%xmm0, (DST)\n	movdqa		%xmm12" => "	movdqu		%xmm0, (DST)\n	movdqa		%xmm12";
    "CBC: the block before goes in before the rounds of decryption", Stores, "modes.S", "tresor_aesni_cbc256_dec":
        "	pxor		%xmm9, %xmm\\i\n	FIRST" => "	pxor		%xmm8, %xmm\\i\n	pxor		%xmm9, %xmm\\i\n	FIRST";
    "CBC: a block is encrypted that is chained to nothing", Stores, "chain.S", "tresor_aesni_cbc128_enc":
        "	movdqu		(SRC), %xmm1\n	pxor		%xmm1, %xmm0\n" => "	movdqu		(SRC), %xmm0\n";
    "CBC: the block before is encrypted without text", Stores, "chain.S", "tresor_aesni_cbc192_enc":
        "	movdqu		(SRC), %xmm1\n	pxor		%xmm1, %xmm0\n" => "";
    "CBC: a round key is stored", Stores, "chain.S", "tresor_aesni_cbc256_enc":
        "	movdqu		%xmm0, (DST)\n" => "	movdqu		%xmm15, (DST)\n";
    "CBC: a block is stored one round early", Stores, "chain.S", "tresor_aesni_cbc128_enc":
        "	aesenclast	%xmm12, %xmm0\n" => "";
    "CBC: the round key made on the way is left out", Stores, "chain.S", "tresor_aesni_essiv256_enc":
        "	aesenc		%xmm1, %xmm0\n" => "";
    "CBC: a block behind the end of the text is stored", Stores, "chain.S", "tresor_aesni_cbc128_enc":
        "	jnz		.Lchain\\@\n" => "	jnz		.Lchain\\@\n	movdqu		%xmm0, (DST)\n";
    "vaes_avx2, CBC: a decrypted block is stored without the one before", Stores, "avx/modes.S", "tresor_vaes_avx2_cbc192_dec":
        "	XOR_V		%\\w\\()mm\\t, %\\w\\()mm\\i, %\\w\\()mm\\i\n" => "";
    "vaes_avx512, CBC: a block is encrypted that is chained to nothing", Stores, "avx/modes.S", "tresor_vaes_avx512_cbc256_enc":
        "	XOR_V		(SRC), \\key, %xmm\\i\n	vpxor		%xmm\\t, %xmm\\i, %xmm\\i\n" => "	XOR_V		(SRC), \\key, %xmm\\i\n";

    // ESSIV.
    "ESSIV: the encrypted IV is stored", Stores, "modes.S", "tresor_aesni_essiv256_enc":
        "	ENCRYPT256	1, 2, 3, \\x\n" => "	ENCRYPT256	1, 2, 3, \\x\n	movdqu		%xmm\\x, (DST)\n";
    "ESSIV: the IV is encrypted under the data's key", Stores, "modes.S", "tresor_aesni_essiv256_dec":
        "	ENCRYPT256	1, 2, 3, \\x\n" => "	movdqa		%xmm9, %xmm1\n	movdqa		%xmm10, %xmm2\n	ENCRYPT256	1, 2, 3, \\x\n";
    "ESSIV: the IV misses half of its key", Stores, "request.S", "tresor_aesni_essiv128_enc":
        ".ifc \\mode,essiv\n	movdqu		KEY_INPUTS+32(KEY), %xmm1\n" => ".ifc \\mode,essiv\n	movdqu		KEY_INPUTS+48(KEY), %xmm1\n";
    "ESSIV: a branch on the encrypted IV", Timing, "modes.S", "tresor_aesni_essiv192_dec":
        "	ENCRYPT256	1, 2, 3, \\x\n" => "	ENCRYPT256	1, 2, 3, \\x\n	ptest		%xmm\\x, %xmm\\x\n	jz		.Lchained\\@\n";

    // Counter mode.
    "CTR: key stream is stored", Stores, "modes.S", "tresor_aesni_ctr128":
        "	movdqu		16*\\i(SRC), %xmm13\n	pxor		%xmm13, %xmm\\i\n" => "";
    "CTR: text meets the key stream of no text", Stores, "modes.S", "tresor_aesni_ctr192":
        "	movdqu		16*\\i(SRC), %xmm13\n	pxor		%xmm13, %xmm\\i\n" => "	pxor		%xmm13, %xmm13\n	pxor		%xmm13, %xmm\\i\n";
    "CTR: a part is stored with the key stream behind it", Stores, "modes.S", "tresor_aesni_ctr256":
        "	\\store		%xmm13, (DST)\n" => "	movdqu		%xmm13, (DST)\n";
    "CTR: less text is loaded than stored", Stores, "modes.S", "tresor_aesni_ctr256":
        "	\\load		(SRC), %xmm13\n" => "	movd		(SRC), %xmm13\n";
    "CTR: a part is stored that is not there", Stores, "modes.S", "tresor_aesni_ctr128":
        "	cmp		$\\n, LEN\n	jb		.Lfewer\\@\n" => "";
    "CTR: a part is put beside what was in the register", Stores, "modes.S", "tresor_aesni_ctr128":
        "	pxor		%xmm13, %xmm13\n" => "	movdqa		%xmm0, %xmm13\n";
    "CTR: the key stream is summed with itself", Stores, "modes.S", "tresor_aesni_ctr192":
        "	pxor		%xmm0, %xmm13\n	\\store		%xmm13" => "	pxor		%xmm0, %xmm13\n	pxor		%xmm0, %xmm13\n	\\store		%xmm13";
    "CTR: a counter is not encrypted", Stores, "modes.S", "tresor_aesni_ctr256":
        "	pxor		%xmm9, %xmm\\i\n	FIRST" => "	movdqa		%xmm8, %xmm\\i\n	FIRST";
    "CTR: a branch on key stream", Timing, "modes.S", "tresor_aesni_ctr256":
        ".Lpart\\@:\n" => ".Lpart\\@:\n	ptest		%xmm0, %xmm0\n	jz		.Lgroup_done\\@\n.Lgroup_done\\@:\n	nop\n";
    "CTR: key stream goes into a general register", Windows, "modes.S", "tresor_aesni_ctr128":
        ".Lpart\\@:\n" => ".Lpart\\@:\n	movq		%xmm0, %r10\n";
    "CTR: a part from the middle of key stream", Instructions, "modes.S", "tresor_aesni_ctr128":
        "	\\store		$0, %xmm13, (DST)\n" => "	\\store		$1, %xmm13, (DST)\n";
    "vaes_avx512, CTR: key stream is stored", Stores, "avx/modes.S", "tresor_vaes_avx512_ctr256":
        "	XOR_V		BYTES_\\w*\\i(SRC), %\\w\\()mm\\i, %\\w\\()mm\\i\n" => "";
    "vaes_avx2, CTR: a part is stored that is not there", Stores, "avx/modes.S", "tresor_vaes_avx2_ctr128":
        "	jb		.Lno_piece\\@\n" => "";
    "aesni_avx, CTR: a part is stored with the key stream behind it", Stores, "avx/modes.S", "tresor_aesni_avx_ctr192":
        "	vmovq		%xmm1, (DST)\n" => "	vmovdqu		%xmm1, (DST)\n";

    // All modes.
    "a mode's output before the check value was compared", CheckFirst, "request.S", "tresor_aesni_ctr128":
        "	jnz		\\wrong\n" => "";
    "a mode's registers are not wiped", Wiped, "request.S", "tresor_aesni_essiv192_enc":
        ".macro	LEAVE	wrong\n	WIPE\n" => ".macro	LEAVE	wrong\n";
}
