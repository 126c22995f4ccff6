// SPDX-License-Identifier: GPL-2.0-or-later

//! LiME and AVML: each run of memory has a header of 32 bytes before it.
//!
//! LiME's (`lime_mem_range_header`) is magic, version 1, first and *last* address, 8 reserved bytes,
//! little-endian. AVML writes the same, or, compressing, its own magic and version 2; then the memory
//! as a Snappy stream (framing format), and the length of that as 8 bytes.

use super::bytes::{Bytes, Fields};
use super::extents::{Extent, MAX};
use super::problem::{Problem, Problems};

/// First bytes of a LiME file.
pub(crate) const LIME: &[u8] = b"EMiL";
/// First bytes of a compressed AVML file.
pub(crate) const AVML: &[u8] = b"AVML";

const HEADER: u64 = 32;
/// Bytes of memory, at least, in an extent of Snappy frames, unless there are that many frames.
const GROUP: u64 = 1 << 20;
const GROUP_FRAMES: u32 = 64;
/// Most bytes of memory in a frame (framing format, section 4.2).
const FRAME: u64 = 65536;
/// Most bytes of the file in a frame: Snappy adds at most a sixth, and 32 bytes.
const STORED: u64 = 4 + FRAME + FRAME / 6 + 32;

/// The memory in a file of either kind.
pub(crate) fn read(bytes: &Bytes, problems: &Problems) -> Result<Vec<Extent>, Problem> {
    let mut extents = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        match range(bytes, at, &mut extents) {
            Ok(next) => at = next,
            // Of a file whose first header is wrong nothing is known.
            Err(problem) if extents.is_empty() => return Err(problem),
            Err(problem) => {
                problems.add(problem);
                break;
            }
        }
    }
    Ok(extents)
}

/// Reads one header, adds the extents behind it, and says where the next is.
fn range(bytes: &Bytes, at: u64, extents: &mut Vec<Extent>) -> Result<u64, Problem> {
    let header: [u8; HEADER as usize] = bytes.array(at)?;
    let fields = Fields {
        bytes: &header,
        big_endian: false,
    };
    let (version, first, last) = (fields.u32(4), fields.u64(8), fields.u64(16));
    let frames = match (&header[..4], version) {
        (LIME, 1) => false,
        (AVML, 2) => true,
        (LIME | AVML, _) => {
            let what = format!("version {version} of the format is not known");
            return Err(Problem::new(at, what));
        }
        _ => return Err(Problem::new(at, "no header of a memory range is here")),
    };
    let len = last
        .checked_sub(first)
        .and_then(|len| len.checked_add(1))
        .filter(|len| first.checked_add(*len).is_some())
        .ok_or_else(|| Problem::new(at, "a memory range ends before it begins"))?;
    if extents.len() >= MAX {
        return Err(Problem::new(at, "there are more ranges than can be kept"));
    }
    let at = at + HEADER;
    if frames {
        return stream(bytes, first, len, at, extents);
    }
    let there = len.min(bytes.len() - at);
    extents.push(Extent {
        address: first,
        len: there,
        at,
        frames: 0,
    });
    if there < len {
        let what = format!(
            "the file ends here: {} bytes of the range at {first:#x} are missing",
            len - there
        );
        return Err(Problem::new(bytes.len(), what));
    }
    Ok(at + len)
}

/// Finds the frames of a Snappy stream at `at`, which hold `len` bytes of memory.
fn stream(
    bytes: &Bytes,
    address: u64,
    len: u64,
    mut at: u64,
    extents: &mut Vec<Extent>,
) -> Result<u64, Problem> {
    let mut group = Extent {
        address,
        len: 0,
        at,
        frames: 0,
    };
    let (mut done, mut count) = (0, 0);
    let result = loop {
        if done >= len {
            break Ok(());
        }
        let (next, content) = match frame(bytes, at) {
            Ok(frame) => frame,
            Err(problem) => break Err(problem),
        };
        if content > FRAME || content > len - done || next - at > 4 + STORED && content != 0 {
            break Err(Problem::new(at, "a Snappy frame is larger than it may be"));
        }
        at = next;
        if content == 0 {
            // Padding and the like: need not be read again.
            if group.len == 0 {
                group.at = at;
            } else {
                close(&mut group, extents, at);
                count = 0;
            }
            continue;
        }
        done += content;
        count += 1;
        group.len += content;
        group.frames = (at - group.at) as u32;
        if group.len >= GROUP || count == GROUP_FRAMES {
            close(&mut group, extents, at);
            count = 0;
            if extents.len() >= MAX {
                break Err(Problem::new(at, "there are more frames than can be kept"));
            }
        }
    };
    if group.len != 0 {
        close(&mut group, extents, at);
    }
    result?;
    // What follows a whole stream is its length, which is known by now.
    let _: [u8; 8] = bytes.array(at)?;
    Ok(at + 8)
}

/// Moves a group to the list, and begins the next at `at` in the file.
fn close(group: &mut Extent, extents: &mut Vec<Extent>, at: u64) {
    extents.push(*group);
    *group = Extent {
        address: group.address + group.len,
        len: 0,
        at,
        frames: 0,
    };
}

/// The end of the frame at `at`, and how many bytes of memory it holds: 0 if it is of another kind.
fn frame(bytes: &Bytes, at: u64) -> Result<(u64, u64), Problem> {
    let head: [u8; 4] = bytes.array(at)?;
    let stored = u64::from(u32::from_le_bytes([head[1], head[2], head[3], 0]));
    let next = at + 4 + stored;
    if next > bytes.len() {
        return Err(Problem::new(bytes.len(), "the file ends within a frame"));
    }
    let short = || Problem::new(at, "a Snappy frame is shorter than its own header");
    let content = match head[0] {
        // Compressed: a checksum, then the length as a varint of up to 5 bytes.
        0 => {
            let mut start = [0; 5];
            let there = stored.checked_sub(4).ok_or_else(short)?.min(5) as usize;
            bytes.read(&mut start[..there], at + 8)?;
            snap::raw::decompress_len(&start[..there])
                .map_err(|_| Problem::new(at, "a Snappy frame is corrupt"))? as u64
        }
        // As it is, behind a checksum.
        1 => stored.checked_sub(4).ok_or_else(short)?,
        // Of kinds that may be skipped.
        0x80..=0xff => 0,
        _ => return Err(Problem::new(at, "a Snappy frame is of no known kind")),
    };
    Ok((next, content))
}
