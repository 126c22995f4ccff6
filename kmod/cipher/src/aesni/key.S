// SPDX-License-Identifier: GPL-2.0-or-later
//
// The life of M: arming a CPU, passing M to another, refreshing the shares, the slot key.
//
// Registers: %rdi the share line, %rax and %r11 as in frame.S, other arguments public. Vector
// registers all secret, all wiped on every path. Stores: what each routine's comment names, and
// nothing else.

// Encrypts under M, which it reads, the check input and two inputs at (\inputs): compares the check
// value with that at (%rsi), going to \wrong if they differ; xmm1, xmm2 := the two outputs.
// xmm8, xmm9 := M, xmm10, xmm11 := DR0-DR3.
.macro	TWO_BLOCKS	inputs, wrong
	LOAD_DR		10, 11
	movdqa		%xmm10, %xmm8
	movdqa		%xmm11, %xmm9
	pxor		0(SHARE), %xmm8
	pxor		16(SHARE), %xmm9
	movdqa		%xmm8, %xmm13
	movdqa		%xmm9, %xmm14
	movdqa		.Lcheck_input(%rip), %xmm0
	movdqu		0(\inputs), %xmm1
	movdqu		16(\inputs), %xmm2
	ENCRYPT256	13, 14, 15, 0, 1, 2
	COMPARE_CHECK	0, 3, (%rsi), \wrong
.endm

// u32 tresor_aesni_check(const struct share *share, const u8 check[16]);
//
// Stores nothing. 0 if the registers hold the M with this check value, else 1.
	ROUTINE		tresor_aesni_check
	LOAD_M		13, 14
	movdqa		.Lcheck_input(%rip), %xmm0
	ENCRYPT256	13, 14, 15, 0
	COMPARE_CHECK	0, 3, (%rsi), .Lcheck_wrong
	LEAVE		.Lcheck_wrong
	END_ROUTINE	tresor_aesni_check

// void tresor_aesni_arm(struct share *share, const u8 m[32], u8 check[16]);
//
// DR0-DR3 := M + S. Stores the check value, which is public, to \check.
	ROUTINE		tresor_aesni_arm
	movdqu		0(%rsi), %xmm13
	movdqu		16(%rsi), %xmm14
	movdqa		%xmm13, %xmm10
	movdqa		%xmm14, %xmm11
	pxor		0(SHARE), %xmm10
	pxor		16(SHARE), %xmm11
	STORE_DR	10, 11
	movdqa		.Lcheck_input(%rip), %xmm0
	ENCRYPT256	13, 14, 15, 0
	movdqu		%xmm0, (%rdx)
	WIPE
	RETURN
	END_ROUTINE	tresor_aesni_arm

// void tresor_aesni_peek_check(const u8 m[32], u8 check[16]);
//
// Stores the check value of \m to \check.
	ROUTINE		tresor_aesni_peek_check
	movdqu		0(%rdi), %xmm13
	movdqu		16(%rdi), %xmm14
	movdqa		.Lcheck_input(%rip), %xmm0
	ENCRYPT256	13, 14, 15, 0
	movdqu		%xmm0, (%rsi)
	WIPE
	RETURN
	END_ROUTINE	tresor_aesni_peek_check

// u32 tresor_aesni_refresh(struct share *share, const u8 check[16], const u8 inputs[32]);
//
// With r = the two outputs: DR0-DR3 += r, S += r. The line of S is flushed. Returns 0, or 1 without
// having changed either.
	ROUTINE		tresor_aesni_refresh
	TWO_BLOCKS	%rdx, .Lrefresh_wrong
	pxor		%xmm1, %xmm10
	pxor		%xmm2, %xmm11
	STORE_DR	10, 11
	ADD_TO_SHARE	1, 0, 0
	ADD_TO_SHARE	1, 1, 8
	ADD_TO_SHARE	2, 0, 16
	ADD_TO_SHARE	2, 1, 24
	FLUSH		(SHARE)
	LEAVE		.Lrefresh_wrong
	END_ROUTINE	tresor_aesni_refresh

// u32 tresor_aesni_give_pad(const struct share *share, const u8 check[16], const u8 inputs[32],
//			     struct line *line);
//
// Stores the pad Q = the two outputs to \line: half a secret. Returns 0, or 1 without having stored.
	ROUTINE		tresor_aesni_give_pad
	TWO_BLOCKS	%rdx, .Lgive_pad_wrong
	movdqu		%xmm1, 0(%rcx)
	movdqu		%xmm2, 16(%rcx)
	LEAVE		.Lgive_pad_wrong
	END_ROUTINE	tresor_aesni_give_pad

// u32 tresor_aesni_give_masked(const struct share *share, const u8 check[16],
//				const u8 inputs[32], struct line *line);
//
// Stores M + Q to \line: the other half. Returns 0, or 1 without having stored.
	ROUTINE		tresor_aesni_give_masked
	TWO_BLOCKS	%rdx, .Lgive_masked_wrong
	pxor		%xmm8, %xmm1
	pxor		%xmm9, %xmm2
	movdqu		%xmm1, 0(%rcx)
	movdqu		%xmm2, 16(%rcx)
	LEAVE		.Lgive_masked_wrong
	END_ROUTINE	tresor_aesni_give_masked

// u32 tresor_aesni_slot_key(const struct share *share, const u8 check[16], const u8 inputs[32],
//			     u8 out[32]);
//
// Stores the two outputs, which are to leave the registers, to \out. Returns 0, or 1 without having
// stored.
	ROUTINE		tresor_aesni_slot_key
	TWO_BLOCKS	%rdx, .Lslot_key_wrong
	movdqu		%xmm1, 0(%rcx)
	movdqu		%xmm2, 16(%rcx)
	LEAVE		.Lslot_key_wrong
	END_ROUTINE	tresor_aesni_slot_key

// xmm\lo, xmm\hi := the line at \line, which is zeroed and flushed.
.macro	TAKE_LINE	lo, hi, t, line
	movdqu		0(\line), %xmm\lo
	movdqu		16(\line), %xmm\hi
	pxor		%xmm\t, %xmm\t
	movdqu		%xmm\t, 0(\line)
	movdqu		%xmm\t, 16(\line)
	FLUSH		(\line)
.endm

// void tresor_aesni_take_pad(struct share *share, struct line *line);
//
// DR0-DR3 := the pad in \line. Zeroes and flushes \line.
	ROUTINE		tresor_aesni_take_pad
	TAKE_LINE	0, 1, 2, %rsi
	STORE_DR	0, 1
	WIPE
	RETURN
	END_ROUTINE	tresor_aesni_take_pad

// u32 tresor_aesni_take_masked(struct share *share, const u8 check[16], struct line *line);
//
// M = DR0-DR3 + \line. Zeroes and flushes \line. If M has the check value: DR0-DR3 := M + S, returns
// 0. If not: DR0-DR3 := 0, S := 0 and flushed, returns 1.
	ROUTINE		tresor_aesni_take_masked
	LOAD_DR		8, 9
	TAKE_LINE	13, 14, 0, %rdx
	pxor		%xmm8, %xmm13
	pxor		%xmm9, %xmm14
	movdqa		%xmm13, %xmm10
	movdqa		%xmm14, %xmm11
	movdqa		.Lcheck_input(%rip), %xmm0
	ENCRYPT256	13, 14, 15, 0
	COMPARE_CHECK	0, 3, (%rsi), .Ltake_masked_erase
	pxor		0(SHARE), %xmm10
	pxor		16(SHARE), %xmm11
	STORE_DR	10, 11
	LEAVE		.Ltake_masked_wrong
.Ltake_masked_erase:
	CLEAR_DR
	mov		%rax, 0(SHARE)
	mov		%rax, 8(SHARE)
	mov		%rax, 16(SHARE)
	mov		%rax, 24(SHARE)
	FLUSH		(SHARE)
	jmp		.Ltake_masked_wrong
	END_ROUTINE	tresor_aesni_take_masked

.pushsection .tresor_windows, "a", @progbits
	.globl		tresor_windows_end
tresor_windows_end:
.popsection
