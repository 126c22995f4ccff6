// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * C wrappers of what the kernel offers only as a macro or a static inline. No logic lives here.
 * Kbuild compiles this file without tracing: some of it runs inside our own ftrace callbacks.
 */
#include "bindings.h"

#include <asm/asm.h>
#include <asm/cpufeature.h>
#include <asm/msr.h>
#include <linux/bottom_half.h>
#include <linux/completion.h>
#include <linux/kvm_host.h>
#include <linux/moduleparam.h>
#include <linux/preempt.h>
#include <linux/scatterlist.h>
#include <linux/sched/mm.h>
#include <linux/sched/task_stack.h>
#include <linux/uaccess.h>
#include <linux/workqueue.h>

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

static char *rearm = "always";
module_param(rearm, charp, 0444);
MODULE_PARM_DESC(rearm, "always or never: whether a CPU that lost the key is given it by another one before it is loaded again (default: always)");

const char *tresor_rearm_parameter(void)
{
	return rearm;
}

void tresor_kvm_emulate_debug_registers(void *vcpu)
{
#if IS_ENABLED(CONFIG_KVM)
	/* User space sets the low 32 bits; KVM asks for single ones of them, or whether any is set. */
	((struct kvm_vcpu *)vcpu)->guest_debug |= 1UL << 63;
#endif
}

void *tresor_skcipher_ctx(struct crypto_skcipher *tfm)
{
	return crypto_skcipher_ctx(tfm);
}

struct crypto_skcipher *tresor_skcipher_reqtfm(struct skcipher_request *req)
{
	return crypto_skcipher_reqtfm(req);
}

void tresor_skcipher_set_reqsize(struct crypto_skcipher *tfm, unsigned int size)
{
	crypto_skcipher_set_reqsize(tfm, size);
}

void *tresor_skcipher_request_ctx(struct skcipher_request *req)
{
	return skcipher_request_ctx(req);
}

void tresor_skcipher_complete(struct skcipher_request *req, int err)
{
	skcipher_request_complete(req, err);
}

bool tresor_skcipher_is_waited_for(struct skcipher_request *req)
{
	return req->base.complete == crypto_req_done;
}

void tresor_bottom_halves_off(void)
{
	local_bh_disable();
}

void tresor_bottom_halves_on(void)
{
	local_bh_enable();
}

bool tresor_in_interrupt(void)
{
	return in_interrupt();
}

void tresor_init_completion(struct completion *x)
{
	init_completion(x);
}

void tresor_reinit_completion(struct completion *x)
{
	reinit_completion(x);
}

void tresor_memalloc_noio(void)
{
	memalloc_noio_save();
}

void tresor_destroy_work_on_stack(struct work_struct *work)
{
	destroy_work_on_stack(work);
}

struct workqueue_struct *tresor_alloc_workqueue(const char *name, bool unbound)
{
	return alloc_workqueue("%s", WQ_MEM_RECLAIM | WQ_HIGHPRI |
			       (unbound ? WQ_UNBOUND : WQ_CPU_INTENSIVE | WQ_PERCPU), 0, name);
}

unsigned int tresor_skcipher_alg_users(struct skcipher_alg *alg)
{
	return refcount_read(&alg->base.cra_refcnt);
}

void *tresor_sg_virt(struct scatterlist *sg)
{
	return sg_virt(sg);
}

struct scatterlist *tresor_sg_next(struct scatterlist *sg)
{
	return sg_next(sg);
}

void tresor_cond_resched(void)
{
	cond_resched();
}

void tresor_wipe(void *at, size_t len)
{
	memzero_explicit(at, len);
}

struct pt_regs *tresor_ftrace_get_regs(struct ftrace_regs *fregs)
{
	return arch_ftrace_get_regs(fregs);
}

struct kset *tresor_module_kset(struct module *module)
{
	return module->mkobj.kobj.kset;
}

struct module *tresor_module_of(struct kobject *kobject)
{
	return container_of(kobject, struct module_kobject, kobj)->mod;
}

void *tresor_module_text(struct module *module)
{
	return module->mem[MOD_TEXT].base;
}

unsigned int tresor_module_text_size(struct module *module)
{
	return module->mem[MOD_TEXT].size;
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

/*
 * The compiler knows no vector registers here, and so keeps nothing in those that the two functions
 * below use and zero. An interrupt would save a general register in memory, and copy_from_user() has
 * eight bytes of what it copies in one, on CPUs without a fast "rep movsb".
 */
bool tresor_key_from_user(void *line, const void __user *from)
{
	bool done = false;

	pagefault_disable();
	if (user_read_access_begin(from, 32)) {
		asm goto("1:	movdqu	(%[from]), %%xmm0\n"
			 "2:	movdqu	16(%[from]), %%xmm1\n"
			 "	movdqa	%%xmm0, (%[line])\n"
			 "	movdqa	%%xmm1, 16(%[line])\n"
			 _ASM_EXTABLE_UA(1b, %l[fault])
			 _ASM_EXTABLE_UA(2b, %l[fault])
			 : : [from] "r"(from), [line] "r"(line) : "memory" : fault);
		done = true;
fault:
		asm volatile("pxor %xmm0, %xmm0; pxor %xmm1, %xmm1");
		user_read_access_end();
	}
	pagefault_enable();
	return done;
}

bool tresor_key_to_user(void __user *to, const void *line)
{
	bool done = false;

	pagefault_disable();
	if (user_write_access_begin(to, 32)) {
		asm goto("	movdqa	(%[line]), %%xmm0\n"
			 "	movdqa	16(%[line]), %%xmm1\n"
			 "1:	movdqu	%%xmm0, (%[to])\n"
			 "2:	movdqu	%%xmm1, 16(%[to])\n"
			 _ASM_EXTABLE_UA(1b, %l[fault])
			 _ASM_EXTABLE_UA(2b, %l[fault])
			 : : [to] "r"(to), [line] "r"(line) : "memory" : fault);
		done = true;
fault:
		asm volatile("pxor %xmm0, %xmm0; pxor %xmm1, %xmm1");
		user_write_access_end();
	}
	pagefault_enable();
	return done;
}

/* Nothing below the stack pointer is in use: the kernel has no red zone. The word at the very end tells
 * the kernel of an overflow. */
void tresor_wipe_stack(void)
{
	unsigned long *end = end_of_stack(current) + 1, words;

	asm volatile("mov	%%rsp, %%rcx\n"
		     "sub	%%rdi, %%rcx\n"
		     "shr	$3, %%rcx\n"
		     "rep stosq"
		     : "+D"(end), "=&c"(words) : "a"(0) : "memory");
}
