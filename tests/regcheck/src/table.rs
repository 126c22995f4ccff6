// SPDX-License-Identifier: GPL-2.0-or-later

//! The instructions that the engine may use, and how each moves secrets. Anything else is refused.
//!
//! A row stands for all widths and encodings of its mnemonic: operands say how many lanes take part,
//! and an encoding with VEX or EVEX zeroes the lanes above them. For a new mnemonic, add a row.

use iced_x86::Mnemonic;

use crate::lane::Way;

/// How an instruction moves what it works on. "Source" is the last operand that is no immediate;
/// "both" are the last two, of which the first is the destination in encodings with two operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// No register, no memory, no flag changes.
    Nothing,
    /// A cache line goes out to memory.
    Flush,
    /// General registers, memory, debug registers: destination := source.
    Move,
    /// Destination := source added to it.
    Add,
    /// Destination -= 1.
    Decrement,
    /// Destination := shifted right.
    ShiftRight,
    /// One bit of the destination := 1.
    SetBit,
    /// Mask register := general register.
    MoveMask,
    /// Destination -= source.
    Subtract,
    /// Destination ^= source; zero if they are the same register.
    Xor,
    /// Destination &= source.
    And,
    /// Destination := something of all operands.
    Combine,
    /// Flags := difference of both.
    Compare,
    /// Flags := something of both.
    Test,
    /// Vector := source, lane by lane, also from and to memory.
    VectorMove,
    /// A part of a vector, from its lowest byte, from or to memory.
    Part,
    /// Both, added as bytes.
    VectorByteAdd,
    /// The first of both, its bytes chosen by the second.
    VectorShuffle,
    /// Bytes of two, by the sign bits of a third.
    VectorChoose,
    /// A quadword between a general register (or memory) and a vector's low half.
    Quadword,
    /// Vector's quadword := general register.
    PutQuadword,
    /// General register := vector's quadword.
    TakeQuadword,
    /// Both, xored.
    VectorXor,
    /// Both, anded.
    VectorAnd,
    /// Both, added as quadwords.
    VectorAdd,
    /// Something of both.
    VectorMix,
    /// Each part from one of both.
    VectorBlend,
    /// Bytes of both, the first above the second, moved down by an immediate.
    VectorAlign,
    /// The destination and both, by a truth table.
    VectorTernary,
    /// The carry-less product of quadwords of both.
    VectorMultiply,
    /// The first of both, its parts chosen by the second or by an immediate.
    VectorLookUp,
    /// The source, its bits moved.
    VectorMoved,
    /// The first of both, or the source, shifted: by an immediate or by the second of both.
    VectorShift(Shift),
    /// Vector := the source's first bytes, each in a wider element.
    VectorWiden,
    /// One round of AES.
    Round(Way, bool),
    /// InvMixColumns of the source.
    InverseMix,
    /// Flags := whether both have a bit in common.
    VectorTest,
    /// Destination := lane(s) of the source, by an immediate.
    TakeLane,
    /// Lane(s) of the destination := source, by an immediate; the others from the first of both.
    PutLane,
    /// Each lane := the one that the source is.
    SpreadLane,
    /// Each lane := one of both's, by an immediate; VPERM2I128's immediate if true.
    ChooseLanes(bool),
    /// All vectors := 0.
    ZeroAll,
    /// All vectors' lanes but the lowest := 0.
    ZeroUpper,
    /// Ends or forks the path.
    Branch,
}

/// A shift of a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shift {
    /// Each quadword, to the left.
    QuadsLeft,
    /// Each quadword, to the right.
    QuadsRight,
    /// Each lane as a whole, to the left.
    LanesLeft,
    /// Each lane as a whole, to the right.
    LanesRight,
}

/// The row of a mnemonic.
pub fn op(mnemonic: Mnemonic) -> Option<Op> {
    use Mnemonic as M;
    const ENC: Way = Way::Enc;
    const DEC: Way = Way::Dec;
    Some(match mnemonic {
        M::Endbr64 | M::Nop | M::Mfence | M::Sfence => Op::Nothing,
        M::Clflush | M::Clflushopt => Op::Flush,
        M::Mov => Op::Move,
        M::Add => Op::Add,
        M::Sub => Op::Subtract,
        M::Xor => Op::Xor,
        M::Or | M::Shl | M::Shld | M::Shrd => Op::Combine,
        M::And => Op::And,
        M::Dec => Op::Decrement,
        M::Shr => Op::ShiftRight,
        M::Bts => Op::SetBit,
        M::Kmovq => Op::MoveMask,
        M::Cmp => Op::Compare,
        M::Test => Op::Test,
        M::Jmp | M::Jb | M::Jae | M::Jbe | M::Ja | M::Je | M::Jne => Op::Branch,

        M::Movdqa | M::Movdqu | M::Vmovdqa | M::Vmovdqu => Op::VectorMove,
        M::Vmovdqa64 | M::Vmovdqu8 | M::Vmovdqu64 => Op::VectorMove,
        M::Movq | M::Vmovq => Op::Quadword,
        M::Pinsrq | M::Vpinsrq => Op::PutQuadword,
        M::Pextrq | M::Vpextrq => Op::TakeQuadword,
        M::Pxor | M::Vpxor | M::Vpxord | M::Vpxorq => Op::VectorXor,
        M::Pand | M::Vpand | M::Vpandd | M::Vpandq => Op::VectorAnd,
        M::Paddq | M::Vpaddq => Op::VectorAdd,
        M::Shufps | M::Vshufps | M::Psubb | M::Vpsubb => Op::VectorMix,
        M::Vpandn | M::Vpandnq => Op::VectorMix,
        M::Paddb | M::Vpaddb => Op::VectorByteAdd,
        M::Pshufb | M::Vpshufb => Op::VectorShuffle,
        M::Pblendvb | M::Vpblendvb => Op::VectorChoose,
        M::Movd | M::Pinsrw | M::Pinsrb | M::Pextrw | M::Pextrb => Op::Part,
        M::Vmovd | M::Vpinsrw | M::Vpinsrb | M::Vpextrw | M::Vpextrb => Op::Part,
        M::Pshufd | M::Vpshufd | M::Psrad | M::Vpsrad => Op::VectorMoved,
        M::Psllq | M::Vpsllq | M::Vpsllvq => Op::VectorShift(Shift::QuadsLeft),
        M::Psrlq | M::Vpsrlq | M::Vpsrlvq => Op::VectorShift(Shift::QuadsRight),
        M::Pslldq | M::Vpslldq => Op::VectorShift(Shift::LanesLeft),
        M::Psrldq | M::Vpsrldq => Op::VectorShift(Shift::LanesRight),
        M::Vpblendw | M::Vpblendd => Op::VectorBlend,
        M::Vpternlogd | M::Vpternlogq => Op::VectorTernary,
        M::Vpclmulqdq => Op::VectorMultiply,
        M::Vpalignr => Op::VectorAlign,
        M::Vpermilps => Op::VectorLookUp,
        M::Vpmovzxbq => Op::VectorWiden,
        M::Aesenc | M::Vaesenc => Op::Round(ENC, false),
        M::Aesenclast | M::Vaesenclast => Op::Round(ENC, true),
        M::Aesdec | M::Vaesdec => Op::Round(DEC, false),
        M::Aesdeclast | M::Vaesdeclast => Op::Round(DEC, true),
        M::Aesimc | M::Vaesimc => Op::InverseMix,
        M::Ptest | M::Vptest => Op::VectorTest,
        M::Vextracti128 | M::Vextractf128 | M::Vextracti32x4 | M::Vextracti64x4 => Op::TakeLane,
        M::Vinserti128 | M::Vinsertf128 | M::Vinserti32x4 | M::Vinserti64x4 => Op::PutLane,
        M::Vbroadcasti128 | M::Vbroadcasti32x4 => Op::SpreadLane,
        M::Vperm2i128 => Op::ChooseLanes(true),
        M::Vshufi32x4 => Op::ChooseLanes(false),
        M::Vzeroall => Op::ZeroAll,
        M::Vzeroupper => Op::ZeroUpper,
        _ => return None,
    })
}
