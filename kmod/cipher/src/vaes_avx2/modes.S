// SPDX-License-Identifier: GPL-2.0-or-later
//
// ECB, CBC, CTR and ESSIV with 256-bit vectors: avx/modes.S. CPUs and memory: as in xts.S.

	MODES		MODE_REQUEST, vaes_avx2, y
