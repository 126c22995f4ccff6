// SPDX-License-Identifier: GPL-2.0-or-later
//
// AES (FIPS 197) with the key schedule computed on the way, in registers.
//
// Notation: a round key k_i is four 32-bit words w0..w3 in one register, w0 lowest. For a word f,
// all(f) is (f,f,f,f). P is the running sum P(w0,w1,w2,w3) = (w0, w0+w1, w0+w1+w2, w0+w1+w2+w3), where
// + is xor; its inverse is k + (k << 32 bits). With S = SubWord and R = RotWord, FIPS 197 section 5.2
// reads
//   AES-128: k_i = P(k_{i-1}) + all(S(R(k_{i-1}.w3)) + rcon_i)
//   AES-256: k_i = P(k_{i-2}) + all(S(R(k_{i-1}.w3)) + rcon_{i/2})	for even i
//            k_i = P(k_{i-2}) + all(S(k_{i-1}.w3))			for odd i
//
// Why not AESKEYGENASSIST: it is slow microcode on many CPUs. In a register whose four columns are
// equal ShiftRows changes nothing, so a shuffle (which makes all(R(w3)) from k) and AESENCLAST (which
// applies S and adds its operand) are all that the chain from one round key to the next needs; for
// AES-256 the operand P(k_{i-2}) + rcon is ready before.
//
// Backwards the same equations are solved for the older key:
//   AES-128: with d = P^-1(k_i): k_{i-1} = d + (S(R(d.w3)) + rcon_i, 0, 0, 0)
//   AES-256: with d = P^-1(k_i): k_{i-2} = d + (S(..k_{i-1}.w3) + rcon, 0, 0, 0)
// S changes w0 only, so w3 of the older keys is known before: what the next step applies S to is taken
// from d (AES-256) or P^-1(d) (AES-128), and the chain is shorter than forwards. To get S of one word
// with zero beside it, the word's bytes go where ShiftRows takes them to w0, the others are zero, and
// AESENCLAST's operand has SubBytes(0) = 0x63 in their place.
//
// Register arguments are numbers of xmm registers. Each of them holds secrets.

.pushsection .rodata.tresor_aesni, "a", @progbits
	.balign		16
.Lrot_w3:				// PSHUFB: all(RotWord(w3))
	.long		0x0c0f0e0d, 0x0c0f0e0d, 0x0c0f0e0d, 0x0c0f0e0d
.Lrot_w3_to_w0:			// PSHUFB: RotWord(w3), where ShiftRows moves it to w0; else zero
	.byte		13, -1, -1, -1, -1, 14, -1, -1, -1, -1, 15, -1, -1, -1, -1, 12
.Lw3_to_w0:				// the same without RotWord
	.byte		12, -1, -1, -1, -1, 13, -1, -1, -1, -1, 14, -1, -1, -1, -1, 15
.Lnot_w0:
	.long		0, -1, -1, -1
.Lrcon_0:				// no round constant
	.long		0, 0, 0, 0
.Lrcon_1:				// FIPS 197 table 5
	.long		0x01, 0x01, 0x01, 0x01
.Lrcon_2:
	.long		0x02, 0x02, 0x02, 0x02
.Lrcon_3:
	.long		0x04, 0x04, 0x04, 0x04
.Lrcon_4:
	.long		0x08, 0x08, 0x08, 0x08
.Lrcon_5:
	.long		0x10, 0x10, 0x10, 0x10
.Lrcon_6:
	.long		0x20, 0x20, 0x20, 0x20
.Lrcon_7:
	.long		0x40, 0x40, 0x40, 0x40
.Lrcon_8:
	.long		0x80, 0x80, 0x80, 0x80
.Lrcon_9:
	.long		0x1b, 0x1b, 0x1b, 0x1b
.Lrcon_10:
	.long		0x36, 0x36, 0x36, 0x36
// The same for a word alone in w0, with SubBytes(0) beside it.
.Lalone_0:
	.long		0x00, 0x63636363, 0x63636363, 0x63636363
.Lalone_1:
	.long		0x01, 0x63636363, 0x63636363, 0x63636363
.Lalone_2:
	.long		0x02, 0x63636363, 0x63636363, 0x63636363
.Lalone_3:
	.long		0x04, 0x63636363, 0x63636363, 0x63636363
.Lalone_4:
	.long		0x08, 0x63636363, 0x63636363, 0x63636363
.Lalone_5:
	.long		0x10, 0x63636363, 0x63636363, 0x63636363
.Lalone_6:
	.long		0x20, 0x63636363, 0x63636363, 0x63636363
.Lalone_7:
	.long		0x40, 0x63636363, 0x63636363, 0x63636363
.Lalone_8:
	.long		0x80, 0x63636363, 0x63636363, 0x63636363
.Lalone_9:
	.long		0x1b, 0x63636363, 0x63636363, 0x63636363
.Lalone_10:
	.long		0x36, 0x63636363, 0x63636363, 0x63636363
.popsection

// \op with register \key on each of \blocks.
.macro	EACH		op, key, blocks:vararg
.irp b, \blocks
.ifnb \b
	\op		%xmm\key, %xmm\b
.endif
.endr
.endm

// \k := P(\k). Clobbers \t. First within 64-bit halves, then the low half's sum into both words of the
// high half. Shifts of the whole register (PSLLDQ) would be shorter, but take twice the time, and the
// AES unit's, on AMD's cores (measured on Zen 4).
.macro	RUNNING_SUM	k, t
	movdqa		%xmm\k, %xmm\t
	psllq		$32, %xmm\t
	pxor		%xmm\t, %xmm\k
	pxor		%xmm\t, %xmm\t
	shufps		$0x50, %xmm\k, %xmm\t
	pxor		%xmm\t, %xmm\k
.endm

// AES-256, i even: \t := k_i, for \a = k_{i-2} and \b = k_{i-1}. \b survives.
.macro	NEXT256_EVEN	a, b, t, rcon
	RUNNING_SUM	\a, \t
	pxor		.Lrcon_\rcon(%rip), %xmm\a
	movdqa		%xmm\b, %xmm\t
	pshufb		.Lrot_w3(%rip), %xmm\t
	aesenclast	%xmm\a, %xmm\t
.endm

// AES-256, i odd: as above.
.macro	NEXT256_ODD	a, b, t
	RUNNING_SUM	\a, \t
	pshufd		$0xff, %xmm\b, %xmm\t
	aesenclast	%xmm\a, %xmm\t
.endm

// AES-128: \n := k_i, for \k = k_{i-1}, which survives. Clobbers \t.
.macro	NEXT128		k, n, t, rcon
	movdqa		%xmm\k, %xmm\n
	RUNNING_SUM	\n, \t
	movdqa		%xmm\k, %xmm\t
	pshufb		.Lrot_w3(%rip), %xmm\t
	aesenclast	.Lrcon_\rcon(%rip), %xmm\t
	pxor		%xmm\t, %xmm\n
.endm

// Encrypts \blocks, if any, with AES-256 under k_0 = \a, k_1 = \b. Leaves k_13 in \b, k_14 in \t;
// clobbers \a.
.macro	ENCRYPT256	a, b, t, blocks:vararg
	EACH		pxor, \a, \blocks
	EACH		aesenc, \b, \blocks
	NEXT256_EVEN	\a, \b, \t, 1
	EACH		aesenc, \t, \blocks
	NEXT256_ODD	\b, \t, \a
	EACH		aesenc, \a, \blocks
	NEXT256_EVEN	\t, \a, \b, 2
	EACH		aesenc, \b, \blocks
	NEXT256_ODD	\a, \b, \t
	EACH		aesenc, \t, \blocks
	NEXT256_EVEN	\b, \t, \a, 3
	EACH		aesenc, \a, \blocks
	NEXT256_ODD	\t, \a, \b
	EACH		aesenc, \b, \blocks
	NEXT256_EVEN	\a, \b, \t, 4
	EACH		aesenc, \t, \blocks
	NEXT256_ODD	\b, \t, \a
	EACH		aesenc, \a, \blocks
	NEXT256_EVEN	\t, \a, \b, 5
	EACH		aesenc, \b, \blocks
	NEXT256_ODD	\a, \b, \t
	EACH		aesenc, \t, \blocks
	NEXT256_EVEN	\b, \t, \a, 6
	EACH		aesenc, \a, \blocks
	NEXT256_ODD	\t, \a, \b
	EACH		aesenc, \b, \blocks
	NEXT256_EVEN	\a, \b, \t, 7
	EACH		aesenclast, \t, \blocks
.endm

// Encrypts \blocks with AES-128 under k_0 = \a. Clobbers \a, \b, \t.
.macro	ENCRYPT128	a, b, t, blocks:vararg
	EACH		pxor, \a, \blocks
	NEXT128		\a, \b, \t, 1
	EACH		aesenc, \b, \blocks
	NEXT128		\b, \a, \t, 2
	EACH		aesenc, \a, \blocks
	NEXT128		\a, \b, \t, 3
	EACH		aesenc, \b, \blocks
	NEXT128		\b, \a, \t, 4
	EACH		aesenc, \a, \blocks
	NEXT128		\a, \b, \t, 5
	EACH		aesenc, \b, \blocks
	NEXT128		\b, \a, \t, 6
	EACH		aesenc, \a, \blocks
	NEXT128		\a, \b, \t, 7
	EACH		aesenc, \b, \blocks
	NEXT128		\b, \a, \t, 8
	EACH		aesenc, \a, \blocks
	NEXT128		\a, \b, \t, 9
	EACH		aesenc, \b, \blocks
	NEXT128		\b, \a, \t, 10
	EACH		aesenclast, \a, \blocks
.endm

// AES-128: from \a = k_0 to \a = k_10, \b = k_9. Clobbers \t.
.macro	LAST128		a, b, t
	NEXT128		\a, \b, \t, 1
	NEXT128		\b, \a, \t, 2
	NEXT128		\a, \b, \t, 3
	NEXT128		\b, \a, \t, 4
	NEXT128		\a, \b, \t, 5
	NEXT128		\b, \a, \t, 6
	NEXT128		\a, \b, \t, 7
	NEXT128		\b, \a, \t, 8
	NEXT128		\a, \b, \t, 9
	NEXT128		\b, \a, \t, 10
.endm

// Two schedules of AES-256 side by side, as one alone leaves the CPU waiting: encrypts \x under
// k_0 = \a, k_1 = \b, and goes from \c = k_0, \d = k_1 of another key to its \u = k_14, \d = k_13.
// Clobbers \a, \b, \t, \c.
.macro	ENCRYPT256_LAST256 a, b, t, x, c, d, u
	EACH		pxor, \a, \x
	EACH		aesenc, \b, \x
	NEXT256_EVEN	\a, \b, \t, 1
	NEXT256_EVEN	\c, \d, \u, 1
	EACH		aesenc, \t, \x
	NEXT256_ODD	\b, \t, \a
	NEXT256_ODD	\d, \u, \c
	EACH		aesenc, \a, \x
	NEXT256_EVEN	\t, \a, \b, 2
	NEXT256_EVEN	\u, \c, \d, 2
	EACH		aesenc, \b, \x
	NEXT256_ODD	\a, \b, \t
	NEXT256_ODD	\c, \d, \u
	EACH		aesenc, \t, \x
	NEXT256_EVEN	\b, \t, \a, 3
	NEXT256_EVEN	\d, \u, \c, 3
	EACH		aesenc, \a, \x
	NEXT256_ODD	\t, \a, \b
	NEXT256_ODD	\u, \c, \d
	EACH		aesenc, \b, \x
	NEXT256_EVEN	\a, \b, \t, 4
	NEXT256_EVEN	\c, \d, \u, 4
	EACH		aesenc, \t, \x
	NEXT256_ODD	\b, \t, \a
	NEXT256_ODD	\d, \u, \c
	EACH		aesenc, \a, \x
	NEXT256_EVEN	\t, \a, \b, 5
	NEXT256_EVEN	\u, \c, \d, 5
	EACH		aesenc, \b, \x
	NEXT256_ODD	\a, \b, \t
	NEXT256_ODD	\c, \d, \u
	EACH		aesenc, \t, \x
	NEXT256_EVEN	\b, \t, \a, 6
	NEXT256_EVEN	\d, \u, \c, 6
	EACH		aesenc, \a, \x
	NEXT256_ODD	\t, \a, \b
	NEXT256_ODD	\u, \c, \d
	EACH		aesenc, \b, \x
	NEXT256_EVEN	\a, \b, \t, 7
	NEXT256_EVEN	\c, \d, \u, 7
	EACH		aesenclast, \t, \x
.endm

// The same for AES-128: encrypts \x under k_0 = \a, and goes from \c = k_0 of another key to its
// \c = k_10, \d = k_9. Clobbers \a, \b, \t, \u.
.macro	ENCRYPT128_LAST128 a, b, t, x, c, d, u
	EACH		pxor, \a, \x
	NEXT128		\a, \b, \t, 1
	NEXT128		\c, \d, \u, 1
	EACH		aesenc, \b, \x
	NEXT128		\b, \a, \t, 2
	NEXT128		\d, \c, \u, 2
	EACH		aesenc, \a, \x
	NEXT128		\a, \b, \t, 3
	NEXT128		\c, \d, \u, 3
	EACH		aesenc, \b, \x
	NEXT128		\b, \a, \t, 4
	NEXT128		\d, \c, \u, 4
	EACH		aesenc, \a, \x
	NEXT128		\a, \b, \t, 5
	NEXT128		\c, \d, \u, 5
	EACH		aesenc, \b, \x
	NEXT128		\b, \a, \t, 6
	NEXT128		\d, \c, \u, 6
	EACH		aesenc, \a, \x
	NEXT128		\a, \b, \t, 7
	NEXT128		\c, \d, \u, 7
	EACH		aesenc, \b, \x
	NEXT128		\b, \a, \t, 8
	NEXT128		\d, \c, \u, 8
	EACH		aesenc, \a, \x
	NEXT128		\a, \b, \t, 9
	NEXT128		\c, \d, \u, 9
	EACH		aesenc, \b, \x
	NEXT128		\b, \a, \t, 10
	NEXT128		\d, \c, \u, 10
	EACH		aesenclast, \a, \x
.endm

// \n := \k << 32, so that P^-1(\k) = \k + \n. Not PSLLDQ, for the reason above.
.macro	ONE_WORD_UP	k, n
	pshufd		$0x90, %xmm\k, %xmm\n
	pand		.Lnot_w0(%rip), %xmm\n
.endm

// AES-256, one step backwards: \k := k_{i-2}, for \k = k_i. On entry \s holds w3 of k_{i-1}, as
// moved by .Lrot_w3_to_w0 (i even) or .Lw3_to_w0 (i odd); \s is free on exit, and \n holds the same
// for the next step, moved by \next.
.macro	PREVIOUS256	k, s, n, rcon, next
	ONE_WORD_UP	\k, \n
	pxor		%xmm\n, %xmm\k
.ifnb \next
	movdqa		%xmm\k, %xmm\n
	pshufb		\next(%rip), %xmm\n
.endif
	aesenclast	.Lalone_\rcon(%rip), %xmm\s
	pxor		%xmm\s, %xmm\k
.endm

// AES-128, one step backwards: \k := k_{i-1}, for \k = k_i. On entry \s holds w3 of k_{i-1}, moved
// by .Lrot_w3_to_w0; \s is free on exit, and, unless \last is given, \n holds the same of k_{i-2}:
// w3 of P^-2(k_i), which does not wait for S.
.macro	PREVIOUS128	k, s, n, rcon, last
	ONE_WORD_UP	\k, \n
	pxor		%xmm\n, %xmm\k
.ifb \last
	OLDER_W3_128	\k, \n
.endif
	aesenclast	.Lalone_\rcon(%rip), %xmm\s
	pxor		%xmm\s, %xmm\k
.endm

// \n := w3 of P^-1(\k), moved by .Lrot_w3_to_w0.
.macro	OLDER_W3_128	k, n
	pshufd		$0x90, %xmm\k, %xmm\n
	pxor		%xmm\k, %xmm\n
	pshufb		.Lrot_w3_to_w0(%rip), %xmm\n
.endm
