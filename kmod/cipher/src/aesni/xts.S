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
// The schedule of K1 runs once a group (groups.S): 16 registers hold eight blocks or the round keys,
// not both. Likewise the eight tweaks of a group do not fit beside the eight blocks, and must not go
// to memory. They are computed twice, before the first round and after the last.
//
// Speed: what limits a group is the number of vector instructions, AES rounds among them; the latency
// of the schedule hides behind the rounds. So what can be done by a cheap instruction is, and a group
// is handed over to the next one block by block, rounds mixed with tweaks.
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
//	xmm0-xmm7	secret: blocks in flight; before that the check value and K2
//	xmm8		secret: tweak of the next block to be stored
//	xmm9-xmm11	secret: K1, then round keys kept from group to group (in xmm11, decryption with
//			AES-256 has no room to keep one)
//	xmm12		secret: tweak of the next block to be loaded
//	xmm13-xmm15	secret: schedule in progress; M at the beginning
// All sixteen are wiped by WIPE in LEAVE, which is the only way out.

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
.set	START_FIRST,	32

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

// %xmm\lo, %xmm\hi := M, from DR0-DR3 and the share. Zeroes %rax, clobbers %r11.
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
// public. Clobbers xmm3, xmm4, %rax, %r10, %r11.
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

// xmm9, xmm10 := K1, xmm1, xmm2 := K2 of XTS-AES-256; goes to \wrong if the check value differs.
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

// xmm9 := K1, xmm1 := K2 of XTS-AES-128; goes to \wrong if the check value differs.
.macro	DERIVE_128	wrong
	LOAD_M		13, 14
	movdqa		.Lcheck_input(%rip), %xmm0
	movdqu		KEY_INPUTS(KEY), %xmm9
	movdqu		KEY_INPUTS+16(KEY), %xmm1
	ENCRYPT256	13, 14, 15, 0, 9, 1
	COMPARE_CHECK	0, 3, KEY_CHECK(KEY), \wrong
.endm

// One step of the change from group to group, for up to four blocks at different points of it: the
// last round of block \last; \turn is masked, stored, and its successor loaded; \open is masked with
// the first round key and its tweak; \first goes through its first rounds.
.macro	HAND_OVER	size, dir, last, turn, open, first
.ifnb \last
	LAST_ROUND_\dir 15, \last
.endif
.ifnb \turn
	pxor		%xmm8, %xmm\turn
	TIMES_X		8, 13
	movdqu		%xmm\turn, 16*\turn(DST)
	movdqu		128+16*\turn(SRC), %xmm\turn
.endif
.ifnb \open
	pxor		%xmm9, %xmm\open
	pxor		%xmm12, %xmm\open
	TIMES_X		12, 13
.endif
.ifnb \first
	FIRST_ROUNDS_\size\()_\dir \first
.endif
.endm

// The data, under K1 and K2 where DERIVE_ puts them. \size is 128 or 256, \dir enc or dec; LEN is at
// least 16. Falls through when done.
//
// xmm8 runs over the tweaks that blocks are masked with after the last round, xmm12 over those of
// the blocks that are loaded: eight blocks ahead. While whole groups follow each other, a block's
// register takes its successor right after the store, so that the two chains of tweaks and the ends
// and beginnings of groups all run side by side.
.macro	DATA		size, dir
	movdqu		START_IV(START), %xmm8
	PREPARE_\size\()_\dir
	TIMES_POWER
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
	HAND_OVER	\size, \dir, 0
	HAND_OVER	\size, \dir, 1, 0
	HAND_OVER	\size, \dir, 2, 1, 0
	HAND_OVER	\size, \dir, 3, 2, 1, 0
	HAND_OVER	\size, \dir, 4, 3, 2, 1
	HAND_OVER	\size, \dir, 5, 4, 3, 2
	HAND_OVER	\size, \dir, 6, 5, 4, 3
	HAND_OVER	\size, \dir, 7, 6, 5, 4
	HAND_OVER	\size, \dir, , 7, 6, 5
	HAND_OVER	\size, \dir, , , 7, 6
	HAND_OVER	\size, \dir, , , , 7
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

// The way out of whatever can fail: wipes, and returns 0, or 1 if entered at \wrong.
.macro	LEAVE	wrong
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
	DATA		\size, \dir
	LEAVE	.Lnot_held_\size\()_\dir
	END_ROUTINE	tresor_aesni_xts\size\()_\dir
.endm

	XTS		128, enc
	XTS		128, dec
	XTS		256, enc
	XTS		256, dec
