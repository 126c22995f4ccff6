// SPDX-License-Identifier: GPL-2.0-or-later

//! Which variant of the engine works: the fastest that the CPU has, or the one that the module
//! parameter `engine` names.

use crate::{bindings, cipher::Engine};
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use kernel::{prelude::*, str::CStr};

/// Index of the variant in [`Engine::ALL`].
static CHOSEN: AtomicUsize = AtomicUsize::new(0);

/// The variant that was chosen when the module was loaded. This machine's CPUs support it.
pub(crate) fn chosen() -> Engine {
    let index = CHOSEN.load(Relaxed);
    Engine::ALL.get(index).copied().unwrap_or(Engine::Aesni)
}

/// Chooses. Refuses, with the reason in the kernel log, a name that no variant has, and one that
/// this CPU cannot run.
pub(crate) fn choose() -> Result {
    // SAFETY: The parameter is a NUL-terminated string, set before the module is initialised and
    // never changed.
    let name = unsafe { CStr::from_char_ptr(bindings::tresor_engine_parameter()) };
    let engine = if name.is_empty() {
        Engine::best().ok_or_else(|| {
            pr_err!("refusing to load: this CPU has no AES-NI with SSE4.1\n");
            ENODEV
        })?
    } else {
        let known = name.to_str().ok().and_then(Engine::from_name);
        let engine = known.ok_or_else(|| {
            let [a, b, c, d] = Engine::ALL.map(Engine::name);
            pr_err!(
                "refusing to load: no engine is called {name:?}; there are {a}, {b}, {c} and {d}\n"
            );
            EINVAL
        })?;
        if let Some(lack) = engine.lacks() {
            let name = engine.name();
            pr_err!("refusing to load: engine {name} wants {lack}, which this CPU lacks\n");
            return Err(ENODEV);
        }
        engine
    };
    CHOSEN.store(engine as usize, Relaxed);
    Ok(())
}
