/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * C wrappers of what the kernel offers only as a macro or a static inline. No logic lives here.
 */
#ifndef TRESOR_HELPERS_H
#define TRESOR_HELPERS_H

#include <asm/nmi.h>
#include <linux/types.h>
#include <linux/workqueue.h>

struct crypto_skcipher;
struct cpumask;
struct ftrace_regs;
struct kset;
struct module;
struct pt_regs;
struct scatterlist;
struct skcipher_alg;
struct skcipher_request;

/* Unnamed enumerators and macros of asm/nmi.h */
enum tresor_nmi {
	TRESOR_NMI_LOCAL = NMI_LOCAL,
	TRESOR_NMI_DONE = NMI_DONE,
};

/* local_irq_save(), local_irq_restore() */
unsigned long tresor_irq_save(void);
void tresor_irq_restore(unsigned long flags);

/* cpu_relax() */
void tresor_cpu_relax(void);

/* cpu_online_mask, cpumask_next(), raw_smp_processor_id() */
const struct cpumask *tresor_cpu_online_mask(void);
unsigned int tresor_next_online_cpu(int after);
unsigned int tresor_smp_processor_id(void);

/* boot_cpu_has() */
bool tresor_cpu_has_clflush(void);
bool tresor_cpu_has_xenpv(void);

/* rdmsrq_safe(): 0 or -EIO */
int tresor_rdmsr_safe(u32 msr, u64 *value);

/* module_param(engine, charp, ..), module_param(rearm, charp, ..): their values; engine is empty unless it
 * is given */
const char *tresor_engine_parameter(void);
const char *tresor_rearm_parameter(void);

/* Has KVM emulate all of this `struct kvm_vcpu`'s accesses to debug registers, as if it were being debugged */
void tresor_kvm_emulate_debug_registers(void *vcpu);

/* crypto_skcipher_ctx(), crypto_skcipher_reqtfm() */
void *tresor_skcipher_ctx(struct crypto_skcipher *tfm);
struct crypto_skcipher *tresor_skcipher_reqtfm(struct skcipher_request *req);

/* crypto_skcipher_set_reqsize(), skcipher_request_ctx() */
void tresor_skcipher_set_reqsize(struct crypto_skcipher *tfm, unsigned int size);
void *tresor_skcipher_request_ctx(struct skcipher_request *req);

/* skcipher_request_complete() */
void tresor_skcipher_complete(struct skcipher_request *req, int err);

/* Whether a task sleeps until the request is complete (crypto_wait_req()) */
bool tresor_skcipher_is_waited_for(struct skcipher_request *req);

/* in_interrupt(): in a softirq, or with bottom halves off */
bool tresor_in_interrupt(void);

/* init_completion(), reinit_completion() */
struct completion;
void tresor_init_completion(struct completion *x);
void tresor_reinit_completion(struct completion *x);

/* memalloc_noio_save(): this task's allocations never wait for I/O */
void tresor_memalloc_noio(void);

/* local_bh_disable(), local_bh_enable() */
void tresor_bottom_halves_off(void);
void tresor_bottom_halves_on(void);

/* destroy_work_on_stack() */
void tresor_destroy_work_on_stack(struct work_struct *work);

/* alloc_workqueue(): with a rescuer and high priority, for work of each CPU or @unbound. NULL without memory */
struct workqueue_struct *tresor_alloc_workqueue(const char *name, bool unbound);

/* refcount_read() of a registered algorithm: 1 if nobody has it */
unsigned int tresor_skcipher_alg_users(struct skcipher_alg *alg);

/* sg_virt(); sg_next(): NULL behind the last entry */
void *tresor_sg_virt(struct scatterlist *sg);
struct scatterlist *tresor_sg_next(struct scatterlist *sg);

/* cond_resched() */
void tresor_cond_resched(void);

/* memzero_explicit() */
void tresor_wipe(void *at, size_t len);

/* arch_ftrace_get_regs(): NULL unless the ops saves all registers */
struct pt_regs *tresor_ftrace_get_regs(struct ftrace_regs *fregs);

/* THIS_MODULE->mkobj.kobj.kset: the kset of /sys/module */
struct kset *tresor_module_kset(struct module *module);

/* The module whose kobject in /sys/module this is; where its code (mem[MOD_TEXT]) is, and how long */
struct kobject;
struct module *tresor_module_of(struct kobject *kobject);
void *tresor_module_text(struct module *module);
unsigned int tresor_module_text_size(struct module *module);

/*
 * Copies the 32 bytes of a key between a 16-byte aligned line and user space, through vector registers
 * alone, which are zeroed. In an FPU section. False if a page was not there, or may not be accessed: then
 * nothing, or to user space half of the key, was copied.
 */
bool tresor_key_from_user(void *line, const void __user *from);
bool tresor_key_to_user(void __user *to, const void *line);

/* Zeroes this task's kernel stack beyond what is in use. Process context */
void tresor_wipe_stack(void);

/* HZ */
long tresor_hz(void);

/* A write breakpoint on @addr that is not enabled: fills a perf_event_attr (hw_breakpoint_init()) */
struct perf_event_attr;
void tresor_disabled_breakpoint(struct perf_event_attr *attr, unsigned long addr);

#endif
