// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * C wrappers of what the kernel offers only as a macro or a static inline. No logic lives here.
 * Kbuild compiles this file without tracing: some of it runs inside our own ftrace callbacks.
 */
#include "bindings.h"

#include <asm/cpufeature.h>
#include <asm/msr.h>
#include <linux/moduleparam.h>

unsigned long tresor_irq_save(void)
{
	unsigned long flags;

	local_irq_save(flags);
	return flags;
}

void tresor_irq_restore(unsigned long flags)
{
	local_irq_restore(flags);
}

void tresor_cpu_relax(void)
{
	cpu_relax();
}

const struct cpumask *tresor_cpu_online_mask(void)
{
	return cpu_online_mask;
}

unsigned int tresor_next_online_cpu(int after)
{
	return cpumask_next(after, cpu_online_mask);
}

unsigned int tresor_smp_processor_id(void)
{
	return raw_smp_processor_id();
}

bool tresor_cpu_has_clflush(void)
{
	return boot_cpu_has(X86_FEATURE_CLFLUSH);
}

bool tresor_cpu_has_xenpv(void)
{
	return boot_cpu_has(X86_FEATURE_XENPV);
}

int tresor_rdmsr_safe(u32 msr, u64 *value)
{
	return rdmsrq_safe(msr, value);
}

static char *engine = "";
module_param(engine, charp, 0444);
MODULE_PARM_DESC(engine, "aesni, aesni_avx, vaes_avx2 or vaes_avx512 (default: the fastest that the CPU can run)");

const char *tresor_engine_parameter(void)
{
	return engine;
}

void *tresor_skcipher_ctx(struct crypto_skcipher *tfm)
{
	return crypto_skcipher_ctx(tfm);
}

struct crypto_skcipher *tresor_skcipher_reqtfm(struct skcipher_request *req)
{
	return crypto_skcipher_reqtfm(req);
}

struct pt_regs *tresor_ftrace_get_regs(struct ftrace_regs *fregs)
{
	return arch_ftrace_get_regs(fregs);
}

struct kset *tresor_module_kset(struct module *module)
{
	return module->mkobj.kobj.kset;
}

long tresor_hz(void)
{
	return HZ;
}

void tresor_disabled_breakpoint(struct perf_event_attr *attr, unsigned long addr)
{
	hw_breakpoint_init(attr);
	attr->disabled = 1;
	attr->bp_addr = addr;
	attr->bp_len = HW_BREAKPOINT_LEN_8;
	attr->bp_type = HW_BREAKPOINT_W;
}
