// SPDX-License-Identifier: GPL-2.0-or-later
//
// XTS-AES (IEEE 1619-2007) under keys that exist for one call, in vector registers.
//
// CPUs: every one with AES-NI (which implies SSSE3 and SSE4.1): 128-bit vectors, xmm0-xmm15, legacy
// encoding, no AVX, no PCLMULQDQ. The kernel's own aes-xts-avx code, which this is measured against,
// wants AVX. Wider variants (VAES) are not in this file.
//
// Covered: XTS-AES-128 and XTS-AES-256, both directions, whole blocks, any alignment, in place or
// not. Not covered: ciphertext stealing, so the length is a multiple of 16; overlapping buffers.
//
// What a call does: read the shares, join them to M, encrypt under M the check input and the inputs
// of the volume key in one pass, compare the check value, encrypt the IV under K2, multiply by the
// power of x that the section starts at, then the data under K1, eight blocks at a time; wipe.
// The schedule of K1 runs once a group: 16 registers hold eight blocks or the round keys, not both.
// Groups do not depend on each other, so the CPU overlaps the schedule of one with the blocks of
// another, and the schedule costs its instructions but little of its latency.
//
// Likewise the eight tweaks of a group do not fit beside the eight blocks, and must not go to
// memory. They are computed twice, before the first round and after the last.
//
// Memory: loads of the share, of public arguments and of data; stores of output blocks only. No
// stack. No branch and no address depends on anything but arguments and on whether the check value
// matched.
//
// Registers
//	%rdi	share line; %rsi the key's public inputs and check value (struct XtsKey); %rdx the IV
//		and the power of x (struct Start); %rcx destination; %r8 source; %r9 length left
//	%r10	scratch, public
//	%rax	the share's words, in windows only (frame.S); then the result
//	%r11	the NMI's flag in windows, later scratch, public
//	xmm0-xmm7	secret: blocks in flight; before that keys
//	xmm8		secret: tweak of the group's first block
//	xmm9-xmm12	secret: round keys kept from group to group
//	xmm13-xmm15	secret: schedule in progress; M at the beginning
// All sixteen are wiped by WIPE in XTS_LEAVE, which is the only way out.

.set	SHARE,		%rdi
.set	KEY,		%rsi
.set	START,		%rdx
.set	DST,		%rcx
.set	SRC,		%r8
.set	LEN,		%r9
.set	POWER_LO,	%r10
.set	POWER_HI,	%r11

// struct XtsKey
.set	KEY_INPUTS,	0	// of K1, then K2: 16 bytes for each 16 bytes of key
.set	KEY_CHECK,	64

// struct Start
.set	START_IV,	0
.set	START_POWER,	16

.pushsection .rodata.tresor_aesni, "a", @progbits
	.balign		16
.Lcheck_input:			// F('k', 0, 0, 0, ""): CHECK_INPUT in derive.rs
	.byte		0x54, 0x26, 0xcc, 0x8e, 0xb5, 0xc5, 0x9e, 0xda
	.byte		0x79, 0x38, 0xd6, 0x85, 0x11, 0xe7, 0xee, 0xf9
.Lgf128_poly:			// x^128 = x^7 + x^2 + x + 1; and the carry between the halves
	.quad		0x87, 1
.popsection

// \x := \x times x in GF(2^128), IEEE 1619 section 5.2. Clobbers \t.
.macro	TIMES_X		x, t
	pshufd		$0x13, %xmm\x, %xmm\t
	paddq		%xmm\x, %xmm\x
	psrad		$31, %xmm\t
	pand		.Lgf128_poly(%rip), %xmm\t
	pxor		%xmm\t, %xmm\x
.endm

// %xmm\lo, %xmm\hi := M, from DR0-DR3 and the share. Zeroes %rax, clobbers %r11 and %xmm\t.
.macro	LOAD_M		lo, hi
	LOAD_DR		\lo, \hi
	pxor		0(SHARE), %xmm\lo
	pxor		16(SHARE), %xmm\hi
.endm

// Goes to \wrong unless %xmm\x, the check value under the registers' M, is that at \expected.
// Clobbers %xmm\x and %xmm\t.
.macro	COMPARE_CHECK	x, t, expected, wrong
	movdqu		\expected, %xmm\t
	pxor		%xmm\t, %xmm\x
	ptest		%xmm\x, %xmm\x
	jnz		\wrong
.endm

// xmm8 := xmm8 times the power of x at START: shift and add, over the bits of the power, which is
// public. Clobbers xmm3, xmm4, %r10, %r11.
.macro	TIMES_POWER
	mov		START_POWER(START), POWER_LO
	mov		START_POWER+8(START), POWER_HI
	pxor		%xmm3, %xmm3
.Lbit\@:
	test		$1, POWER_LO
	jz		.Lzero_bit\@
	pxor		%xmm8, %xmm3
.Lzero_bit\@:
	shrd		$1, POWER_HI, POWER_LO
	shr		$1, POWER_HI
	mov		POWER_LO, %rax
	or		POWER_HI, %rax
	jz		.Lproduct\@
	TIMES_X		8, 4
	jmp		.Lbit\@
.Lproduct\@:
	movdqa		%xmm3, %xmm8
.endm

// Keys and tweak of XTS-AES-256: xmm9, xmm10 := K1; xmm8 := the first tweak.
// Goes to \wrong if the check value does not match.
.macro	DERIVE_256	wrong
	LOAD_M		13, 14
	movdqa		.Lcheck_input(%rip), %xmm0
	movdqu		KEY_INPUTS(KEY), %xmm9
	movdqu		KEY_INPUTS+16(KEY), %xmm10
	movdqu		KEY_INPUTS+32(KEY), %xmm1
	movdqu		KEY_INPUTS+48(KEY), %xmm2
	ENCRYPT256	13, 14, 15, 0, 9, 10, 1, 2
	COMPARE_CHECK	0, 3, KEY_CHECK(KEY), \wrong
.endm

// The same for XTS-AES-128: xmm9 := K1, xmm1 := K2.
.macro	DERIVE_128	wrong
	LOAD_M		13, 14
	movdqa		.Lcheck_input(%rip), %xmm0
	movdqu		KEY_INPUTS(KEY), %xmm9
	movdqu		KEY_INPUTS+16(KEY), %xmm1
	ENCRYPT256	13, 14, 15, 0, 9, 1
	COMPARE_CHECK	0, 3, KEY_CHECK(KEY), \wrong
.endm

.macro	FIRST_TWEAK_256
	movdqu		START_IV(START), %xmm8
	ENCRYPT256	1, 2, 3, 8
	TIMES_POWER
.endm

.macro	FIRST_TWEAK_128
	movdqu		START_IV(START), %xmm8
	ENCRYPT128	1, 2, 3, 8
	TIMES_POWER
.endm

// KEEP_: the round keys that stay in registers from group to group, from K1 in xmm9 (and xmm10).
// GROUP_: all rounds but the last of one group on xmm0-xmm7, which hold data plus tweak plus the
// first round key. Preserves xmm8 and what KEEP_ set; leaves the last round key in xmm15. Between
// groups xmm12-xmm14 are free.

.macro	ROUND		op, key
	EACH		\op, \key, 0, 1, 2, 3, 4, 5, 6, 7
.endm

// xmm9-xmm11 = k_0..k_2
.macro	KEEP_256_enc
	movdqa		%xmm9, %xmm13
	NEXT256_EVEN	13, 10, 11, 1
.endm

// xmm14 := k_3. Clobbers xmm13.
.macro	BEGIN_256_enc
	movdqa		%xmm10, %xmm13
	NEXT256_ODD	13, 11, 14
.endm

.macro	FIRST_ROUNDS_256_enc x
	aesenc		%xmm10, %xmm\x
	aesenc		%xmm11, %xmm\x
.endm

.macro	GROUP_256_enc
	movdqa		%xmm11, %xmm13
	NEXT256_EVEN	13, 14, 15, 2
	ROUND		aesenc, 14
	NEXT256_ODD	14, 15, 13
	ROUND		aesenc, 15
	NEXT256_EVEN	15, 13, 14, 3
	ROUND		aesenc, 13
	NEXT256_ODD	13, 14, 15
	ROUND		aesenc, 14
	NEXT256_EVEN	14, 15, 13, 4
	ROUND		aesenc, 15
	NEXT256_ODD	15, 13, 14
	ROUND		aesenc, 13
	NEXT256_EVEN	13, 14, 15, 5
	ROUND		aesenc, 14
	NEXT256_ODD	14, 15, 13
	ROUND		aesenc, 15
	NEXT256_EVEN	15, 13, 14, 6
	ROUND		aesenc, 13
	NEXT256_ODD	13, 14, 15
	ROUND		aesenc, 14
	NEXT256_EVEN	14, 15, 13, 7
	ROUND		aesenc, 15
	movdqa		%xmm13, %xmm15
.endm

// xmm10 = k_13, xmm9 = k_14
.macro	KEEP_256_dec
	LAST256		9, 10, 11
	movdqa		%xmm11, %xmm9
.endm

// Middle round keys of decryption pass InvMixColumns first (FIPS 197 section 5.3.5).
.macro	MIDDLE_ROUND	key, t
	aesimc		%xmm\key, %xmm\t
	ROUND		aesdec, \t
.endm

// xmm11 := InvMixColumns of k_13, xmm14 := w3 of k_13, moved.
.macro	BEGIN_256_dec
	aesimc		%xmm10, %xmm11
	movdqa		%xmm10, %xmm14
	pshufb		.Lrot_w3_to_w0(%rip), %xmm14
.endm

.macro	FIRST_ROUNDS_256_dec x
	aesdec		%xmm11, %xmm\x
.endm

// Two steps backwards with their rounds: k_{i-2} for even i in xmm15, k_{i-3} in xmm11.
.macro	TWO_ROUNDS_256	rcon
	PREVIOUS256	15, 14, 13, \rcon, .Lw3_to_w0
	MIDDLE_ROUND	15, 14
	PREVIOUS256	11, 13, 14, 0, .Lrot_w3_to_w0
	MIDDLE_ROUND	11, 13
.endm

.macro	GROUP_256_dec
	movdqa		%xmm9, %xmm15
	movdqa		%xmm10, %xmm11
	TWO_ROUNDS_256	7
	TWO_ROUNDS_256	6
	TWO_ROUNDS_256	5
	TWO_ROUNDS_256	4
	TWO_ROUNDS_256	3
	TWO_ROUNDS_256	2
	PREVIOUS256	15, 14, 13, 1
.endm

// xmm9-xmm11 = k_0..k_2
.macro	KEEP_128_enc
	NEXT128		9, 10, 13, 1
	NEXT128		10, 11, 13, 2
.endm

// xmm14 := k_3. Clobbers xmm13.
.macro	BEGIN_128_enc
	NEXT128		11, 14, 13, 3
.endm

.macro	FIRST_ROUNDS_128_enc x
	aesenc		%xmm10, %xmm\x
	aesenc		%xmm11, %xmm\x
.endm

.macro	GROUP_128_enc
	NEXT128		14, 15, 13, 4
	ROUND		aesenc, 14
	NEXT128		15, 14, 13, 5
	ROUND		aesenc, 15
	NEXT128		14, 15, 13, 6
	ROUND		aesenc, 14
	NEXT128		15, 14, 13, 7
	ROUND		aesenc, 15
	NEXT128		14, 15, 13, 8
	ROUND		aesenc, 14
	NEXT128		15, 14, 13, 9
	ROUND		aesenc, 15
	NEXT128		14, 15, 13, 10
	ROUND		aesenc, 14
.endm

// xmm9 = k_10, xmm10 = InvMixColumns of k_9, xmm11 = k_9
.macro	KEEP_128_dec
	LAST128		9, 11, 13
	aesimc		%xmm11, %xmm10
.endm

// xmm14 := w3 of k_8, moved.
.macro	BEGIN_128_dec
	OLDER_W3_128	11, 14
.endm

// One step backwards with its round.
.macro	ONE_ROUND_128	s, n, rcon
	PREVIOUS128	15, \s, \n, \rcon
	MIDDLE_ROUND	15, \s
.endm

.macro	FIRST_ROUNDS_128_dec x
	aesdec		%xmm10, %xmm\x
.endm

.macro	GROUP_128_dec
	movdqa		%xmm11, %xmm15
	ONE_ROUND_128	14, 13, 9
	ONE_ROUND_128	13, 14, 8
	ONE_ROUND_128	14, 13, 7
	ONE_ROUND_128	13, 14, 6
	ONE_ROUND_128	14, 13, 5
	ONE_ROUND_128	13, 14, 4
	ONE_ROUND_128	14, 13, 3
	ONE_ROUND_128	13, 14, 2
	PREVIOUS128	15, 14, 13, 1, last
.endm

// The data. \size is 128 or 256, \dir enc or dec. LEN is at least 16. Falls through when done.
//
// xmm8 runs over the tweaks that blocks are masked with after the last round, xmm12 over those of
// the blocks that are loaded: eight blocks ahead. While whole groups follow each other, a block's
// register takes its successor right after the store, so that the two chains of tweaks and the ends
// and beginnings of groups all run side by side.
.macro	DATA		size, dir
	KEEP_\size\()_\dir
.Lstart\@:
	cmp		$128, LEN
	jb		.Lload_some\@
.irp i, 0,1,2,3,4,5,6,7
	movdqu		16*\i(SRC), %xmm\i
.endr
.Lloaded\@:
	movdqa		%xmm8, %xmm12
	BEGIN_\size\()_\dir
.irp i, 0,1,2,3,4,5,6,7
	pxor		%xmm12, %xmm\i
	pxor		%xmm9, %xmm\i
	FIRST_ROUNDS_\size\()_\dir \i
	TIMES_X		12, 13
.endr
	jmp		.Lgroup\@

	.balign		32, 0x90
.Lnext_group\@:
	BEGIN_\size\()_\dir
.irp i, 0,1,2,3,4,5,6,7
	LAST_ROUND_\dir 15, \i
	pxor		%xmm8, %xmm\i
	movdqu		%xmm\i, 16*\i(DST)
	movdqu		128+16*\i(SRC), %xmm\i
	TIMES_X		8, 13
	pxor		%xmm12, %xmm\i
	pxor		%xmm9, %xmm\i
	FIRST_ROUNDS_\size\()_\dir \i
	TIMES_X		12, 13
.endr
	add		$128, SRC
	add		$128, DST
	sub		$128, LEN
.Lgroup\@:
	GROUP_\size\()_\dir
	cmp		$256, LEN
	jae		.Lnext_group\@

// Of this group and what follows at least one is short. The next group, if any, starts anew.
.irp i, 0,1,2,3,4,5,6,7
	LAST_ROUND_\dir 15, \i
	pxor		%xmm8, %xmm\i
	TIMES_X		8, 13
.endr
	cmp		$128, LEN
	jb		.Lstore_some\@
.irp i, 0,1,2,3,4,5,6,7
	movdqu		%xmm\i, 16*\i(DST)
.endr
	add		$128, SRC
	add		$128, DST
	sub		$128, LEN
	jnz		.Lstart\@
	jmp		.Ldata_done\@

// Blocks that are not there are zero, and are not stored.
.Lload_some\@:
.irp i, 1,2,3,4,5,6,7
	pxor		%xmm\i, %xmm\i
.endr
	movdqu		(SRC), %xmm0
.irp i, 1,2,3,4,5,6
	cmp		$16*\i+16, LEN
	jb		.Lloaded\@
	movdqu		16*\i(SRC), %xmm\i
.endr
	jmp		.Lloaded\@

.Lstore_some\@:
	movdqu		%xmm0, (DST)
.irp i, 1,2,3,4,5,6
	cmp		$16*\i+16, LEN
	jb		.Ldata_done\@
	movdqu		%xmm\i, 16*\i(DST)
.endr
.Ldata_done\@:
.endm

.macro	LAST_ROUND_enc	key, x
	aesenclast	%xmm\key, %xmm\x
.endm

.macro	LAST_ROUND_dec	key, x
	aesdeclast	%xmm\key, %xmm\x
.endm

// The way out: wipes, and returns 0, or 1 if entered at \wrong.
.macro	XTS_LEAVE	wrong
	WIPE
	xor		%eax, %eax
	RETURN
\wrong:
	WIPE
	mov		$1, %eax
	RETURN
.endm

// u32 tresor_aesni_xts<size>_<dir>(const struct share *share, const struct xts_key *key,
//				    const struct start *start, u8 *dst, const u8 *src, u64 len);
//
// Returns 0, or 1 without having written anything if the registers hold no M with the key's check
// value. \len is a multiple of 16 and not 0.
.macro	XTS		size, dir
	ROUTINE		tresor_aesni_xts\size\()_\dir
	DERIVE_\size	.Lnot_held_\size\()_\dir
	FIRST_TWEAK_\size
	DATA		\size, \dir
	XTS_LEAVE	.Lnot_held_\size\()_\dir
	END_ROUTINE	tresor_aesni_xts\size\()_\dir
.endm

	XTS		128, enc
	XTS		128, dec
	XTS		256, enc
	XTS		256, dec
