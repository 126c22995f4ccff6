// SPDX-License-Identifier: GPL-2.0-or-later

//! Work queues of our own: one on which requests hop and CPUs are tended, whose work never sleeps for long, and
//! one for work that may.
//!
//! Both have a rescuer (`WQ_MEM_RECLAIM`): what waits here may be what frees memory.
//!
//! C header: [`include/linux/workqueue.h`](srctree/include/linux/workqueue.h)

use crate::bindings;
use core::{
    mem::MaybeUninit,
    ptr,
    sync::atomic::{AtomicPtr, AtomicUsize, Ordering},
};
use kernel::{
    bindings::{work_struct, workqueue_struct},
    prelude::*,
    static_lock_class,
    sync::LockClassKey,
    types::Opaque,
};

/// Of work for one CPU.
static QUEUE: AtomicPtr<workqueue_struct> = AtomicPtr::new(ptr::null_mut());
/// Of work that may sleep, wherever it runs.
static SLEEPERS: AtomicPtr<workqueue_struct> = AtomicPtr::new(ptr::null_mut());
/// What [`start_arming`] starts.
static ARMING: Work = Work(Opaque::uninit());
static WORKS: AtomicPtr<Work> = AtomicPtr::new(ptr::null_mut());
static LEN: AtomicUsize = AtomicUsize::new(0);

/// `WORK_CPU_UNBOUND`: on any CPU.
const ANYWHERE: i32 = bindings::wq_misc_consts_WORK_CPU_UNBOUND as i32;

/// A work item. Only the work queue changes it once it was initialised, under its own locks.
#[repr(transparent)]
struct Work(Opaque<work_struct>);

// SAFETY: See above.
unsafe impl Send for Work {}
// SAFETY: See above.
unsafe impl Sync for Work {}

type Function = unsafe extern "C" fn(*mut work_struct);

/// The work queues, with one piece of work for each possible CPU.
///
/// They outlive everything that hands out work.
pub(crate) struct Workers(#[allow(dead_code, reason = "owns the memory")] KVVec<Work>);

impl Workers {
    /// Makes the queues. `work` is what [`start`] has a CPU do, `arm` what [`start_arming`] does; they run in
    /// process context.
    pub(crate) fn new(work: Function, arm: Function) -> Result<Self> {
        let len = kernel::cpu::nr_cpu_ids() as usize;
        let mut works = KVVec::with_capacity(len, GFP_KERNEL)?;
        for _ in 0..len {
            works.push(Work(zeroed()), GFP_KERNEL)?;
        }
        for one in &works {
            // SAFETY: `one` is memory for a work item that nobody uses yet; the vector does not grow any more.
            unsafe { init(one.0.get(), work, false, static_lock_class!()) };
        }
        // SAFETY: Nobody else uses it yet.
        unsafe { init(ARMING.0.get(), arm, false, static_lock_class!()) };
        // SAFETY: Process context; the names are NUL-terminated.
        let (queue, sleepers) = unsafe {
            (
                bindings::tresor_alloc_workqueue(c"tresor".as_ptr().cast(), false),
                bindings::tresor_alloc_workqueue(c"tresor_sleepers".as_ptr().cast(), true),
            )
        };
        QUEUE.store(queue, Ordering::Release);
        SLEEPERS.store(sleepers, Ordering::Release);
        let this = Self(works);
        if queue.is_null() || sleepers.is_null() {
            return Err(ENOMEM);
        }
        LEN.store(len, Ordering::Relaxed);
        WORKS.store(this.0.as_ptr().cast_mut(), Ordering::Release);
        Ok(this)
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        // What still runs on the first may use the second.
        for queue in [&QUEUE, &SLEEPERS] {
            let gone = queue.load(Ordering::Acquire);
            if !gone.is_null() {
                // SAFETY: Made in `new()`. Waits for what is queued, and nothing is queued any more.
                unsafe { bindings::destroy_workqueue(gone) };
            }
            queue.store(ptr::null_mut(), Ordering::Release);
        }
        WORKS.store(ptr::null_mut(), Ordering::Release);
    }
}

/// Has `cpu` do the queue's work soon; another CPU does if it goes offline meanwhile. Any context but NMI,
/// for as long as the [`Workers`] live.
pub(crate) fn start(cpu: usize) {
    let (queue, works) = (QUEUE.load(Ordering::Acquire), WORKS.load(Ordering::Acquire));
    if queue.is_null() || works.is_null() || cpu >= LEN.load(Ordering::Relaxed) {
        return;
    }
    // SAFETY: `works` names as many items as there are possible CPUs, all initialised.
    unsafe { bindings::queue_work_on(cpu as i32, queue, works.add(cpu).cast()) };
}

/// Has CPUs armed that lack M, unless that is going on. Process context.
pub(crate) fn start_arming() {
    let sleepers = SLEEPERS.load(Ordering::Acquire);
    if !sleepers.is_null() {
        // SAFETY: Initialised in `Workers::new()`.
        unsafe { bindings::queue_work_on(ANYWHERE, sleepers, ARMING.0.get()) };
    }
}

/// Runs `f` on `work` soon, where it may sleep. `f` may free `work`.
///
/// # Safety
///
/// `work` must be memory that nobody else uses until `f` is called; the [`Workers`] must live until then.
pub(crate) unsafe fn run_later(work: *mut work_struct, f: Function) {
    let sleepers = SLEEPERS.load(Ordering::Acquire);
    // SAFETY: By this function's own contract.
    unsafe {
        init(work, f, false, static_lock_class!());
        bindings::queue_work_on(ANYWHERE, sleepers, work);
    }
}

/// Makes `work` a work item that runs `f`. Each kind of work has a lock class of its own: `f` of one may take
/// what another's is waited for under.
///
/// # Safety
///
/// `work` must be memory for a work item that nobody else uses, on the caller's stack if, and only if,
/// `on_stack`.
unsafe fn init(
    work: *mut work_struct,
    f: Function,
    on_stack: bool,
    class: Pin<&'static LockClassKey>,
) {
    let name = c"tresor_work".as_ptr().cast();
    // SAFETY: By this function's own contract; the name and the class are static.
    unsafe { bindings::init_work_with_key(work, Some(f), on_stack, name, class.as_ptr()) };
}

/// Memory for a work item.
fn zeroed() -> Opaque<work_struct> {
    // SAFETY: `work_struct` is plain data; zeros are a value of it.
    Opaque::new(unsafe { MaybeUninit::zeroed().assume_init() })
}

/// A call that somebody waits for.
#[repr(C)]
struct Call<'a> {
    work: Work,
    f: &'a mut (dyn FnMut() + Send),
}

/// Runs `f` on `cpu`, or on another CPU if that goes offline meanwhile, and waits. May sleep.
///
/// Unlike `smp_call_on_cpu()` it does not depend on memory being free.
pub(crate) fn run_on(cpu: usize, f: &mut (dyn FnMut() + Send)) {
    unsafe extern "C" fn call(work: *mut work_struct) {
        // SAFETY: `work` is the first field of a `Call`, which lives until this function has returned.
        let call = unsafe { &mut *work.cast::<Call<'_>>() };
        (call.f)();
    }
    let queue = QUEUE.load(Ordering::Acquire);
    if queue.is_null() {
        return;
    }
    let mut this = Call {
        work: Work(zeroed()),
        f,
    };
    let work = (&raw mut this).cast::<work_struct>();
    // SAFETY: `this` stays where it is until the work is done: it is waited for here. All access goes through
    // the one pointer.
    unsafe {
        init(work, call, true, static_lock_class!());
        bindings::queue_work_on(cpu as i32, queue, work);
        bindings::flush_work(work);
        bindings::tresor_destroy_work_on_stack(work);
    }
}
