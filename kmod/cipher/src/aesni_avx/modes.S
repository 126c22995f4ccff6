// SPDX-License-Identifier: GPL-2.0-or-later
//
// ECB, CBC, CTR and ESSIV with 128-bit vectors and AVX: avx/modes.S. CPUs and memory: as in xts.S.

	MODES		MODE_REQUEST, aesni_avx, x
