// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * tresor_test: does to a test VM what a user of tresor never does. It takes commands, one a write,
 * through /proc/tresor_test:
 *
 *   mark N      write MARK + i into DRi of CPU N, i = 0..3 (the control for prints of registers)
 *   clobber N   flip every bit of DR0 of CPU N
 *   warn        WARN() once more
 *   oops        write to address 0; the kernel kills whoever asks, and this module stays
 *   scatter N   encrypt and decrypt N bytes with xts(tresor) in one request, in memory cut in odd
 *               ways; EBADMSG if any way gives another result. What they became can be read here.
 *   slab        leave the 32 bytes at offset 8 in freed slab memory, as a careless driver would
 *   kern        leave them on the kernel stack, below what is in use
 *
 * Never load it anywhere else.
 */
#include <crypto/skcipher.h>
#include <linux/cpu.h>
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include <linux/uaccess.h>

/* Public, and unlike anything that the kernel prints by itself. */
#define MARK 0x7e57a11ce5c0de00UL

static void read_dr0(unsigned long *value)
{
	asm volatile("mov %%db0, %0" : "=r"(*value));
}

static void write_dr0(unsigned long value)
{
	asm volatile("mov %0, %%db0" : : "r"(value));
}

static void mark(void *unused)
{
	write_dr0(MARK);
	asm volatile("mov %0, %%db1" : : "r"(MARK + 1));
	asm volatile("mov %0, %%db2" : : "r"(MARK + 2));
	asm volatile("mov %0, %%db3" : : "r"(MARK + 3));
}

static void clobber(void *unused)
{
	unsigned long value;

	read_dr0(&value);
	write_dr0(~value);
}

static void oops(void)
{
	unsigned long *nowhere = NULL;

	/* The compiler may not see what it is, or it drops the store. */
	OPTIMIZER_HIDE_VAR(nowhere);
	WRITE_ONCE(*nowhere, 0);
}

/* Larger than what one section of the engine may process, and than a page. */
#define SCATTER_MAX 20480
#define PIECES_MAX 512
#define BLOB_SIZE 64
#define IV_SIZE 16
/* Fills what lies between the pieces, where nobody may write. */
#define CANARY 0xa5

/* Not in the module's own memory, which no scatterlist can name. */
static u8 *result;
static unsigned int result_len;

/* Memory for a request, cut into pieces that begin and end anywhere. */
struct pieces {
	struct scatterlist sg[PIECES_MAX];
	unsigned int len[PIECES_MAX];
	unsigned int count;
	u8 memory[4 * SCATTER_MAX];
};

static const unsigned int piece_lengths[] = { 1, 15, 16, 17, 4093, 3, 512, 4096, 31, 7, 100 };
static const unsigned int gap_lengths[] = { 1, 3, 0, 16, 5, 64, 2 };

static void cut(struct pieces *p, unsigned int len, unsigned int first)
{
	unsigned int i, at = first % 61;

	memset(p->memory, CANARY, sizeof(p->memory));
	sg_init_table(p->sg, PIECES_MAX);
	for (i = 0; len; i++) {
		unsigned int n = piece_lengths[(i + first) % ARRAY_SIZE(piece_lengths)];

		n = min(n, len);
		sg_set_buf(&p->sg[i], p->memory + at, n);
		p->len[i] = n;
		at += n + gap_lengths[(i + first) % ARRAY_SIZE(gap_lengths)];
		len -= n;
	}
	sg_mark_end(&p->sg[i - 1]);
	p->count = i;
}

static void fill(struct pieces *p, const u8 *from)
{
	unsigned int i;

	for (i = 0; i < p->count; from += p->len[i++])
		memcpy(sg_virt(&p->sg[i]), from, p->len[i]);
}

/* Whether the pieces hold @wanted and what is between them is untouched. Erases the pieces. */
static bool holds(struct pieces *p, const u8 *wanted)
{
	unsigned int i;

	for (i = 0; i < p->count; wanted += p->len[i++]) {
		if (memcmp(sg_virt(&p->sg[i]), wanted, p->len[i]))
			return false;
		memset(sg_virt(&p->sg[i]), CANARY, p->len[i]);
	}
	return !memchr_inv(p->memory, CANARY, sizeof(p->memory));
}

static int crypt(struct crypto_skcipher *tfm, bool encrypt, struct scatterlist *src,
		 struct scatterlist *dst, unsigned int len)
{
	struct skcipher_request *req = skcipher_request_alloc(tfm, GFP_KERNEL);
	DECLARE_CRYPTO_WAIT(wait);
	u8 iv[IV_SIZE];
	int ret;

	if (!req)
		return -ENOMEM;
	memset(iv, 0x42, sizeof(iv));
	skcipher_request_set_callback(req, CRYPTO_TFM_REQ_MAY_SLEEP | CRYPTO_TFM_REQ_MAY_BACKLOG,
				      crypto_req_done, &wait);
	skcipher_request_set_crypt(req, src, dst, len, iv);
	ret = crypto_wait_req(encrypt ? crypto_skcipher_encrypt(req) : crypto_skcipher_decrypt(req),
			      &wait);
	skcipher_request_free(req);
	return ret;
}

static int scatter_with(struct crypto_skcipher *tfm, struct pieces *a, struct pieces *b, u8 *plain,
			unsigned int len)
{
	struct scatterlist src, dst;
	unsigned int i;
	int ret;

	for (i = 0; i < len; i++)
		plain[i] = i ^ i >> 8;
	sg_init_one(&src, plain, len);
	sg_init_one(&dst, result, len);
	ret = crypt(tfm, true, &src, &dst, len);
	for (i = 0; !ret && i < ARRAY_SIZE(piece_lengths); i++) {
		/* From pieces to other pieces, there and back, then in place. */
		cut(a, len, i);
		cut(b, len, i + 5);
		fill(a, plain);
		ret = crypt(tfm, true, a->sg, b->sg, len);
		if (!ret && !(holds(a, plain) && holds(b, result)))
			ret = -EBADMSG;
		if (ret)
			break;
		fill(b, result);
		ret = crypt(tfm, false, b->sg, a->sg, len);
		if (!ret && !(holds(b, result) && holds(a, plain)))
			ret = -EBADMSG;
		if (ret)
			break;
		fill(a, plain);
		ret = crypt(tfm, true, a->sg, a->sg, len);
		if (!ret && !holds(a, result))
			ret = -EBADMSG;
	}
	return ret;
}

static int scatter(unsigned int len)
{
	struct crypto_skcipher *tfm;
	struct pieces *a, *b;
	u8 blob[BLOB_SIZE];
	u8 *plain;
	int ret = -ENOMEM;

	if (!len || len > SCATTER_MAX)
		return -EINVAL;
	memset(blob, 0x6b, sizeof(blob));
	tfm = crypto_alloc_skcipher("xts(tresor)", 0, 0);
	if (IS_ERR(tfm))
		return PTR_ERR(tfm);
	a = kmalloc(sizeof(*a), GFP_KERNEL);
	b = kmalloc(sizeof(*b), GFP_KERNEL);
	plain = kmalloc(len, GFP_KERNEL);
	if (a && b && plain)
		ret = crypto_skcipher_setkey(tfm, blob, sizeof(blob));
	if (!ret)
		ret = scatter_with(tfm, a, b, plain, len);
	kfree(plain);
	kfree(b);
	kfree(a);
	crypto_free_skcipher(tfm);
	result_len = ret ? 0 : len;
	return ret;
}

/* Bytes of a planted secret, and where it begins in the command */
#define SECRET_SIZE 32
#define SECRET_START 8

static int leave_in_slab(const char __user *from)
{
	u8 *copy = kmalloc(256, GFP_KERNEL);
	int ret = copy ? 0 : -ENOMEM;

	/* Not at the beginning, nor in the middle, where the allocator has a pointer of its own. */
	if (copy && copy_from_user(copy + 64, from, SECRET_SIZE))
		ret = -EFAULT;
	kfree(copy);
	return ret;
}

static noinline int leave_on_stack(const char __user *from)
{
	u8 deep[2048];

	/* The lowest part: no later call of this thread goes as deep. */
	return copy_from_user(deep, from, SECRET_SIZE) ? -EFAULT : 0;
}

static int plant(const char __user *from)
{
	char kind[4];

	if (copy_from_user(kind, from, sizeof(kind)))
		return -EFAULT;
	if (!memcmp(kind, "slab", sizeof(kind)))
		return leave_in_slab(from + SECRET_START);
	if (!memcmp(kind, "kern", sizeof(kind)))
		return leave_on_stack(from + SECRET_START);
	return -EINVAL;
}

static ssize_t tresor_test_read(struct file *file, char __user *to, size_t len, loff_t *offset)
{
	return simple_read_from_buffer(to, len, offset, result, result_len);
}

static ssize_t tresor_test_write(struct file *file, const char __user *from, size_t len,
				 loff_t *offset)
{
	char command[32] = {};
	unsigned int cpu, bytes;
	int ret = 0;

	if (len == SECRET_START + SECRET_SIZE)
		return plant(from) ?: len;
	if (len >= sizeof(command))
		return -EINVAL;
	if (copy_from_user(command, from, len))
		return -EFAULT;
	if (sscanf(command, "mark %u", &cpu) == 1)
		ret = smp_call_function_single(cpu, mark, NULL, 1);
	else if (sscanf(command, "clobber %u", &cpu) == 1)
		ret = smp_call_function_single(cpu, clobber, NULL, 1);
	else if (strstarts(command, "warn"))
		ret = WARN(1, "tresor_test: asked for\n") ? 0 : -EIO;
	else if (strstarts(command, "oops"))
		oops();
	else if (sscanf(command, "scatter %u", &bytes) == 1)
		ret = scatter(bytes);
	else
		ret = -EINVAL;
	return ret ?: len;
}

static const struct proc_ops tresor_test_ops = {
	.proc_read = tresor_test_read,
	.proc_write = tresor_test_write,
	.proc_lseek = noop_llseek,
};

static int __init tresor_test_init(void)
{
	result = kmalloc(SCATTER_MAX, GFP_KERNEL);
	if (!result)
		return -ENOMEM;
	if (!proc_create("tresor_test", 0600, NULL, &tresor_test_ops)) {
		kfree(result);
		return -ENOMEM;
	}
	return 0;
}

static void __exit tresor_test_exit(void)
{
	remove_proc_entry("tresor_test", NULL);
	kfree(result);
}

module_init(tresor_test_init);
module_exit(tresor_test_exit);
MODULE_DESCRIPTION("Test aid for tresor: marks and clobbers debug registers");
MODULE_LICENSE("GPL");
