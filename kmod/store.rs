// SPDX-License-Identifier: GPL-2.0-or-later

//! The key store: the states of the master key M, and every change between them.
//!
//! `empty -> armed -> locked -> armed ... -> empty`. All changes are made under one mutex; erasing,
//! which must work in any context, needs none (see [`doom`]).

use crate::{
    arm, bindings,
    cipher::{self, CheckValue, Input, Mode, Purpose},
    errno::{key_rejected, no_key},
    key_buffer::KeyBuffer,
    percpu,
    section::Section,
    sha256::KernelSha256,
};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use kernel::{prelude::*, sync::global_lock};

/// State of the master key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// No key.
    Empty,
    /// At least one CPU holds the key with this check value.
    Armed(CheckValue),
    /// No CPU holds a key; only the one with this check value may come back.
    Locked(CheckValue),
}

/// What the mutex guards.
pub(crate) struct Control {
    state: State,
    suspending: bool,
}

global_lock! {
    // SAFETY: `init()` is called before anything else of this module.
    unsafe(uninit) static CONTROL: Mutex<Control> = Control { state: State::Empty, suspending: false };
}

/// Whether shares may exist, in a form that any context can read.
static LIFE: AtomicU32 = AtomicU32::new(life::NONE);

mod life {
    /// No share exists.
    pub(super) const NONE: u32 = 0;
    /// Shares exist, and more may be made.
    pub(super) const LIVE: u32 = 1;
    /// Shares are being erased: whoever makes one must take it back.
    pub(super) const DYING: u32 = 2;
    /// As `DYING`, until the machine stops.
    pub(super) const DOOMED: u32 = 3;
}

static VOLUMES: AtomicU32 = AtomicU32::new(0);
static REFRESHES: AtomicU64 = AtomicU64::new(0);
static LOSSES: AtomicU64 = AtomicU64::new(0);
static ARMINGS: AtomicU64 = AtomicU64::new(0);

/// What `status` reports.
pub(crate) struct Status {
    pub(crate) state: State,
    pub(crate) armed: u32,
    pub(crate) volumes: u32,
    pub(crate) armings: u64,
    pub(crate) refreshes: u64,
    pub(crate) losses: u64,
}

/// Makes the mutex usable.
///
/// # Safety
///
/// To be called exactly once, before any other function of this file.
pub(crate) unsafe fn init() {
    // SAFETY: By this function's own contract.
    unsafe { CONTROL.init() };
}

/// Whether a debug register may hold a share. Any context.
pub(crate) fn may_hold_shares() -> bool {
    LIFE.load(Ordering::Acquire) != life::NONE
}

/// Erases every share for good, and this CPU's registers: M is gone, whatever the other CPUs are
/// doing. For a machine about to stop or to crash; works in any context, NMI included.
pub(crate) fn doom() {
    if LIFE.swap(life::DOOMED, Ordering::SeqCst) == life::NONE {
        return;
    }
    percpu::erase_all();
    wipe_registers();
}

/// As [`doom`], and wipes the registers of all CPUs. For the reboot notifier.
pub(crate) fn doom_everywhere() {
    doom();
    wipe_all_registers();
}

/// Zeroes DR0-DR3 of the current CPU. Any context.
fn wipe_registers() {
    if let Some(slot) = percpu::slots().first() {
        // SAFETY: All breakpoint slots are reserved, so the registers are ours to write.
        unsafe { cipher::wipe(&slot.share) };
    }
}

unsafe extern "C" fn wipe_registers_ipi(_info: *mut core::ffi::c_void) {
    wipe_registers();
}

/// Zeroes DR0-DR3 of every online CPU, after the sections in flight there have ended: they run with
/// interrupts off.
fn wipe_all_registers() {
    // SAFETY: The callback is safe in any context; interrupts are on here.
    unsafe {
        bindings::on_each_cpu_cond_mask(
            None,
            Some(wipe_registers_ipi),
            core::ptr::null_mut(),
            true,
            bindings::tresor_cpu_online_mask(),
        )
    };
    for slot in percpu::slots() {
        slot.armed.store(false, Ordering::Relaxed);
    }
}

/// Erases M everywhere. The state is the caller's to set.
fn erase(_control: &mut Control) {
    let _ = LIFE.compare_exchange(life::LIVE, life::DYING, Ordering::SeqCst, Ordering::SeqCst);
    percpu::erase_all();
    wipe_all_registers();
    // A refresh that raced with the first erasure left its mask r in the array, which is worth nothing by now.
    percpu::erase_all();
    let _ = LIFE.compare_exchange(life::DYING, life::NONE, Ordering::SeqCst, Ordering::SeqCst);
}

/// To be called in a section that has just written shares: takes them back if M is being erased.
pub(crate) fn keep_or_wipe(section: &Section) -> Result {
    if LIFE.load(Ordering::SeqCst) == life::LIVE {
        return Ok(());
    }
    if let Some(slot) = percpu::slots().get(section.cpu()) {
        slot.share.erase();
    }
    wipe_registers();
    Err(EBUSY)
}

/// Permission to make shares: fails once the machine is about to stop.
fn begin_life() -> Result {
    match LIFE.compare_exchange(life::NONE, life::LIVE, Ordering::SeqCst, Ordering::SeqCst) {
        Ok(_) | Err(life::LIVE) => Ok(()),
        Err(_) => Err(EBUSY),
    }
}

/// Takes a master key from `key` and arms every CPU that is online.
///
/// With the key that is already held nothing changes. Otherwise: `EBUSY` if another key is held or
/// a suspend is under way, `EKEYREJECTED` if the key is not the `expected` one, or not the one that
/// was locked. No error changes anything.
pub(crate) fn load(key: &KeyBuffer, expected: Option<CheckValue>) -> Result<CheckValue> {
    let mut control = CONTROL.lock();
    if control.suspending {
        return Err(EBUSY);
    }
    let check = {
        let _section = Section::enter()?;
        // SAFETY: In a section; the key is readable for 32 bytes.
        unsafe { cipher::peek_check(key.as_ptr()) }
    };
    if expected.is_some_and(|expected| expected != check) {
        return Err(key_rejected());
    }
    tend(&mut control);
    match control.state {
        State::Armed(held) if held == check => return Ok(check),
        State::Armed(_) => return Err(EBUSY),
        State::Locked(held) if held != check => return Err(key_rejected()),
        State::Locked(_) | State::Empty => {}
    }
    begin_life()?;
    if let Err(error) = arm_this_cpu(key) {
        erase(&mut control);
        return Err(error);
    }
    control.state = State::Armed(check);
    tend(&mut control);
    Ok(check)
}

/// Draws a random master key, as [`load`] otherwise. `EBUSY` unless the state is empty.
pub(crate) fn generate() -> Result<CheckValue> {
    let mut key = KeyBuffer::take();
    if CONTROL.lock().state != State::Empty {
        return Err(EBUSY);
    }
    key.draw();
    load(&key, None)
}

fn arm_this_cpu(key: &KeyBuffer) -> Result {
    for slot in percpu::slots() {
        draw_share(slot);
    }
    let section = Section::enter()?;
    let slot = percpu::slots().get(section.cpu()).ok_or(EINVAL)?;
    if !slot.reserved.load(Ordering::Relaxed) {
        return Err(ENOSPC);
    }
    // SAFETY: In a section of the CPU that owns `slot`, whose S_c is fresh; its breakpoint slots
    // are ours; the key is readable for 32 bytes.
    unsafe { cipher::arm(&slot.share, key.as_ptr()) };
    slot.armed.store(true, Ordering::Relaxed);
    keep_or_wipe(&section)
}

/// Fills S_c with fresh random bytes, which must never exist anywhere else.
pub(crate) fn draw_share(slot: &percpu::Slot) {
    slot.share.set_with(|bytes| {
        // SAFETY: The pointer is valid for 32 bytes, which nobody else uses: the CPU is not armed.
        unsafe { bindings::get_random_bytes(bytes.cast(), 32) };
    });
}

/// Erases M, and keeps its check value. `ENOKEY` if there is none, `EBUSY` with volumes open.
pub(crate) fn lock() -> Result {
    let mut control = CONTROL.lock();
    lock_held(&mut control)
}

fn lock_held(control: &mut Control) -> Result {
    match control.state {
        State::Empty => Err(no_key()),
        State::Locked(_) => Ok(()),
        State::Armed(_) if VOLUMES.load(Ordering::Relaxed) != 0 => Err(EBUSY),
        State::Armed(check) => {
            erase(control);
            control.state = State::Locked(check);
            Ok(())
        }
    }
}

/// Erases M and its check value. `EBUSY` with volumes open, unless forced: their I/O then fails.
pub(crate) fn clear(force: bool) -> Result {
    let mut control = CONTROL.lock();
    if !force && VOLUMES.load(Ordering::Relaxed) != 0 {
        return Err(EBUSY);
    }
    erase(&mut control);
    control.state = State::Empty;
    Ok(())
}

/// Locks for a suspend or hibernation, and refuses to load until [`suspend_end`]. `EBUSY` with
/// volumes open.
pub(crate) fn suspend_begin() -> Result {
    let mut control = CONTROL.lock();
    match lock_held(&mut control) {
        Err(error) if error != no_key() => return Err(error),
        _ => control.suspending = true,
    }
    Ok(())
}

/// Allows loading again after [`suspend_begin`].
pub(crate) fn suspend_end() {
    CONTROL.lock().suspending = false;
}

/// Computes the slot key of a LUKS volume into `key`. `ENOKEY` unless armed.
pub(crate) fn slot_key(uuid: &[u8], key: &mut KeyBuffer) -> Result {
    let control = CONTROL.lock();
    let State::Armed(check) = control.state else {
        return Err(no_key());
    };
    let inputs = inputs(Purpose::SlotKey, uuid);
    let out = key.as_mut_ptr();
    percpu::first_online_that(|slot| {
        // SAFETY: In a section of the CPU that owns `slot`; `out` is writable for 32 bytes, and
        // `key` is borrowed until this function returns.
        unsafe { cipher::slot_key(&slot.share, &check, &inputs, out) }.is_ok()
    })
    .then_some(())
    .ok_or_else(no_key)
}

/// A volume that counts as open.
pub(crate) struct Volume(());

impl Drop for Volume {
    fn drop(&mut self) {
        VOLUMES.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Opens a volume under the key that is held. `ENOKEY` unless armed.
pub(crate) fn open_volume() -> Result<(CheckValue, Volume)> {
    let control = CONTROL.lock();
    let State::Armed(check) = control.state else {
        return Err(no_key());
    };
    VOLUMES.fetch_add(1, Ordering::Relaxed);
    Ok((check, Volume(())))
}

/// Notes that a CPU was found without the key.
pub(crate) fn note_loss(slot: &percpu::Slot) {
    if slot.armed.swap(false, Ordering::Relaxed) {
        LOSSES.fetch_add(1, Ordering::Relaxed);
    }
}

/// Refreshes the shares of every CPU, arms those that lack the key, and notices when none has it
/// any more. Called every second, and before anything that depends on who holds M.
pub(crate) fn tend_all() {
    tend(&mut CONTROL.lock());
}

fn tend(control: &mut Control) {
    let State::Armed(check) = control.state else {
        return;
    };
    let refreshed = arm::refresh_all(&check);
    REFRESHES.fetch_add(refreshed.into(), Ordering::Relaxed);
    if refreshed == 0 {
        pr_warn!("no CPU holds the key any more: locked until it is loaded again\n");
        erase(control);
        control.state = State::Locked(check);
        return;
    }
    ARMINGS.fetch_add(arm::arm_missing(&check).into(), Ordering::Relaxed);
}

/// What `status` reports. Which CPUs are armed is as of the last second, or the last failure.
pub(crate) fn status() -> Status {
    let control = CONTROL.lock();
    let armed = percpu::slots()
        .iter()
        .filter(|slot| slot.armed.load(Ordering::Relaxed))
        .count();
    Status {
        state: control.state,
        armed: armed as u32,
        volumes: VOLUMES.load(Ordering::Relaxed),
        armings: ARMINGS.load(Ordering::Relaxed),
        refreshes: REFRESHES.load(Ordering::Relaxed),
        losses: LOSSES.load(Ordering::Relaxed),
    }
}

/// The two inputs of a 256-bit value F(purpose, 0, 256, i, context), i = 0, 1.
pub(crate) fn inputs(purpose: Purpose, context: &[u8]) -> [Input; 2] {
    [0, 1].map(|index| cipher::input::<KernelSha256>(purpose, Mode::None, 256, index, context))
}

/// The store's end: erases M when the module goes.
pub(crate) struct Owner(());

impl Owner {
    /// To be made once, dropped while the breakpoint slots are still reserved.
    pub(crate) fn new() -> Self {
        Self(())
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let mut control = CONTROL.lock();
        erase(&mut control);
        control.state = State::Empty;
    }
}
