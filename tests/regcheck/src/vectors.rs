// SPDX-License-Identifier: GPL-2.0-or-later

//! Instructions on vector registers.

use iced_x86::{Mnemonic, OpKind, Register};

use crate::finding::Rule;
use crate::lane::Lane;
use crate::state::{Flags, General, Vector, LANES};
use crate::step::Step;
use crate::table::Op;

/// Lanes of a register: 1, 2 or 4.
fn width(register: Register) -> usize {
    if register.is_zmm() {
        4
    } else if register.is_ymm() {
        2
    } else {
        1
    }
}

/// The last two operands that are no immediates: "both" of the table.
fn sources(step: &Step<'_>) -> (u32, u32) {
    let operands = (0..step.instruction.op_count())
        .filter(|n| step.immediate(*n).is_none())
        .count() as u32;
    (operands.saturating_sub(2), operands.saturating_sub(1))
}

/// How many lanes take part, by the widest register.
fn lanes(step: &Step<'_>) -> usize {
    (0..step.instruction.op_count())
        .filter(|n| step.instruction.op_kind(*n) == OpKind::Register)
        .map(|n| step.instruction.op_register(n))
        .filter(|r| r.is_vector_register())
        .map(width)
        .max()
        .unwrap_or(1)
}

fn zip(a: Vector, b: Vector, f: impl Fn(Lane, Lane) -> Lane) -> Vector {
    let mut out = a;
    for (a, b) in out.iter_mut().zip(b) {
        *a = f(*a, b);
    }
    out
}

/// Does what `op`, one of the vector operations of the table, says.
pub(crate) fn apply(step: &mut Step<'_>, op: Op) {
    let (first, second) = sources(step);
    let lanes = lanes(step);
    let same = step.instruction.op_kind(second) == OpKind::Register
        && step.instruction.op_register(first) == step.instruction.op_register(second);
    let scheme = step.context.contract.scheme;
    match op {
        Op::VectorMove => {
            let value = step.vector(1, lanes);
            if step.operand_is_memory(0) {
                step.store_vector(lanes, value);
            } else {
                step.write_vector(0, lanes, value);
            }
        }
        Op::Quadword => quadword(step),
        Op::PutQuadword => {
            let word = step.read_general(second);
            let old = step.vector(first, 1)[0];
            let high = step.immediate(second + 1) == Some(1);
            let new = match (old, word) {
                (Lane::Low(a), General::Word { atoms, half: 1 }) if high && a == atoms => {
                    Lane::Linear(a)
                }
                (old, word) if old.is_public() && !word.is_secret() => Lane::Public,
                _ => Lane::Secret,
            };
            step.write_vector(0, 1, [new; LANES]);
        }
        Op::TakeQuadword => {
            if step.operand_is_memory(0) {
                return step.fault(Rule::Stores, "a store of a part of a vector");
            }
            let half = u8::from(step.immediate(2).is_some_and(|n| n & 1 == 1));
            let lane = step.vector(1, 1)[0];
            step.write_general(0, word_of(lane, half));
        }
        Op::Part => part_of_text(step),
        Op::VectorChoose => {
            // The legacy encoding takes its mask from xmm0.
            let (a, b, mask) = if step.instruction.op_count() == 4 {
                let [a, b, mask] = [1, 2, 3].map(|n| step.vector(n, lanes));
                (a, b, mask)
            } else {
                let [a, b] = [0, 1].map(|n| step.vector(n, lanes));
                (a, b, step.state.vectors[0])
            };
            let mut value = zip(a, b, Lane::chosen);
            for (lane, mask) in value.iter_mut().zip(mask).take(lanes) {
                if !mask.is_public() {
                    *lane = Lane::Secret;
                }
            }
            step.write_vector(0, lanes, value);
        }
        Op::VectorXor
        | Op::VectorAnd
        | Op::VectorAdd
        | Op::VectorMix
        | Op::VectorByteAdd
        | Op::VectorShuffle => {
            let a = step.vector(first, lanes);
            let b = step.vector(second, lanes);
            let value = match op {
                Op::VectorXor if same => [Lane::Zero; LANES],
                Op::VectorXor => zip(a, b, |a, b| a.xor(b, scheme.as_ref())),
                Op::VectorAnd if same => a,
                Op::VectorAnd => zip(a, b, Lane::and),
                Op::VectorAdd if same => zip(a, b, |a, _| match a {
                    Lane::Tweak | Lane::TweakSum => Lane::TweakDoubled,
                    Lane::Stream(a) => a.doubled(false),
                    a => a.mix(a),
                }),
                Op::VectorByteAdd if same => zip(a, b, |a, _| match a {
                    Lane::Stream(a) => a.doubled(true),
                    a => a.bytes_added(a),
                }),
                Op::VectorByteAdd => zip(a, b, Lane::bytes_added),
                Op::VectorShuffle => zip(a, b, Lane::shuffled),
                _ => zip(a, b, Lane::mix),
            };
            step.write_vector(0, lanes, value);
        }
        // By an amount in a register or memory, which then is the last operand.
        Op::VectorMoved if step.immediate(second + 1).is_none() => {
            let a = step.vector(first, lanes);
            let b = step.vector(second, 1);
            step.write_vector(0, lanes, a.map(|lane| lane.mix(b[0])));
        }
        Op::VectorMoved => {
            let value = step.vector(second, lanes);
            let swap = matches!(
                step.instruction.mnemonic(),
                Mnemonic::Pshufd | Mnemonic::Vpshufd
            ) && step.immediate(second + 1) == Some(0x4e);
            step.write_vector(
                0,
                lanes,
                value.map(|lane| match lane {
                    Lane::TweakParts(parts) if swap => parts.swapped(),
                    lane => lane.moved(),
                }),
            );
        }
        Op::Round(way, last) => {
            let state = step.vector(first, lanes);
            let key = step.vector(second, lanes);
            let value = zip(state, key, |s, k| s.round(k, way, last, scheme.as_ref()));
            step.write_vector(0, lanes, value);
        }
        Op::VectorShift(shift) => {
            let amount = step.immediate(step.instruction.op_count() - 1);
            let value = match amount {
                Some(_) => step.vector(second, lanes).map(|a| a.shifted(shift)),
                // By amounts for each quadword, or one for all.
                None => {
                    let a = step.vector(first, lanes);
                    let b = step.vector(second, lanes);
                    let each = matches!(
                        step.instruction.mnemonic(),
                        Mnemonic::Vpsllvq | Mnemonic::Vpsrlvq
                    );
                    zip(a, b, |a, b| match a {
                        a if each && b.is_public() => a.shifted(shift),
                        a => a.mix(b),
                    })
                }
            };
            step.write_vector(0, lanes, value);
        }
        Op::VectorAlign => {
            let a = step.vector(first, lanes);
            let b = step.vector(second, lanes);
            let bytes = step.immediate(second + 1).unwrap_or(0);
            let value = zip(a, b, |a, b| a.aligned(b, bytes, same));
            step.write_vector(0, lanes, value);
        }
        Op::VectorBlend => {
            let a = step.vector(first, lanes);
            let b = step.vector(second, lanes);
            step.write_vector(0, lanes, zip(a, b, Lane::blend));
        }
        Op::VectorMultiply => {
            let a = step.vector(first, lanes);
            let b = step.vector(second, lanes);
            let which = step.immediate(second + 1).unwrap_or(0);
            step.write_vector(0, lanes, zip(a, b, |a, b| a.product(b, which)));
        }
        Op::VectorLookUp if step.immediate(step.instruction.op_count() - 1).is_some() => {
            let value = step.vector(second, lanes);
            step.write_vector(0, lanes, value.map(|lane| lane.mix(Lane::Zero)));
        }
        Op::VectorLookUp => {
            let table = step.vector(first, lanes);
            let by = step.vector(second, lanes);
            step.write_vector(0, lanes, zip(table, by, Lane::looked_up));
        }
        Op::VectorTernary => {
            let a = step.vector(0, lanes);
            let b = step.vector(1, lanes);
            let c = step.vector(2, lanes);
            let mut value = a;
            for (n, lane) in value.iter_mut().enumerate() {
                *lane = match step.immediate(3) {
                    // The xor of all three, in whatever order it is understood.
                    Some(0x96) => [(a[n], b[n], c[n]), (a[n], c[n], b[n]), (b[n], c[n], a[n])]
                        .into_iter()
                        .map(|(a, b, c)| a.xor(b, scheme.as_ref()).xor(c, scheme.as_ref()))
                        .find(|lane| *lane != Lane::Secret)
                        .unwrap_or(Lane::Secret),
                    // The xor of the first with what both others have.
                    Some(0x78) => a[n].xor(b[n].and(c[n]), scheme.as_ref()),
                    _ => a[n].mix(b[n]).mix(c[n]),
                };
            }
            step.write_vector(0, lanes, value);
        }
        Op::VectorWiden => {
            let lane = step.vector(1, 1)[0].mix(Lane::Zero);
            step.write_vector(0, lanes, [lane; LANES]);
        }
        Op::InverseMix => {
            let value = step.vector(second, lanes);
            step.write_vector(0, lanes, value.map(|lane| lane.mix(Lane::Zero)));
        }
        Op::VectorTest => {
            let a = step.vector(first, lanes);
            let b = step.vector(second, lanes);
            let (a, b) = (&a[..lanes], &b[..lanes]);
            step.state.flags = if same && a == [Lane::CheckDifference] {
                Flags::Check
            } else if a.iter().chain(b).all(|lane| lane.is_public()) {
                Flags::Public
            } else {
                Flags::Secret
            };
        }
        Op::TakeLane => take_lane(step),
        Op::PutLane => {
            let mut value = step.vector(1, lanes);
            let few = part(step, 2);
            let from = step.vector(2, few);
            let at = few * (step.immediate(3).unwrap_or(0) as usize % (lanes / few).max(1));
            value[at..at + few].copy_from_slice(&from[..few]);
            step.write_vector(0, lanes, value);
        }
        Op::SpreadLane => {
            let lane = step.vector(1, 1)[0];
            step.write_vector(0, lanes, [lane; LANES]);
        }
        Op::ChooseLanes(two) => {
            let a = step.vector(first, lanes);
            let b = step.vector(second, lanes);
            let by = step.immediate(3).unwrap_or(0) as usize;
            let mut value = [Lane::Zero; LANES];
            for (n, lane) in value.iter_mut().enumerate().take(lanes) {
                *lane = if two {
                    // Four bits for each: which of a's and b's lanes, and whether zero instead.
                    let by = by >> (4 * n);
                    match by & 3 {
                        _ if by & 8 != 0 => Lane::Zero,
                        i @ 0..=1 => a[i],
                        i => b[i - 2],
                    }
                } else {
                    // One bit or two for each; the lower half of them from a, the upper from b.
                    let bits = lanes / 2;
                    let i = by >> (bits * n) & (lanes - 1);
                    if n < lanes / 2 {
                        a[i]
                    } else {
                        b[i]
                    }
                };
            }
            step.write_vector(0, lanes, value);
        }
        Op::ZeroAll => {
            for vector in &mut step.state.vectors[..16] {
                *vector = [Lane::Zero; LANES];
            }
        }
        Op::ZeroUpper => {
            for vector in &mut step.state.vectors[..16] {
                vector[1..].fill(Lane::Zero);
            }
        }
        _ => step.unknown("has a row in the table that nothing carries out"),
    }
}

fn word_of(lane: Lane, half: u8) -> General {
    match (lane, half) {
        (Lane::Zero, _) => General::Number(0),
        (lane, _) if lane.is_public() => General::Public,
        (Lane::Linear(atoms), half) => General::Word { atoms, half },
        _ => General::Secret,
    }
}

/// Lanes of an operand that may be a register or memory, for instructions on parts of vectors.
fn part(step: &Step<'_>, operand: u32) -> usize {
    if step.operand_is_memory(operand) {
        (step.instruction.memory_size().size() / 16).clamp(1, 2)
    } else {
        width(step.instruction.op_register(operand)).min(2)
    }
}

fn take_lane(step: &mut Step<'_>) {
    let from = step.vector(1, LANES);
    let all = width(step.instruction.op_register(1));
    let few = part(step, 0);
    let at = few * (step.immediate(2).unwrap_or(0) as usize % (all / few).max(1));
    let mut value = [Lane::Zero; LANES];
    value[..few].copy_from_slice(&from[at..at + few]);
    if step.operand_is_memory(0) {
        step.store_vector(few, value);
    } else {
        step.write_vector(0, few, value);
    }
}

/// `movq`: between two vectors, a general register, memory.
fn quadword(step: &mut Step<'_>) {
    let to_general = step.instruction.op_kind(0) == OpKind::Register
        && !step.instruction.op_register(0).is_vector_register();
    if step.operand_is_memory(0) {
        let value = step.vector(1, 1)[0];
        return step.store_part(value);
    }
    if step.operand_is_memory(1) {
        let lane = step.load_part();
        return step.write_vector(0, 1, [lane; LANES]);
    }
    if to_general {
        let lane = step.vector(1, 1)[0];
        return step.write_general(0, word_of(lane, 0));
    }
    let from_vector = step.instruction.op_kind(1) == OpKind::Register
        && step.instruction.op_register(1).is_vector_register();
    let lane = if from_vector {
        match step.vector(1, 1)[0] {
            Lane::Zero => Lane::Zero,
            lane if lane.is_public() => Lane::Public,
            Lane::Linear(atoms) => Lane::Low(atoms),
            _ => Lane::Secret,
        }
    } else {
        match step.read_general(1) {
            General::Number(0) => Lane::Zero,
            General::Word { atoms, half: 0 } => Lane::Low(atoms),
            word if word.is_secret() => Lane::Secret,
            General::TailPart => Lane::PartLength,
            _ => Lane::Public,
        }
    };
    step.write_vector(0, 1, [lane; LANES]);
}

/// The first bytes of a vector from or to memory, other than quadwords. Those that are put into a vector
/// must find it zero.
fn part_of_text(step: &mut Step<'_>) {
    let from = match step.immediate(step.instruction.op_count() - 1) {
        None => 1,
        Some(0) => step.instruction.op_count() - 2,
        Some(_) => return step.unknown("takes another part of a vector than its first bytes"),
    };
    if step.operand_is_memory(0) {
        let value = step.vector(1, 1)[0];
        return step.store_part(value);
    }
    if !step.operand_is_memory(from) {
        return step.unknown("moves a part of a vector other than from or to memory");
    }
    let first = if from == 2 { 1 } else { 0 };
    let put = step.immediate(step.instruction.op_count() - 1).is_some();
    let zero = !put || step.vector(first, 1)[0] == Lane::Zero;
    let lane = step.load_part();
    let lane = if zero { lane } else { Lane::Secret };
    step.write_vector(0, 1, [lane; LANES]);
}
