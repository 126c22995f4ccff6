/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What bindgen turns into Rust for the module: kernel interfaces that the kernel's own Rust
 * bindings lack, and the helpers that wrap macros and static inlines.
 */
#ifndef TRESOR_BINDINGS_H
#define TRESOR_BINDINGS_H

#include <asm/kdebug.h>
#include <asm/nmi.h>
#include <crypto/internal/skcipher.h>
#include <crypto/sha2.h>
#include <linux/capability.h>
#include <linux/cc_platform.h>
#include <linux/cpu.h>
#include <linux/cpuhotplug.h>
#include <linux/ftrace.h>
#include <linux/hw_breakpoint.h>
#include <linux/kobject.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/notifier.h>
#include <linux/pagemap.h>
#include <linux/perf_event.h>
#include <linux/random.h>
#include <linux/reboot.h>
#include <linux/sched.h>
#include <linux/smp.h>
#include <linux/stop_machine.h>
#include <linux/suspend.h>
#include <asm/fpu/api.h>

#include "helpers.h"

/* What the structures measure in C, to hold the generated ones against. */
enum tresor_sizeof {
	TRESOR_SKCIPHER_ALG = sizeof(struct skcipher_alg),
	TRESOR_SKCIPHER_REQUEST = sizeof(struct skcipher_request),
	TRESOR_PERF_EVENT_ATTR = sizeof(struct perf_event_attr),
	TRESOR_NMIACTION = sizeof(struct nmiaction),
	TRESOR_FTRACE_OPS = sizeof(struct ftrace_ops),
	TRESOR_NOTIFIER_BLOCK = sizeof(struct notifier_block),
	TRESOR_PT_REGS = sizeof(struct pt_regs),
};

#endif
