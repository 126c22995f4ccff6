// SPDX-License-Identifier: GPL-2.0-or-later

//! Requests that wait: for a CPU that holds M (they *hop*), or for M itself (they are *parked*).
//!
//! A waiting request lies in memory that came with it, so that waiting needs none. It is moved there from
//! the stack when a section of it could not be done, together with a copy of its volume key: whoever
//! keys the tfm anew meanwhile changes nothing for it.
//!
//! All of them stand in one queue behind a [`Gate`], whose state the key store sets. Whatever waits belongs
//! to the key that the gate is for.

use crate::{
    bindings,
    cipher::{CheckValue, VolumeKey},
    errno::{in_progress, key_revoked},
    percpu,
    progress::Progress,
    workers,
};
use core::{
    mem::ManuallyDrop,
    ptr,
    sync::atomic::{AtomicU64, Ordering},
};
use kernel::{bindings::work_struct, prelude::*, sync::global_lock, types::Opaque};

/// What becomes of requests that wait.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    /// There is no key, and nothing waits: requests fail.
    Closed,
    /// The key with this check value is held: requests go on where a CPU holds it.
    Open(CheckValue),
    /// The key with this check value is locked: requests stay.
    Shut(CheckValue),
}

impl Gate {
    fn is_for(&self, key: &VolumeKey) -> bool {
        match self {
            Self::Closed => false,
            Self::Open(check) | Self::Shut(check) => check == key.check(),
        }
    }
}

/// A request that waits.
///
/// # Invariants
///
/// `next` is null, or the request behind it, which waits as well.
pub(crate) struct Waiting {
    request: Halted,
    next: *mut Waiting,
}

/// A request that stands at a section which could not be done.
struct Halted {
    progress: Progress,
    key: VolumeKey,
    /// Whether bottom halves were off when it was made.
    bottom_halves_off: bool,
}

impl Halted {
    /// Ends the request, in the context that it was made in. The crypto API's users may rely on bottom
    /// halves being off; dm-crypt, which makes requests with them on, may sleep in what it does then
    /// (`no_write_workqueue`: it submits the bio). That is done elsewhere: what it waits for may be another
    /// request here. Process context.
    fn complete(self, result: Result) {
        if self.bottom_halves_off {
            // SAFETY: Paired below.
            unsafe { bindings::tresor_bottom_halves_off() };
            self.progress.complete(result);
            // SAFETY: As above.
            unsafe { bindings::tresor_bottom_halves_on() };
            return;
        }
        let at = self.progress.request().context().cast::<Ended>();
        // SAFETY: The memory is as large as this type and aligned for it, see `Context`, and ours until the
        // request is complete. The workers live until the last tfm is gone.
        unsafe {
            at.write(Ended {
                work: Opaque::uninit(),
                progress: self.progress,
                result,
            });
            workers::run_later(at.cast(), Ended::complete);
        }
    }
}

/// A request that is done, in the memory that came with it, until whoever made it was told.
#[repr(C)]
pub(crate) struct Ended {
    work: Opaque<work_struct>,
    progress: Progress,
    result: Result,
}

impl Ended {
    unsafe extern "C" fn complete(work: *mut work_struct) {
        // SAFETY: `work` is the first field of an `Ended` that was handed over. Its memory goes with the
        // completion.
        let Self {
            progress, result, ..
        } = unsafe { work.cast::<Self>().read() };
        progress.complete(result);
    }
}

/// What is in the memory that comes with a request: nothing, or one of these.
pub(crate) union Context {
    _waiting: ManuallyDrop<Waiting>,
    _ended: ManuallyDrop<Ended>,
}

impl Waiting {
    /// Moves a request into the memory that came with it, of which `modes.rs` asks for a [`Context`].
    fn settle(request: Halted) -> *mut Self {
        let at = request.progress.request().context().cast::<Self>();
        let next = ptr::null_mut();
        // SAFETY: The memory is as large as this type and aligned for it, and ours while the request is under
        // way. It holds nothing that has to be dropped.
        unsafe { at.write(Self { request, next }) };
        at
    }
}

/// The queue, first come, first served.
///
/// # Invariants
///
/// `first` is null, or the first of the requests that wait, `last` then the last of them. All of them belong
/// to the key that the gate is for.
struct Queue {
    gate: Gate,
    first: *mut Waiting,
    last: *mut Waiting,
    len: u32,
}

// SAFETY: A request may be moved on by any CPU, by one at a time: whoever has taken it out of the queue.
unsafe impl Send for Queue {}

global_lock! {
    // SAFETY: `init()` is called before anything else of this module.
    unsafe(uninit) static QUEUE: SpinLock<Queue> = Queue {
        gate: Gate::Closed,
        first: ptr::null_mut(),
        last: ptr::null_mut(),
        len: 0,
    };
}

static HOPPED: AtomicU64 = AtomicU64::new(0);
static PARKED: AtomicU64 = AtomicU64::new(0);

/// Runs `f` on the queue, alone.
fn locked<T>(f: impl FnOnce(&mut Queue) -> T) -> T {
    // Requests come in softirqs too.
    // SAFETY: Paired below.
    unsafe { bindings::tresor_bottom_halves_off() };
    let result = f(&mut QUEUE.lock());
    // SAFETY: As above; the lock was given back.
    unsafe { bindings::tresor_bottom_halves_on() };
    result
}

impl Queue {
    fn push_back(&mut self, waiting: *mut Waiting) {
        if self.first.is_null() {
            self.first = waiting;
        } else {
            // SAFETY: By the type invariant; the queue is ours.
            unsafe { (*self.last).next = waiting };
        }
        self.last = waiting;
        self.len += 1;
    }

    fn push_front(&mut self, waiting: *mut Waiting) {
        if self.first.is_null() {
            self.last = waiting;
        }
        // SAFETY: The request was settled by the caller, who hands it over.
        unsafe { (*waiting).next = self.first };
        self.first = waiting;
        self.len += 1;
    }

    /// Takes the first request out.
    fn pop(&mut self) -> Option<Halted> {
        if self.first.is_null() {
            return None;
        }
        // SAFETY: By the type invariant it is a request that waits. Its memory is not looked at any more, but
        // overwritten if it has to wait again.
        let Waiting { request, next } = unsafe { self.first.read() };
        self.first = next;
        self.len -= 1;
        Some(request)
    }

    /// Appends a request, or puts it back before the others; it is given back if it must not wait.
    fn admit(&mut self, request: Halted, push: fn(&mut Self, *mut Waiting)) -> Result<(), Halted> {
        if !self.gate.is_for(&request.key) {
            return Err(request);
        }
        if matches!(self.gate, Gate::Shut(_)) {
            PARKED.fetch_add(1, Ordering::Relaxed);
        }
        // INVARIANT: The gate is for its key.
        push(self, Waiting::settle(request));
        Ok(())
    }
}

/// Makes the lock usable.
///
/// # Safety
///
/// To be called exactly once, before any other function of this file.
pub(crate) unsafe fn init() {
    // SAFETY: By this function's own contract.
    unsafe { QUEUE.init() };
}

/// Has a request wait that could not be done on this CPU, and returns what its caller is to be told:
/// `EINPROGRESS`, or `EKEYREVOKED` if its key is not the one that is held or locked.
///
/// With `EINPROGRESS` it may be complete already. Process or softirq context. `EAGAIN`: whoever made the
/// request would sleep where nobody can.
pub(crate) fn wait(progress: Progress, key: VolumeKey) -> Error {
    // SAFETY: Always safe.
    let bottom_halves_off = unsafe { bindings::tresor_in_interrupt() };
    if bottom_halves_off && progress.request().is_waited_for() {
        return EAGAIN;
    }
    let request = Halted {
        progress,
        key,
        bottom_halves_off,
    };
    let admitted = locked(|queue| {
        if matches!(queue.gate, Gate::Open(_)) && queue.gate.is_for(&request.key) {
            HOPPED.fetch_add(1, Ordering::Relaxed);
        }
        queue.admit(request, Queue::push_back)
    });
    match admitted {
        Ok(()) => {
            start_next();
            in_progress()
        }
        Err(_) => key_revoked(),
    }
}

/// Sets the gate. What waited for another key, or for any if there is none, fails with `EKEYREVOKED`.
/// Process context.
pub(crate) fn set_gate(gate: Gate) {
    let mut revoked = locked(|queue| {
        let before = core::mem::replace(&mut queue.gate, gate);
        if let (Gate::Open(_), Gate::Shut(_)) = (before, gate) {
            PARKED.fetch_add(queue.len.into(), Ordering::Relaxed);
        }
        match (before, gate) {
            (Gate::Open(a) | Gate::Shut(a), Gate::Open(b) | Gate::Shut(b)) if a == b => {
                return ptr::null_mut();
            }
            _ => {}
        }
        // INVARIANT: What waited for another key leaves.
        queue.len = 0;
        core::mem::replace(&mut queue.first, ptr::null_mut())
    });
    while !revoked.is_null() {
        // SAFETY: A request that waited, and is in no queue any more. Its memory goes with its completion.
        let Waiting { request, next } = unsafe { revoked.read() };
        request.complete(Err(key_revoked()));
        revoked = next;
    }
    start_all();
}

/// How many requests wait.
pub(crate) fn len() -> u32 {
    locked(|queue| queue.len)
}

/// How many requests have gone from a CPU without M, or one that could not use its vector registers, to
/// another since the module was loaded.
pub(crate) fn hopped() -> u64 {
    HOPPED.load(Ordering::Relaxed)
}

/// How many requests have waited for M since the module was loaded; again if it was locked again meanwhile.
pub(crate) fn parked() -> u64 {
    PARKED.load(Ordering::Relaxed)
}

/// CPUs that hold M, the one behind this first and this one last.
fn armed() -> impl Iterator<Item = usize> {
    // SAFETY: Always safe. The task may be elsewhere by now; it is only where to begin.
    let this = unsafe { bindings::tresor_smp_processor_id() } as usize;
    let behind = percpu::online().skip_while(move |&cpu| cpu <= this);
    let rest = percpu::online().take_while(move |&cpu| cpu <= this);
    let slots = percpu::slots();
    Iterator::chain(behind, rest)
        .filter(move |&cpu| slots.get(cpu).is_some_and(|slot| slot.is_armed()))
}

/// Has a CPU that holds M go on with what waits. If none does, the keeper calls [`start_all`] as soon as
/// there is one again, or finds that there is none.
fn start_next() {
    if let Some(cpu) = armed().next() {
        workers::start(cpu);
    }
}

/// Has all CPUs that hold M go on with what waits.
pub(crate) fn start_all() {
    if len() != 0 {
        armed().for_each(workers::start);
    }
}

/// What the workers do: one request after another, for as long as this CPU holds M.
pub(crate) unsafe extern "C" fn work(_: *mut work_struct) {
    loop {
        let next = locked(|queue| match queue.gate {
            Gate::Open(_) => queue.pop(),
            Gate::Closed | Gate::Shut(_) => None,
        });
        let Some(mut request) = next else {
            return;
        };
        match request.progress.run(&request.key) {
            // This CPU does not hold M either.
            Err(error) if error == EAGAIN => {
                let admitted = locked(|queue| queue.admit(request, Queue::push_front));
                if let Err(request) = admitted {
                    request.complete(Err(key_revoked()));
                }
                return start_next();
            }
            result => request.complete(result),
        }
        // SAFETY: Process context without locks.
        unsafe { bindings::tresor_cond_resched() };
    }
}
