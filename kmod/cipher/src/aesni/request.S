// SPDX-License-Identifier: GPL-2.0-or-later
//
// What every request is, whatever its mode: where its arguments are, how M and the volume's key come
// into registers, how the check value is compared, the way out.
//
// CPUs: every one with AES-NI (which implies SSSE3 and SSE4.1): 128-bit vectors, xmm0-xmm15, legacy
// encoding, no AVX, no PCLMULQDQ. The wider variants are in folders of their own, and take the names of
// registers and offsets from here.
//
// What a call does: read the shares, join them to M, encrypt under M the check input and the inputs of
// the volume key in one pass, compare the check value, then the data: xts.S, modes.S, chain.S; wipe.
//
// Memory: loads of the share, of public arguments and of data; stores of output only. No stack. No
// branch and no address depends on anything but arguments and on whether the check value matched.
//
// General registers
//	%rdi	share line; %rsi the key's public inputs and check value (struct VolumeKey), later in
//		XTS the length of the tail; %rdx where the section starts (struct Start); %rcx
//		destination; %r8 source; %r9 length left
//	%r10	scratch, public
//	%rax	the share's words, in windows only (frame.S); then the result
//	%r11	the NMI's flag in windows, later scratch, public
// All vector registers are wiped by WIPE in LEAVE, which is the only way out.

.set	SHARE,		%rdi
.set	KEY,		%rsi
.set	START,		%rdx
.set	DST,		%rcx
.set	SRC,		%r8
.set	LEN,		%r9

// struct VolumeKey
.set	KEY_INPUTS,	0	// 16 bytes for each 16 bytes of key
.set	KEY_CHECK,	64

// struct Start
.set	START_IV,	0
.set	START_POWER,	16	// XTS
.set	START_FIRST,	32	// ESSIV

.pushsection .rodata.tresor_aesni, "a", @progbits
	.balign		16
.Lcheck_input:			// F('k', 0, 0, 0, ""): CHECK_INPUT in derive.rs
	.byte		0x54, 0x26, 0xcc, 0x8e, 0xb5, 0xc5, 0x9e, 0xda
	.byte		0x79, 0x38, 0xd6, 0x85, 0x11, 0xe7, 0xee, 0xf9
.popsection

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

// The 16-byte blocks at KEY that make the keys of a mode and size, into registers: K to xmm9 and, if it
// is longer than 16 bytes, xmm10; the other key, K2 of XTS or the IV's of ESSIV, to xmm1 and xmm2.
// \then is a macro, and gets \arguments and the registers' numbers.
.macro	LOAD_KEYS	mode, size, then, arguments:vararg
	movdqu		KEY_INPUTS(KEY), %xmm9
.ifc \mode\size,xts128
	movdqu		KEY_INPUTS+16(KEY), %xmm1
	\then		\arguments, 9, 1
.else
.if \size != 128
	movdqu		KEY_INPUTS+16(KEY), %xmm10
.endif
.ifc \mode,xts
	movdqu		KEY_INPUTS+32(KEY), %xmm1
	movdqu		KEY_INPUTS+48(KEY), %xmm2
	\then		\arguments, 9, 10, 1, 2
.else
.ifc \mode,essiv
	movdqu		KEY_INPUTS+32(KEY), %xmm1
	movdqu		KEY_INPUTS+48(KEY), %xmm2
.if \size == 128
	\then		\arguments, 9, 1, 2
.else
	\then		\arguments, 9, 10, 1, 2
.endif
.else
.if \size == 128
	\then		\arguments, 9
.else
	\then		\arguments, 9, 10
.endif
.endif
.endif
.endif
.endm

// The keys of \mode and \size where LOAD_KEYS puts their blocks; goes to \wrong if the check value
// differs. Clobbers xmm0, xmm3, xmm13-xmm15.
.macro	DERIVE		mode, size, wrong
	LOAD_M		13, 14
	movdqa		.Lcheck_input(%rip), %xmm0
	LOAD_KEYS	\mode, \size, ENCRYPT256, 13, 14, 15, 0
	COMPARE_CHECK	0, 3, KEY_CHECK(KEY), \wrong
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

// u32 tresor_aesni_<mode><size>_<dir>(const struct share *share, const struct volume_key *key,
//				       const struct start *start, u8 *dst, const u8 *src, u64 len);
//
// Returns 0, or 1 without having written anything if the registers hold no M with the key's check
// value. \len is as the mode allows it (Mode::allows in crypt.rs). \name is what follows tresor_aesni_,
// \data the macro that works on the data.
.macro	REQUEST		name, mode, size, data:vararg
	ROUTINE		tresor_aesni_\name
	DERIVE		\mode, \size, .Lnot_held_\name
	\data
	LEAVE		.Lnot_held_\name
	END_ROUTINE	tresor_aesni_\name
.endm
