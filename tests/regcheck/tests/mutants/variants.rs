// SPDX-License-Identifier: GPL-2.0-or-later

//! Edits of the wider variants' assembly.

use regcheck::Rule;

use super::Mutant;

macro_rules! mutants {
    ($($name:literal, $rule:ident, $file:literal, $routine:literal: $anchor:literal => $replacement:literal;)*) => {
        /// Mutants of all rules, whose anchors the variants with AVX have.
        pub const VARIANTS: &[Mutant] = &[$(Mutant {
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
    "aesni_avx: the upper halves are not wiped", Wiped, "avx/packed.S", "tresor_aesni_avx_xts256_enc":
        "	vzeroall\n" => "	pxor	%xmm0, %xmm0\n.irp i, 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n	pxor	%xmm\\i, %xmm\\i\n.endr\n";
    "vaes_avx2: one register is not wiped", Wiped, "avx/packed.S", "tresor_vaes_avx2_xts128_dec":
        "	vzeroall\n" => ".irp i, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14\n	vpxor	%xmm\\i, %xmm\\i, %xmm\\i\n.endr\n";
    "vaes_avx512: zmm31 is not wiped", Wiped, "vaes_avx512/xts.S", "tresor_vaes_avx512_xts256_enc":
        "28,29,30,31\n	vpxord" => "28,29,30\n	vpxord";
    "vaes_avx512: zmm16 to zmm31 are not wiped", Wiped, "vaes_avx512/xts.S", "tresor_vaes_avx512_xts128_dec":
        "	vpxord		%xmm\\i, %xmm\\i, %xmm\\i\n" => "	nop\n";
    "vaes_avx512: the lower half alone is wiped", Wiped, "vaes_avx512/xts.S", "tresor_vaes_avx512_xts256_dec":
        "	vpxor		%xmm\\i, %xmm\\i, %xmm\\i\n.endr\n.irp i, 16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n	vpxord		%xmm\\i, %xmm\\i, %xmm\\i\n.endr\n	vzeroupper\n" => "	pxor		%xmm\\i, %xmm\\i\n.endr\n.irp i, 16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n	vpxord		%xmm\\i, %xmm\\i, %xmm\\i\n.endr\n";
    "aesni_avx: a tweak is stored", Stores, "avx/packed.S", "tresor_aesni_avx_xts128_enc":
        "	vmovdqu		%\\v\\()mm\\i, BYTES_\\v * \\i(DST)\n" => "	vmovdqu		%\\v\\()mm\\t, BYTES_\\v * \\i(DST)\n";
    "vaes_avx2: round keys are stored", Stores, "avx/packed.S", "tresor_vaes_avx2_xts256_enc":
        "	vmovdqu		%\\v\\()mm\\i, BYTES_\\v * \\i(DST)\n" => "	vmovdqu		%\\v\\()mm12, BYTES_\\v * \\i(DST)\n";
    "vaes_avx2: the tweak does not go in at the end", Stores, "avx/packed.S", "tresor_vaes_avx2_xts256_dec":
        "	vpxor		%\\v\\()mm\\t, \\key, TMP_\\size\\()_\\v\n" => "	vmovdqa		\\key, TMP_\\size\\()_\\v\n";
    "aesni_avx: a group is stored that is not there", Stores, "avx/packed.S", "tresor_aesni_avx_xts256_dec":
        "	jb		.Lremainder\\@\n" => "";
    "vaes_avx2: two vectors are stored where one may be left", Stores, "avx/packed.S", "tresor_vaes_avx2_xts128_enc":
        "	jb		.Lone\\@\n" => "";
    "vaes_avx2: tweaks without one of their parts", Stores, "vaes_avx2/xts.S", "tresor_vaes_avx2_xts128_enc":
        "	vpxor		\\u, \\t, \\t\n	vpxor		\\c, \\t, \\t\n" => "	vpxor		\\u, \\t, \\t\n";
    "vaes_avx512: a tweak is stored", Stores, "vaes_avx512/xts.S", "tresor_vaes_avx512_xts256_enc":
        "	vmovdqu64	%zmm\\i, 64*\\i(DST)\n" => "	vmovdqu64	TW\\i, 64*\\i(DST)\n";
    "vaes_avx512: a round key is stored", Stores, "vaes_avx512/xts.S", "tresor_vaes_avx512_xts128_enc":
        "	vmovdqu64	%zmm\\i, 64*\\i(DST)\n" => "	vmovdqu64	RK1, 64*\\i(DST)\n";
    "vaes_avx512: a masked store with another vector's mask", Stores, "vaes_avx512/xts.S", "tresor_vaes_avx512_xts256_enc":
        "	kmovq		%r10, %k1\n	shr		$8, %r10\n" => "	kmovq		%r10, %k1\n";
    "vaes_avx512: a masked store one vector behind the mask", Stores, "vaes_avx512/xts.S", "tresor_vaes_avx512_xts256_dec":
        "64*\\i(DST){%k1}" => "64*\\i+64(DST){%k1}";
    "vaes_avx512: the last part is stored without its mask", Stores, "vaes_avx512/xts.S", "tresor_vaes_avx512_xts128_dec":
        "64*\\i(DST){%k1}" => "64*\\i(DST)";
    "vaes_avx512: a mask of one quadword too many", Stores, "vaes_avx512/xts.S", "tresor_vaes_avx512_xts128_enc":
        "	shr		$3, %r11\n" => "	shr		$3, %r11\n	inc		%r11\n";
    "vaes_avx512: the mask of a length that may be 512 or more", Stores, "vaes_avx512/xts.S", "tresor_vaes_avx512_xts256_enc":
        "	jb		.Lno_group\\@\n" => "	jae		.Lno_group\\@\n";
    "vaes_avx512: the next tweaks without one of their parts", Stores, "vaes_avx512/tweaks.S", "tresor_vaes_avx512_xts256_enc":
        "	vpxord		%zmm\\u, %zmm\\q, %zmm\\q\n" => "";
    "vaes_avx512: the next tweaks without their lowest bytes", Stores, "vaes_avx512/tweaks.S", "tresor_vaes_avx512_xts128_dec":
        "	vpalignr	$9, %zmm\\x, %zmm\\x, \\t3{%k2}\n" => "";
    "vaes_avx512: the next tweaks with lowest bytes of others", Stores, "vaes_avx512/tweaks.S", "tresor_vaes_avx512_xts256_dec":
        "	vpalignr	$9, %zmm\\x, %zmm\\x, \\t3{%k2}\n" => "	vpalignr	$10, %zmm\\x, %zmm\\x, \\t3{%k2}\n";
    "vaes_avx512: the next tweaks with bytes of others by another mask", Stores, "vaes_avx512/tweaks.S", "tresor_vaes_avx512_xts128_enc":
        "LOWEST_BYTES, 0x0001000100010001" => "LOWEST_BYTES, 0x0001000100010003";
    "vaes_avx512: the lowest bytes of the next tweaks by quadwords", Stores, "vaes_avx512/tweaks.S", "tresor_vaes_avx512_xts256_enc":
        "	vpaddb		%zmm\\x, %zmm\\x, %zmm\\s\n" => "	vpaddq		%zmm\\x, %zmm\\x, %zmm\\s\n";
    "vaes_avx512: the next tweaks from a tweak itself", Stores, "vaes_avx512/tweaks.S", "tresor_vaes_avx512_xts128_dec":
        "	vpalignr	$1, \\t1, \\t1, \\t0{%k2}\n" => "";
    "vaes_avx512: a tweak times a power without one of the products", Stores, "vaes_avx512/tweaks.S", "tresor_vaes_avx512_xts256_enc":
        "	vpxor		%xmm\\m, %xmm\\t, %xmm\\m\n" => "";
    "vaes_avx512: a tweak times a power without its upper half", Stores, "vaes_avx512/tweaks.S", "tresor_vaes_avx512_xts128_dec":
        "	vpclmulqdq	$0x00, %xmm\\x, %xmm\\h, %xmm\\x\n	vpxor		%xmm\\l, %xmm\\x, %xmm\\x\n" => "	vmovdqa		%xmm\\l, %xmm\\x\n";
    "vaes_avx512: a tweak times a power, folded once", Stores, "vaes_avx512/tweaks.S", "tresor_vaes_avx512_xts128_enc":
        "	vpxor		%xmm\\m, %xmm\\h, %xmm\\h\n	vpclmulqdq	$0x00" => "	vpclmulqdq	$0x00";
    "vaes_avx512: the next tweaks from bytes that are not whole", Stores, "vaes_avx512/tweaks.S", "tresor_vaes_avx512_xts256_dec":
        "	vpalignr	$9, %zmm\\q, \\t0, \\t3\n" => "	vpalignr	$8, %zmm\\q, \\t0, \\t3\n";
    "vaes_avx512: the last part is loaded without its mask", Stores, "vaes_avx512/xts.S", "tresor_vaes_avx512_xts256_enc":
        "64*\\i(SRC), %zmm\\i{%k1}{z}" => "64*\\i(SRC), %zmm\\i";
    "the check value is not compared", CheckFirst, "avx/frame.S", "tresor_aesni_avx_xts256_enc":
        "	jnz		\\wrong\n" => "";
    "vaes_avx2: output before the check value was compared", CheckFirst, "avx/frame.S", "tresor_vaes_avx2_xts256_enc":
        "	jnz		\\wrong\n" => "";
    "vaes_avx512: output before the check value was compared", CheckFirst, "avx/frame.S", "tresor_vaes_avx512_xts256_enc":
        "	jnz		\\wrong\n" => "";
    "aesni_avx: the window ends before rax is zeroed", Windows, "avx/frame.S", "tresor_aesni_avx_xts128_dec":
        "	xor		%eax, %eax\n.Lload_shut\\@:\n" => ".Lload_shut\\@:\n	xor		%eax, %eax\n";
    "vaes_avx2: the window begins late", Windows, "avx/frame.S", "tresor_vaes_avx2_xts256_dec":
        ".Lload_open\\@:\n	READ_DR		0\n" => "	READ_DR		0\n.Lload_open\\@:\n";
    "vaes_avx512: a share stays in rax", Windows, "avx/frame.S", "tresor_vaes_avx512_xts128_enc":
        "	xor		%eax, %eax\n.Lload_shut\\@:\n" => ".Lload_shut\\@:\n";
    "aesni_avx: a branch on a tweak", Timing, "aesni_avx/xts.S", "tresor_aesni_avx_xts256_enc":
        "	UNLESS_POWER	.Lfirst\\@\n" => "	vptest	%xmm4, %xmm4\n	jz	.Lfirst\\@\n";
    "vaes_avx2: a branch on a round key", Timing, "vaes_avx2/xts.S", "tresor_vaes_avx2_xts256_enc":
        "	UNLESS_POWER	.Lfirst\\@\n" => "	vptest	%ymm8, %ymm8\n	jz	.Lfirst\\@\n";
    "vaes_avx512: a branch on a tweak", Timing, "vaes_avx512/tweaks.S", "tresor_vaes_avx512_xts128_enc":
        "	UNLESS_POWER	.Lfirst\\@\n" => "	vptest	%ymm2, %ymm2\n	jz	.Lfirst\\@\n";
    "vaes_avx512: an unknown instruction", Instructions, "vaes_avx512/tweaks.S", "tresor_vaes_avx512_xts256_dec":
        "	UNLESS_POWER	.Lfirst\\@\n" => "	vpcompressd	%zmm17, %zmm18\n	UNLESS_POWER	.Lfirst\\@\n";
    "aesni_avx: the block that bytes are stolen from is stored", Stores, "avx/steal.S", "tresor_aesni_avx_xts256_enc":
        "	vpxor		%xmm\\t, %xmm\\i, %xmm\\i\n.endm\n.macro	OPENV_mended" => "	vpxor		%xmm\\t, %xmm\\i, %xmm\\i\n	vmovdqu		%xmm\\i, (DST)\n.endm\n.macro	OPENV_mended";
    "vaes_avx2: stolen bytes are stored behind the text's end", Stores, "avx/steal.S", "tresor_vaes_avx2_xts128_dec":
        "	vmovdqu		%xmm4, (DST, TAIL)\n" => "	vmovdqu		%xmm0, (DST, TAIL)\n";
    "vaes_avx512: all of a text with a part goes to the groups", Stores, "avx/steal.S", "tresor_vaes_avx512_xts256_enc":
        "	sub		TAIL, LEN\n" => "	cmp		TAIL, LEN\n";
    "vaes_avx512: a branch on the tweak of the stolen block", Timing, "avx/steal.S", "tresor_vaes_avx512_xts128_dec":
        "	shr		$4, %r10\n" => "	vptest		%xmm4, %xmm4\n";
    "vaes_avx2: key stream is stored without text", Stores, "avx/modes.S", "tresor_vaes_avx2_ctr256":
        "	XOR_V		BYTES_\\w*\\i(SRC), %\\w\\()mm\\i, %\\w\\()mm\\i\n" => "";
    "vaes_avx512: key stream goes behind the text's end", Stores, "avx/modes.S", "tresor_vaes_avx512_ctr128":
        "	jb		.Lno_piece\\@\n" => "";
    "aesni_avx: a part of a block with the next bytes of key stream", Stores, "avx/modes.S", "tresor_aesni_avx_ctr192":
        "	vmovd		%xmm1, (DST)\n" => "	vmovq		%xmm1, (DST)\n";
    "aesni_avx: a block of CBC is stored without the one before it", Stores, "avx/modes.S", "tresor_aesni_avx_cbc192_dec":
        "	XOR_V		%\\w\\()mm\\t, %\\w\\()mm\\i, %\\w\\()mm\\i\n" => "";
    "vaes_avx2: CBC without a chain", Stores, "avx/modes.S", "tresor_vaes_avx2_cbc128_enc":
        "	vpxor		%xmm\\t, %xmm\\i, %xmm\\i\n.endm\n.macro	CLOSEV_cbcenc" => ".endm\n.macro	CLOSEV_cbcenc";
    "vaes_avx512: AES-192 with one round too few", Stores, "vaes_avx512/xts.S", "tresor_vaes_avx512_ecb192_enc":
        "27,28\n	EACH_OF		\\n, ROUND_BLOCK, \\w, 192" => "27\n	EACH_OF		\\n, ROUND_BLOCK, \\w, 192";
    "aesni_avx: AES-192 with two rounds too few", Stores, "avx/packed.S", "tresor_aesni_avx_ecb192_enc":
        ".irp r, 10,11,12,13,14\n" => ".irp r, 10,11,12,13\n";
    "the key of the IV is stored", Stores, "avx/single.S", "tresor_vaes_avx2_essiv192_dec":
        "	jz		.Lchained\\@\n" => "	vmovdqu		%xmm2, (DST)\n	jz		.Lchained\\@\n";
    "the IV is encrypted under the data's key", Stores, "avx/single.S", "tresor_aesni_avx_essiv128_enc":
        "	\\then		\\wrong, 0, 2, 3\n" => "	\\then		\\wrong, 2, 0, 3\n	vmovdqa		%xmm0, %xmm2\n";
}
