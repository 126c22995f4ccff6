// SPDX-License-Identifier: GPL-2.0-or-later

//! Edits of the engine's assembly that break one rule each.

use regcheck::Rule;

mod modes;
mod variants;
pub use modes::MODES;
pub use variants::VARIANTS;

/// One edit.
pub struct Mutant {
    /// What it does, as a sentence.
    pub name: &'static str,
    /// The file.
    pub file: &'static str,
    /// Text that is there exactly once.
    pub anchor: &'static str,
    /// What takes its place.
    pub replacement: &'static str,
    /// The rule that it breaks.
    pub rule: Rule,
    /// A routine in which it must be found.
    pub routine: &'static str,
}

macro_rules! mutants {
    ($(#[$doc:meta])* $list:ident: $rule:ident; $($name:literal, $file:literal, $routine:literal: $anchor:literal => $replacement:literal;)*) => {
        $(#[$doc])*
        pub const $list: &[Mutant] = &[$(Mutant {
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
    /// Rule 1.
    STORES: Stores;
    "a tweak is stored in place of a block", "xts.S", "tresor_aesni_xts256_enc":
        "%xmm\\turn, 16*\\turn(DST)" => "%xmm8, 16*\\turn(DST)";
    "a round key is stored in place of a block", "xts.S", "tresor_aesni_xts256_dec":
        "%xmm\\turn, 16*\\turn(DST)" => "%xmm15, 16*\\turn(DST)";
    "the kept first round key is stored behind the last block", "xts.S", "tresor_aesni_xts128_enc":
        "	jmp		.Ldata_done\\@\n" => "	movdqu		%xmm9, -16(DST)\n	jmp		.Ldata_done\\@\n";
    "a block is stored before its last round", "xts.S", "tresor_aesni_xts256_enc":
        "	HAND_OVER	\\size, \\dir, 0\n" => "";
    "a block is stored before its tweak went in again", "xts.S", "tresor_aesni_xts128_dec":
        "	pxor		%xmm8, %xmm\\turn\n" => "";
    "a block is stored that met no tweak before its rounds", "xts.S", "tresor_aesni_xts128_enc":
        "	pxor		%xmm12, %xmm\\open\n" => "";
    "one round is forgotten", "groups.S", "tresor_aesni_xts128_enc":
        "	NEXT128		14, 15, 13, 10\n	ROUND		aesenc, 14\n" => "	NEXT128		14, 15, 13, 10\n";
    "one round goes the other way", "groups.S", "tresor_aesni_xts256_dec":
        "	ROUND		aesdec, \\t\n" => "	ROUND		aesenc, \\t\n";
    "K1 and K2 change places", "request.S", "tresor_aesni_xts128_enc":
        "	movdqu		KEY_INPUTS+16(KEY), %xmm1\n"
        => "	movdqa		%xmm9, %xmm1\n	movdqu		KEY_INPUTS+16(KEY), %xmm9\n";
    "the text is masked with half a doubling of a tweak", "xts.S", "tresor_aesni_xts256_enc":
        "	pand		.Lgf128_poly(%rip), %xmm\\t\n	pxor		%xmm\\t, %xmm\\x\n"
        => "	pand		.Lgf128_poly(%rip), %xmm\\t\n";
    "a block behind the end of the text is stored", "xts.S", "tresor_aesni_xts256_enc":
        "	jb		.Ldata_done\\@\n" => "";
    "a block before the start of the text is stored", "xts.S", "tresor_aesni_xts256_enc":
        "	movdqu		%xmm0, (DST)\n" => "	movdqu		%xmm0, -16(DST)\n";
    "the text's length may wrap around", "xts.S", "tresor_aesni_xts128_dec":
        "	cmp		$128, LEN\n	jb		.Lstore_some\\@\n" => "	test		$1, LEN\n	jnz		.Lstore_some\\@\n";
    "the text's length is only counted in 32 bits", "xts.S", "tresor_aesni_xts256_enc":
        "	sub		$128, LEN\n	jnz		.Lstart\\@\n" => "	sub		$128, %r9d\n	jnz		.Lstart\\@\n";
    "a round key is shifted away by a register and stored", "xts.S", "tresor_aesni_xts256_enc":
        "	movdqu		%xmm0, (DST)\n" => "	pxor		%xmm1, %xmm1\n	psllq		%xmm1, %xmm9\n	movdqu		%xmm9, (DST)\n";
    "a secret is stored into the share's line", "request.S", "tresor_aesni_check":
        ".macro	LEAVE	wrong\n" => ".macro	LEAVE	wrong\n	movdqu		%xmm13, 32(SHARE)\n";
    "a secret is stored into the source", "xts.S", "tresor_aesni_xts256_enc":
        "	movdqu		%xmm0, (DST)\n" => "	movdqu		%xmm0, (SRC)\n";
    "half a register is spilt with movq", "xts.S", "tresor_aesni_xts256_enc":
        "	movdqu		%xmm0, (DST)\n" => "	movdqu		%xmm0, (DST)\n	movq		%xmm12, (DST)\n";
    "a quadword is spilt with pextrq", "xts.S", "tresor_aesni_xts256_enc":
        "	movdqu		%xmm0, (DST)\n" => "	movdqu		%xmm0, (DST)\n	pextrq		$1, %xmm12, (DST)\n";
    "a wide register is stored whose upper half is a key", "xts.S", "tresor_aesni_xts256_enc":
        "	jmp		.Ldata_done\\@\n"
        => "	vinserti128	$1, %xmm9, %ymm0, %ymm0\n	vmovdqu		%ymm0, -32(DST)\n	jmp		.Ldata_done\\@\n";
    "a secret is stored beside the constants", "request.S", "tresor_aesni_give_pad":
        ".macro	LEAVE	wrong\n" => ".macro	LEAVE	wrong\n	movdqu		%xmm8, .Lgf128_poly(%rip)\n";
    "the share is changed without lock", "frame.S", "tresor_aesni_refresh":
        "	lock xorq	%rax, \\offset(%rdi)\n" => "	xorq		%rax, \\offset(%rdi)\n";
    "the share gets another word than the registers", "key.S", "tresor_aesni_refresh":
        "	ADD_TO_SHARE	1, 1, 8\n" => "	ADD_TO_SHARE	1, 0, 8\n";
    "the registers get another half than the share", "key.S", "tresor_aesni_refresh":
        "	pxor		%xmm1, %xmm10\n" => "	pxor		%xmm2, %xmm10\n";
    "M itself goes into the debug registers", "key.S", "tresor_aesni_arm":
        "	pxor		16(SHARE), %xmm11\n	STORE_DR	10, 11\n	movdqa"
        => "	STORE_DR	10, 14\n	movdqa";
    "M is handed over without the pad", "key.S", "tresor_aesni_give_masked":
        "	pxor		%xmm8, %xmm1\n	pxor		%xmm9, %xmm2\n" => "	movdqa		%xmm8, %xmm1\n	movdqa		%xmm9, %xmm2\n";
    "the check value is stored before its last round", "key.S", "tresor_aesni_peek_check":
        "	ENCRYPT256	13, 14, 15, 0\n	movdqu		%xmm0, (%rsi)\n" => "	pxor		%xmm13, %xmm0\n	movdqu		%xmm0, (%rsi)\n";
}

mutants! {
    /// Rule 2.
    FLOW: Flow;
    "a push and a pop", "request.S", "tresor_aesni_check":
        ".macro	LEAVE	wrong\n" => ".macro	LEAVE	wrong\n	push		%r10\n	pop		%r10\n";
    "a call", "xts.S", "tresor_aesni_xts128_enc":
        "	PREPARE_\\size\\()_\\dir\n" => "	PREPARE_\\size\\()_\\dir\n	call		tresor_aesni_wipe\n";
    "an indirect jump", "xts.S", "tresor_aesni_xts256_enc":
        "	jmp		.Lgroup\\@\n" => "	lea		.Lgroup\\@(%rip), %r10\n	jmp		*%r10\n";
    "a plain return", "frame.S", "tresor_aesni_wipe":
        "	jmp		__x86_return_thunk\n" => "	ret\n";
    "a jump into another routine", "key.S", "tresor_aesni_take_masked":
        "	jmp		.Ltake_masked_wrong\n" => "	jmp		tresor_aesni_wipe\n";
    "a red zone below the stack", "request.S", "tresor_aesni_check":
        ".macro	LEAVE	wrong\n" => ".macro	LEAVE	wrong\n	movdqu		%xmm14, -32(%rsp)\n";
    "a store to the stack through another register", "request.S", "tresor_aesni_xts256_enc":
        ".macro	LEAVE	wrong\n" => ".macro	LEAVE	wrong\n	mov		%rsp, %r10\n	movdqu		%xmm9, -32(%r10)\n";
    "a register of the caller's is changed", "xts.S", "tresor_aesni_xts256_enc":
        "	movdqu		START_IV(START), %xmm8\n" => "	movdqu		START_IV(START), %xmm8\n	xor		%ebx, %ebx\n";
    "the end is fallen off", "key.S", "tresor_aesni_peek_check":
        "	movdqu		%xmm0, (%rsi)\n	WIPE\n	RETURN\n" => "	movdqu		%xmm0, (%rsi)\n	WIPE\n";
}

mutants! {
    /// Rule 3.
    TIMING: Timing;
    "a branch on a round key", "xts.S", "tresor_aesni_xts256_enc":
        "	PREPARE_\\size\\()_\\dir\n"
        => "	PREPARE_\\size\\()_\\dir\n	ptest		%xmm9, %xmm9\n	jz		.Ldata_done\\@\n";
    "a branch on a tweak's bit", "xts.S", "tresor_aesni_xts128_enc":
        "	TIMES_POWER\n// Of" => "	TIMES_POWER\n	ptest		.Lgf128_poly(%rip), %xmm8\n	jnc		.Lstart\\@\n// Of";
    "an address made from a share", "frame.S", "tresor_aesni_xts256_enc":
        "	movq		%rax, %xmm\\lo\n" => "	movq		%rax, %xmm\\lo\n	movdqu		(%rdi,%rax), %xmm\\hi\n";
    "only 8 of 16 bytes of the check value are compared", "request.S", "tresor_aesni_check":
        "	movdqu		\\expected, %xmm\\t\n" => "	movq		\\expected, %xmm\\t\n	movq		%xmm\\x, %xmm\\x\n";
    "some bits of the check value are masked out", "request.S", "tresor_aesni_xts128_dec":
        "	ptest		%xmm\\x, %xmm\\x\n" => "	pand		.Lnot_w0(%rip), %xmm\\x\n	ptest		%xmm\\x, %xmm\\x\n";
    "the check value is compared with a constant", "request.S", "tresor_aesni_give_pad":
        "	movdqu		\\expected, %xmm\\t\n" => "	movdqa		.Lgf128_poly(%rip), %xmm\\t\n";
    "common bits of both check values are tested, not their difference", "request.S", "tresor_aesni_check":
        "	pxor		%xmm\\t, %xmm\\x\n	ptest		%xmm\\x, %xmm\\x\n" => "	ptest		%xmm\\t, %xmm\\x\n";
    "the comparison looks at another flag", "request.S", "tresor_aesni_refresh":
        "	jnz		\\wrong\n" => "	jnc		\\wrong\n";
    "something else than the check input is encrypted and compared", "request.S", "tresor_aesni_xts256_enc":
        "ENCRYPT256, 13, 14, 15, 0\n" => "ENCRYPT256, 13, 14, 15, 0\n	movdqa		%xmm9, %xmm0\n";
}

mutants! {
    /// Rule 4.
    INSTRUCTIONS: Instructions;
    "rdtsc", "request.S", "tresor_aesni_check": ".macro	LEAVE	wrong\n" => ".macro	LEAVE	wrong\n	rdtsc\n";
    "aeskeygenassist", "xts.S", "tresor_aesni_xts256_enc":
        "	TIMES_POWER\n// Of" => "	TIMES_POWER\n	aeskeygenassist	$1, %xmm9, %xmm13\n// Of";
    "prefetch", "xts.S", "tresor_aesni_xts256_enc":
        "	TIMES_POWER\n// Of" => "	TIMES_POWER\n	prefetcht0	(SRC)\n// Of";
    "a conditional move", "xts.S", "tresor_aesni_xts256_enc":
        "	TIMES_POWER\n// Of" => "	TIMES_POWER\n	cmovz		%r10, %rax\n// Of";
    "movd", "xts.S", "tresor_aesni_xts256_enc":
        "	TIMES_POWER\n// Of" => "	TIMES_POWER\n	movd		%xmm9, %r10d\n// Of";
    "an MMX register", "xts.S", "tresor_aesni_xts256_enc":
        "	TIMES_POWER\n// Of" => "	TIMES_POWER\n	movdq2q		%xmm9, %mm0\n// Of";
    "a mask register", "xts.S", "tresor_aesni_xts256_enc":
        "	TIMES_POWER\n// Of" => "	TIMES_POWER\n	vpmovq2m	%zmm9, %k1\n// Of";
    "rep movsb", "request.S", "tresor_aesni_check": ".macro	LEAVE	wrong\n" => ".macro	LEAVE	wrong\n	rep movsb\n";
}

mutants! {
    /// Rule 5.
    WIPED: Wiped;
    "one register is not wiped", "frame.S", "tresor_aesni_xts256_enc":
        ".irp i, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n" => ".irp i, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14\n";
    "one register is not wiped on the way of a failed check", "request.S", "tresor_aesni_give_pad":
        "\\wrong:\n	WIPE\n"
        => "\\wrong:\n.irp i, 0,1,2,3,4,5,6,7,8,10,11,12,13,14,15\n	pxor		%xmm\\i, %xmm\\i\n.endr\n";
    "nothing is wiped on the way of a failed check", "request.S", "tresor_aesni_xts128_dec":
        "\\wrong:\n	WIPE\n" => "\\wrong:\n";
    "a register is filled again after the wipe", "key.S", "tresor_aesni_peek_check":
        "	movdqu		%xmm0, (%rsi)\n	WIPE\n" => "	movdqu		%xmm0, (%rsi)\n	WIPE\n	movdqu		(%rdi), %xmm7\n";
    "a secret that was shifted by a public register is not wiped", "frame.S", "tresor_aesni_xts256_enc":
        ".irp i, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n	pxor		%xmm\\i, %xmm\\i\n.endr\n"
        => ".irp i, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14\n	pxor		%xmm\\i, %xmm\\i\n.endr\n	psllq		%xmm0, %xmm15\n";
    "the upper half of a ymm register is not wiped", "xts.S", "tresor_aesni_xts256_enc":
        "	TIMES_POWER\n// Of" => "	TIMES_POWER\n	vinserti128	$1, %xmm9, %ymm9, %ymm9\n// Of";
    "the top of a zmm register is not wiped", "xts.S", "tresor_aesni_xts128_enc":
        "	TIMES_POWER\n// Of" => "	TIMES_POWER\n	vinserti32x4	$3, %xmm9, %zmm7, %zmm7\n// Of";
    "a register that only AVX-512 has is not wiped", "xts.S", "tresor_aesni_xts256_dec":
        "	TIMES_POWER\n// Of" => "	TIMES_POWER\n	vmovdqa64	%xmm8, %xmm31\n// Of";
    "vzeroall does not reach the registers that only AVX-512 has", "frame.S", "tresor_aesni_check":
        ".macro	WIPE\n" => ".macro	WIPE\n	vmovdqa64	%xmm13, %xmm20\n	vzeroall\n";
    "the line with the pad is not zeroed to its end", "key.S", "tresor_aesni_take_pad":
        "	movdqu		%xmm\\t, 16(\\line)\n" => "";
    "the line with the pad is not flushed", "key.S", "tresor_aesni_take_masked":
        "	FLUSH		(\\line)\n" => "";
    "the changed share is not flushed", "key.S", "tresor_aesni_refresh":
        "	FLUSH		(SHARE)\n	LEAVE" => "	LEAVE";
    "a debug register is not cleared", "frame.S", "tresor_aesni_wipe":
        "	xor		%eax, %eax\n	WRITE_DR	0\n" => "	xor		%eax, %eax\n";
}

mutants! {
    /// Rule 6.
    WINDOWS: Windows;
    "a window ends one instruction early", "frame.S", "tresor_aesni_check":
        "	xor		%eax, %eax\n.Lload_shut\\@:\n	test" => ".Lload_shut\\@:\n	xor		%eax, %eax\n	test";
    "a window begins one instruction late", "frame.S", "tresor_aesni_check":
        ".Lload_open\\@:\n	READ_DR		0\n" => "	READ_DR		0\n.Lload_open\\@:\n";
    "a window begins two instructions late", "frame.S", "tresor_aesni_take_pad":
        ".Lstore_open\\@:\n	movq		%xmm\\lo, %rax\n	WRITE_DR	0\n" => "	movq		%xmm\\lo, %rax\n	WRITE_DR	0\n.Lstore_open\\@:\n";
    "r11 is not tested", "frame.S", "tresor_aesni_xts128_enc":
        "	test		%r11, %r11\n	jnz		.Lload\\@\n" => "";
    "r11 is not zeroed", "frame.S", "tresor_aesni_xts128_dec":
        "	xor		%r11d, %r11d\n.Lload_open\\@:\n" => ".Lload_open\\@:\n";
    "r11 is tested, but its branch goes on", "frame.S", "tresor_aesni_arm":
        "	jnz		.Lstore\\@\n" => "	jz		.Lstore\\@\n";
    "a window is left out of the table", "frame.S", "tresor_aesni_arm":
        "	WINDOW		.Lstore_open\\@, .Lstore_shut\\@, WINDOW_REDO\n" => "";
    "a window is of the kind that does not run again", "frame.S", "tresor_aesni_xts256_enc":
        "	WINDOW		.Lload_open\\@, .Lload_shut\\@, WINDOW_REDO\n" => "	WINDOW		.Lload_open\\@, .Lload_shut\\@, WINDOW_ZERO\n";
    "the sum runs again after it was stored", "frame.S", "tresor_aesni_refresh":
        "	WINDOW		.Ladd_done\\@, .Ladd_shut\\@, WINDOW_ZERO\n" => "	WINDOW		.Ladd_done\\@, .Ladd_shut\\@, WINDOW_REDO\n";
    "the window of the sum is one instruction too wide", "frame.S", "tresor_aesni_refresh":
        "	pextrq		$\\lane, %xmm\\r, %rax\n.Ladd_open\\@:\n" => ".Ladd_open\\@:\n	pextrq		$\\lane, %xmm\\r, %rax\n";
    "a window changes a register that it reads", "frame.S", "tresor_aesni_refresh":
        "	pextrq		$1, %xmm\\hi, %rax\n	WRITE_DR	3\n" => "	pextrq		$1, %xmm\\hi, %rax\n	movq		%rax, %xmm\\hi\n	WRITE_DR	3\n";
    "a branch leads into a window", "frame.S", "tresor_aesni_check":
        "	jnz		.Lload\\@\n" => "	jnz		.Lload\\@\n	cmp		$1, %rdi\n	je		.Lload_open\\@\n";
    "two windows overlap", "frame.S", ".tresor_windows":
        "	WINDOW		.Ladd_open\\@, .Ladd_done\\@, WINDOW_REDO\n" => "	WINDOW		.Ladd_open\\@, .Ladd_shut\\@, WINDOW_REDO\n";
    "a window is of no known kind", "frame.S", ".tresor_windows":
        ".set WINDOW_ZERO, 2" => ".set WINDOW_ZERO, 3";
    "a secret goes into another general register", "xts.S", "tresor_aesni_xts256_enc":
        "	TIMES_POWER\n// Of" => "	TIMES_POWER\n	movq		%xmm9, %r10\n	xor		%r10d, %r10d\n// Of";
    "a secret goes into rax outside of a window", "xts.S", "tresor_aesni_xts256_enc":
        "	TIMES_POWER\n// Of" => "	TIMES_POWER\n	movq		%xmm9, %rax\n	xor		%eax, %eax\n// Of";
    "a share is moved on to another register in its window", "frame.S", "tresor_aesni_check":
        "	READ_DR		1\n" => "	mov		%rax, %r10\n	READ_DR		1\n";
    "DR7 is written", "frame.S", "tresor_aesni_wipe": "	CLEAR_DR\n	RETURN\n" => "	CLEAR_DR\n	mov		%rax, %dr7\n	RETURN\n";
}

mutants! {
    /// Rule 7.
    PLACEMENT: Placement;
    "the code can be traced", "frame.S", "tresor_aesni_check": ".pushsection .noinstr.text" => ".pushsection .text.engine";
    "an alternative may change an instruction", "frame.S", "tresor_aesni_xts256_enc":
        "	test		%r11, %r11\n	jnz		.Lload\\@\n"
        => "	test		%r11, %r11\n	jnz		.Lload\\@\n	.pushsection .altinstructions, \"a\"\n	.long .Lload_shut\\@ - .\n	.popsection\n";
    "ftrace may change an instruction", "frame.S", "tresor_aesni_check":
        "\\name:\n	endbr64\n"
        => "\\name:\n	endbr64\n	.pushsection __mcount_loc, \"a\"\n	.quad \\name + 4\n	.popsection\n";
    "an exception table knows a way into a routine", "frame.S", "tresor_aesni_wipe":
        "	CLEAR_DR\n	RETURN\n"
        => "	CLEAR_DR\n.Lex:\n	RETURN\n	.pushsection __ex_table, \"a\"\n	.long .Lex - .\n	.popsection\n";
    "the loader changes an operand", "request.S", "tresor_aesni_check":
        ".macro	LEAVE	wrong\n" => ".macro	LEAVE	wrong\n	mov		$jiffies, %r10\n";
    "other code reads a debug register", "key.S", ".text":
        "	.globl		tresor_windows_end\n"
        => "	.globl		tresor_windows_end\n	.pushsection .text, \"ax\"\n	mov %dr2, %rcx\n	.popsection\n";
    "other code jumps behind the check", "key.S", ".text":
        "	.globl		tresor_windows_end\n"
        => "	.globl		tresor_windows_end\n	.pushsection .text, \"ax\"\n	jmp tresor_aesni_check + 32\n	.popsection\n";
    "a routine has no contract", "key.S", "tresor_aesni_peek":
        "	.globl		tresor_windows_end\n"
        => "	.globl		tresor_windows_end\n	ROUTINE tresor_aesni_peek\n	RETURN\n	END_ROUTINE tresor_aesni_peek\n";
    "a contract has no routine", "key.S", "tresor_aesni_slot_key":
        "	ROUTINE		tresor_aesni_slot_key\n	TWO_BLOCKS	%rdx, .Lslot_key_wrong\n	movdqu		%xmm1, 0(%rcx)\n	movdqu		%xmm2, 16(%rcx)\n	LEAVE		.Lslot_key_wrong\n	END_ROUTINE	tresor_aesni_slot_key\n" => "";
    "the table of returns names another instruction", "frame.S", "tresor_aesni_wipe":
        "	CLEAR_DR\n	RETURN\n"
        => "	CLEAR_DR\n	RETURN\n	.pushsection .return_sites, \"a\"\n	.long tresor_aesni_wipe + 6 - .\n	.popsection\n";
}

mutants! {
    /// Rule 8.
    CHECK_FIRST: CheckFirst;
    "the check value is not compared", "request.S", "tresor_aesni_xts256_dec":
        "	jnz		\\wrong\n" => "";
    "long requests go around the comparison", "request.S", "tresor_aesni_xts256_enc":
        "	COMPARE_CHECK	0, 3, KEY_CHECK(KEY), \\wrong\n"
        => "	cmp		$4096, LEN\n	jae		.Laround\\@\n	COMPARE_CHECK	0, 3, KEY_CHECK(KEY), \\wrong\n.Laround\\@:\n";
    "the comparison leads the wrong way", "request.S", "tresor_aesni_give_masked":
        "	jnz		\\wrong\n" => "	jz		\\wrong\n";
    "the pad is stored before the comparison", "key.S", "tresor_aesni_give_pad":
        "	ENCRYPT256	13, 14, 15, 0, 1, 2\n" => "	ENCRYPT256	13, 14, 15, 0, 1, 2\n	movdqu		%xmm1, 0(%rcx)\n";
    "the registers are written before the comparison", "key.S", "tresor_aesni_take_masked":
        "	COMPARE_CHECK	0, 3, (%rsi), .Ltake_masked_erase\n" => "";
    "a failed check is returned as a success", "request.S", "tresor_aesni_check":
        "	mov		$1, %eax\n" => "	mov		$0, %eax\n	xor		%eax, %eax\n";
    "the status is neither 0 nor 1", "request.S", "tresor_aesni_xts128_enc":
        "	WIPE\n	mov		$1, %eax\n" => "	WIPE\n	mov		$2, %eax\n";
}
