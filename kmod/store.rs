// SPDX-License-Identifier: GPL-2.0-or-later

//! The key store: the states of the master key M, and every change between them.
//!
//! `empty -> armed -> locked -> armed ... -> empty`. All changes are made under one mutex; erasing,
//! which must work in any context, needs none (see [`doom`]). What the state means to requests is the
//! [`Gate`] of the queue in which they wait.

use crate::{
    arm, bindings,
    cipher::{self, CheckValue, Input, Mode, Purpose},
    errno::{key_rejected, no_key},
    keeper,
    key_buffer::{self, KeyBuffer},
    percpu::{self, Holding},
    queue::{self, Gate},
    section::Section,
    sha256::KernelSha256,
    workers,
};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use kernel::{bindings::work_struct, error::to_result, prelude::*, sync::global_lock};

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

/// States that nobody was told of yet.
const UNTOLD_MAX: usize = 8;

/// What the mutex guards.
pub(crate) struct Control {
    state: State,
    /// The states that were entered since [`next_event`] was last called: the last few, in order.
    untold: [State; UNTOLD_MAX],
    untold_len: usize,
}

impl Control {
    /// Enters a state. Requests that wait go on, stay or fail accordingly.
    fn enter(&mut self, state: State) {
        let (gate, held) = match state {
            State::Empty => (Gate::Closed, 0),
            State::Armed(check) => (Gate::Open(check), key_id(&check)),
            State::Locked(check) => (Gate::Shut(check), 0),
        };
        HELD.store(held, Ordering::Release);
        queue::set_gate(gate);
        if state == self.state {
            return;
        }
        self.state = state;
        if self.untold_len == UNTOLD_MAX {
            self.untold.rotate_left(1);
            self.untold_len -= 1;
        }
        self.untold[self.untold_len] = state;
        self.untold_len += 1;
        keeper::wake();
    }
}

global_lock! {
    // SAFETY: `init()` is called before anything else of this module.
    unsafe(uninit) static CONTROL: Mutex<Control> = Control {
        state: State::Empty,
        untold: [State::Empty; UNTOLD_MAX],
        untold_len: 0,
    };
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

/// Key id of the key that is held, or 0.
static HELD: AtomicU64 = AtomicU64::new(0);
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

fn key_id(check: &CheckValue) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = check.0;
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

/// Whether the key with this check value is the one that is held. Any context; a hint, since it may
/// change at any moment: a request always checks the registers themselves.
pub(crate) fn is_held(check: &CheckValue) -> bool {
    HELD.load(Ordering::Acquire) == key_id(check)
}

/// Whether a debug register may hold a share. Any context.
pub(crate) fn may_hold_shares() -> bool {
    LIFE.load(Ordering::Acquire) != life::NONE
}

/// Erases every share for good, and this CPU's registers: M is gone, whatever the other CPUs are
/// doing. For a machine about to stop or to crash; works in any context, NMI included.
///
/// Loading is then refused until the module is loaded again.
pub(crate) fn doom() {
    LIFE.store(life::DOOMED, Ordering::SeqCst);
    // A key may be on its way in while no share exists yet.
    key_buffer::erase();
    arm::erase_line();
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
        if matches!(slot.holding(), Holding::Armed | Holding::Lost) {
            slot.set(Holding::Erased);
        }
    }
}

/// Makes M unusable on every CPU, without waiting for anything. [`erase`] is to follow.
fn kill() {
    let _ = LIFE.compare_exchange(life::LIVE, life::DYING, Ordering::SeqCst, Ordering::SeqCst);
    percpu::erase_all();
}

/// Enters a state in which M is nowhere, and erases it everywhere.
fn erase(control: &mut Control, state: State) {
    control.enter(state);
    kill();
    wipe_all_registers();
    // A refresh that raced with the first erasure left its mask r, which is worth nothing by now.
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
/// The key that is already held is given to CPUs that lack it. Otherwise: `EBUSY` if another key is
/// held, or the machine is going down, `EKEYREJECTED` if the key is not the `expected` one, or not the one
/// that was locked. No error changes anything.
///
/// As soon as one CPU is armed, requests that waited for the key go on: nothing before that waits for
/// anything that may wait for one of them.
pub(crate) fn load(key: KeyBuffer, expected: Option<CheckValue>) -> Result<CheckValue> {
    let mut control = CONTROL.lock();
    let check = {
        let _section = Section::enter()?;
        // SAFETY: In a section; the key is readable for 32 bytes.
        unsafe { cipher::peek_check(key.as_ptr()) }
    };
    if expected.is_some_and(|expected| expected != check) {
        return Err(key_rejected());
    }
    // Whether another key is really still there, or was lost a moment ago. Nothing to do if it is locked.
    tend(&mut control);
    match control.state {
        State::Armed(held) if held == check => drop(key),
        State::Armed(_) => return Err(EBUSY),
        State::Locked(held) if held != check => return Err(key_rejected()),
        State::Locked(_) | State::Empty => {
            begin_life()?;
            let armed = arm_this_cpu(&key);
            // What follows may take a while and needs no key.
            drop(key);
            if let Err(error) = armed {
                let state = control.state;
                erase(&mut control, state);
                return Err(error);
            }
            control.enter(State::Armed(check));
        }
    }
    drop(control);
    arm_others(&check);
    Ok(check)
}

/// Arms the CPUs that lack the key with this check value, and has requests that wait go on there too.
fn arm_others(check: &CheckValue) {
    ARMINGS.fetch_add(arm::arm_missing(check).into(), Ordering::Relaxed);
    queue::start_all();
}

/// Draws a random master key, as [`load`] otherwise. `EBUSY` unless the state is empty.
pub(crate) fn generate() -> Result<CheckValue> {
    wait_for_random()?;
    let mut key = KeyBuffer::take();
    if CONTROL.lock().state != State::Empty {
        return Err(EBUSY);
    }
    key.draw()?;
    load(key, None)
}

/// Waits until the kernel's random numbers are random, which early in a boot they may not be yet.
pub(crate) fn wait_for_random() -> Result {
    // SAFETY: Process context.
    to_result(unsafe { bindings::wait_for_random_bytes() })
}

fn arm_this_cpu(key: &KeyBuffer) -> Result {
    let section = Section::enter()?;
    let slot = percpu::slots().get(section.cpu()).ok_or(EINVAL)?;
    if !slot.reserved.load(Ordering::Relaxed) {
        return Err(ENOSPC);
    }
    draw_share(slot);
    // SAFETY: In a section of the CPU that owns `slot`, whose S_c is fresh; its breakpoint slots
    // are ours; the key is readable for 32 bytes.
    unsafe { cipher::arm(&slot.share, key.as_ptr()) };
    slot.set(Holding::Armed);
    keep_or_wipe(&section)
}

/// Fills S_c with fresh random bytes, which must never exist anywhere else. What the CPU held is
/// lost: only for a CPU that was just shown to hold nothing, in a section of its own.
pub(crate) fn draw_share(slot: &percpu::Slot) {
    slot.share.set_with(|bytes| {
        // SAFETY: The pointer is valid for 32 bytes, and this CPU is the only one that uses them.
        unsafe { bindings::get_random_bytes(bytes.cast(), 32) };
    });
}

/// Erases M, and keeps its check value: requests wait until it is back. `ENOKEY` if there is none.
pub(crate) fn lock() -> Result {
    let mut control = CONTROL.lock();
    match control.state {
        State::Empty => Err(no_key()),
        State::Locked(_) => Ok(()),
        State::Armed(check) => {
            erase(&mut control, State::Locked(check));
            Ok(())
        }
    }
}

/// Erases M and its check value. `EBUSY` with volumes open, unless forced: their I/O then fails.
pub(crate) fn clear(force: bool) -> Result {
    if force {
        // At once, whatever else is going on under the mutex. What fails then says nothing about a CPU.
        HELD.store(0, Ordering::Release);
        kill();
        queue::set_gate(Gate::Closed);
    }
    let mut control = CONTROL.lock();
    if !force && VOLUMES.load(Ordering::Relaxed) != 0 {
        return Err(EBUSY);
    }
    erase(&mut control, State::Empty);
    Ok(())
}

/// What waits for a key that is locked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Locked {
    /// Requests.
    pub(crate) requests: u32,
    /// Open volumes, whose next request will.
    pub(crate) volumes: u32,
}

/// What waits for the key, `None` unless that is locked.
pub(crate) fn locked() -> Option<Locked> {
    match CONTROL.lock().state {
        State::Locked(_) => Some(Locked {
            requests: queue::len(),
            volumes: VOLUMES.load(Ordering::Relaxed),
        }),
        State::Empty | State::Armed(_) => None,
    }
}

/// The next of the states that were entered since the module was loaded, of which nobody was told. The
/// last few are kept.
pub(crate) fn next_event() -> Option<State> {
    let mut control = CONTROL.lock();
    control.untold_len = control.untold_len.checked_sub(1)?;
    let state = control.untold[0];
    control.untold.rotate_left(1);
    Some(state)
}

/// Computes the slot key of a LUKS volume into `key`. `ENOKEY` unless armed.
pub(crate) fn slot_key(uuid: &[u8], key: &mut KeyBuffer) -> Result {
    let control = CONTROL.lock();
    let State::Armed(check) = control.state else {
        return Err(no_key());
    };
    let inputs = inputs(Purpose::SlotKey, uuid);
    let out = Output(key.as_mut_ptr());
    percpu::first_online_that(|slot| {
        let Output(out) = { &out };
        // SAFETY: In a section of the CPU that owns `slot`; `out` is writable for 32 bytes.
        unsafe { cipher::slot_key(&slot.share, &check, &inputs, *out) }.is_ok()
    })
    .then_some(())
    .ok_or_else(no_key)
}

/// Where another CPU writes a slot key to.
struct Output(*mut [u8; 32]);

// SAFETY: One CPU after another writes through it, and `slot_key()` waits for each.
unsafe impl Send for Output {}
// SAFETY: As above.
unsafe impl Sync for Output {}

/// A volume that counts as open.
pub(crate) struct Volume(());

impl Drop for Volume {
    fn drop(&mut self) {
        VOLUMES.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Opens a volume under the key that is held. `ENOKEY` unless armed; one that was open `before` under the
/// key with this check value is opened again also while that is locked.
pub(crate) fn open_volume(before: Option<&CheckValue>) -> Result<(CheckValue, Volume)> {
    let control = CONTROL.lock();
    let check = match control.state {
        State::Armed(check) => check,
        State::Locked(check) if before == Some(&check) => check,
        State::Locked(_) | State::Empty => return Err(no_key()),
    };
    VOLUMES.fetch_add(1, Ordering::Relaxed);
    Ok((check, Volume(())))
}

/// Notes that a CPU was found without the key that is held, and has it armed again soon. Any
/// context but NMI.
pub(crate) fn note_loss(slot: &percpu::Slot) {
    if slot.lose() {
        LOSSES.fetch_add(1, Ordering::Relaxed);
        keeper::wake();
    }
}

/// Refreshes the shares of every CPU, has those armed that lack the key, and notices when none has it
/// any more. Called every second.
pub(crate) fn tend_all() {
    if tend(&mut CONTROL.lock()).is_none() {
        return;
    }
    queue::start_all();
    if arm::any_time() && percpu::lacking().next().is_some() {
        workers::start_arming();
    }
}

/// Arms the CPUs that lack the key, if one is held. It may be long until CPUs that come or go are done; nothing
/// waits for this.
pub(crate) unsafe extern "C" fn arm_work(_: *mut work_struct) {
    let state = CONTROL.lock().state;
    if let State::Armed(check) = state {
        arm_others(&check);
    }
}

/// Refreshes the shares of every CPU, and locks if none has the key any more. The check value of the key
/// that is held.
fn tend(control: &mut Control) -> Option<CheckValue> {
    let State::Armed(check) = control.state else {
        return None;
    };
    // Somebody is about to erase it, and waits for the mutex.
    if LIFE.load(Ordering::SeqCst) != life::LIVE {
        return None;
    }
    let refreshed = arm::refresh_all(&check);
    REFRESHES.fetch_add(refreshed.into(), Ordering::Relaxed);
    if refreshed == 0 {
        pr_warn!("no CPU holds the key any more: locked until it is loaded again\n");
        erase(control, State::Locked(check));
        return None;
    }
    Some(check)
}

/// Whether the key, if one is held, is also held by `cpu`.
pub(crate) fn is_safe_on(cpu: usize) -> bool {
    match CONTROL.lock().state {
        State::Armed(check) => percpu::run_on(cpu, |slot| {
            // SAFETY: In a section of the CPU that owns `slot`.
            unsafe { cipher::check(&slot.share, &check) }.is_ok()
        }),
        State::Locked(_) | State::Empty => true,
    }
}

/// What `status` reports. Which CPUs are armed is as of the last second, or the last failure.
pub(crate) fn status() -> Status {
    let control = CONTROL.lock();
    let armed = percpu::slots()
        .iter()
        .filter(|slot| slot.is_armed())
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
        erase(&mut CONTROL.lock(), State::Empty);
    }
}

/// What comes before all else when the module goes: volumes that are still open (which takes `rmmod -f`)
/// cannot be used any more, and nothing waits.
pub(crate) struct Closing(());

impl Closing {
    /// To be made once, and dropped first.
    pub(crate) fn new() -> Self {
        Self(())
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        LIFE.store(life::DOOMED, Ordering::SeqCst);
        erase(&mut CONTROL.lock(), State::Empty);
    }
}
