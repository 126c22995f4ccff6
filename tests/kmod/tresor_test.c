// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * tresor_test: does to a test VM what a user of tresor never does. It takes commands, one a write,
 * through /proc/tresor_test:
 *
 *   mark N      write MARK + i into DRi of CPU N, i = 0..3 (the control for prints of registers)
 *   stall N     do nothing for N seconds without letting anyone else run
 *   clobber N   flip every bit of DR0 of CPU N
 *   warn        WARN() once more
 *   probe       WARN() from inside the handler of a kprobe
 *   oops        write to address 0; the kernel kills whoever asks, and this module stays
 *   crypt ALGORITHM B N
 *               encrypt and decrypt N bytes in one request of the algorithm under a blob of B bytes, in
 *               memory cut in odd ways; EBADMSG if any way gives another result. What they became, and
 *               the IV behind it, can be read here.
 *   endure ALGORITHM B N SECONDS
 *               the same again and again for so long; whatever happens to the key meanwhile, each request
 *               gives the same, or the error that ends this
 *   blobs ALGORITHM
 *               try blobs of every length up to 80 bytes; the errno of each, a byte, can be read here
 *   lengths ALGORITHM B
 *               the same for requests of every length, both ways; EBADMSG if a refused one writes
 *   bug KIND    what a debug kernel notices: "overrun" reads a byte past slab memory, "atomic" may sleep
 *               where it must not, "deadlock" takes two locks in both orders, "race" counts on all CPUs
 *   occupy DRIVER
 *               register an algorithm that does nothing under this driver name, until this module goes
 *   slab        leave the 32 bytes at offset 8 in freed slab memory, as a careless driver would
 *   kern        leave them on the kernel stack, below what is in use
 *
 * Never load it anywhere else.
 */
#include <crypto/internal/skcipher.h>
#include <linux/cpu.h>
#include <linux/kprobes.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include <linux/spinlock.h>
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

static void stall(unsigned int seconds)
{
	u64 end = ktime_get_ns() + seconds * NSEC_PER_SEC;

	preempt_disable();
	while (ktime_get_ns() < end)
		cpu_relax();
	preempt_enable();
}

static noinline void probed(void)
{
	/* The compiler may not drop the call. */
	barrier();
}

static int on_probed(struct kprobe *probe, struct pt_regs *regs)
{
	WARN(1, "tresor_test: asked for in a probe\n");
	return 0;
}

static int probe(void)
{
	struct kprobe probe = { .addr = (void *)probed, .pre_handler = on_probed };
	int ret = register_kprobe(&probe);

	if (ret)
		return ret;
	probed();
	unregister_kprobe(&probe);
	return 0;
}

static void oops(void)
{
	unsigned long *nowhere = NULL;

	/* The compiler may not see what it is, or it drops the store. */
	OPTIMIZER_HIDE_VAR(nowhere);
	WRITE_ONCE(*nowhere, 0);
}

/* Larger than what one section of the engine may process, and than a page. */
#define CRYPT_MAX 20480
#define PIECES_MAX 512
#define IV_SIZE 16
/* The longest blob that is tried, and the longest request of `lengths` */
#define TRIED_MAX 80
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
	u8 memory[4 * CRYPT_MAX];
};

static const unsigned int piece_lengths[] = { 1, 15, 16, 17, 4093, 0, 3, 512, 4096, 31, 7, 100 };
static const unsigned int gap_lengths[] = { 1, 3, 0, 16, 5, 64, 2 };
/* Ways to cut: to begin with any of piece_lengths, and one byte a piece. */
#define WAYS (ARRAY_SIZE(piece_lengths) + 1)

static void cut(struct pieces *p, unsigned int len, unsigned int way)
{
	bool crumbs = way % WAYS == ARRAY_SIZE(piece_lengths) && len <= PIECES_MAX;
	unsigned int i, at = way % 61;

	memset(p->memory, CANARY, sizeof(p->memory));
	sg_init_table(p->sg, PIECES_MAX);
	for (i = 0; len; i++) {
		unsigned int n = piece_lengths[(i + way) % ARRAY_SIZE(piece_lengths)];

		n = min(crumbs ? 1 : n, len);
		sg_set_buf(&p->sg[i], p->memory + at, n);
		p->len[i] = n;
		at += n + gap_lengths[(i + way) % ARRAY_SIZE(gap_lengths)];
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

/* An IV whose counter carries into its first byte after two blocks */
static void set_iv(u8 *iv)
{
	memset(iv, 0xff, IV_SIZE);
	iv[0] = 0x42;
	iv[IV_SIZE - 1] = 0xfe;
}

/* Unlike crypto_req_done() it may be waited for although the request was made in @atomic context. */
static void done(void *data, int err)
{
	struct crypto_wait *wait = data;

	if (err == -EINPROGRESS)
		return;
	wait->err = err;
	complete(&wait->completion);
}

/* One request; with @atomic from a context that must not sleep. Leaves in @iv what the request did. */
static int crypt(struct crypto_skcipher *tfm, bool encrypt, bool atomic, struct scatterlist *src,
		 struct scatterlist *dst, unsigned int len, u8 *iv)
{
	struct skcipher_request *req = skcipher_request_alloc(tfm, GFP_KERNEL);
	u32 flags = atomic ? 0 : CRYPTO_TFM_REQ_MAY_SLEEP | CRYPTO_TFM_REQ_MAY_BACKLOG;
	DECLARE_CRYPTO_WAIT(wait);
	int ret;

	if (!req)
		return -ENOMEM;
	set_iv(iv);
	skcipher_request_set_callback(req, flags, done, &wait);
	skcipher_request_set_crypt(req, src, dst, len, iv);
	if (atomic)
		local_bh_disable();
	ret = encrypt ? crypto_skcipher_encrypt(req) : crypto_skcipher_decrypt(req);
	if (atomic)
		local_bh_enable();
	ret = crypto_wait_req(ret, &wait);
	skcipher_request_free(req);
	return ret;
}

/* Every way to cut: from pieces to other pieces, there and back, then in place, there and back. */
static int crypt_pieces(struct crypto_skcipher *tfm, struct pieces *a, struct pieces *b,
			const u8 *plain, unsigned int len, const u8 *wanted_iv)
{
	u8 iv[IV_SIZE];
	unsigned int way, step;
	int ret;

	for (way = 0; way < WAYS; way++) {
		cut(a, len, way);
		cut(b, len, way + 5);
		for (step = 0; step < 4; step++) {
			bool encrypt = step % 2 == 0, in_place = step >= 2;
			struct pieces *from = in_place || encrypt ? a : b;
			struct pieces *to = in_place || !encrypt ? a : b;
			const u8 *before = encrypt ? plain : result, *after = encrypt ? result : plain;

			fill(from, before);
			ret = crypt(tfm, encrypt, way % 2, from->sg, to->sg, len, iv);
			if (ret)
				return ret;
			if (!holds(to, after) || (!in_place && !holds(from, before)) ||
			    memcmp(iv, wanted_iv, IV_SIZE))
				return -EBADMSG;
		}
	}
	return 0;
}

/* A tfm with a blob of this length, of bytes that count up. */
static struct crypto_skcipher *keyed(const char *algorithm, unsigned int blob_len)
{
	struct crypto_skcipher *tfm;
	u8 blob[TRIED_MAX];
	unsigned int i;
	int ret;

	if (blob_len > sizeof(blob))
		return ERR_PTR(-EINVAL);
	for (i = 0; i < sizeof(blob); i++)
		blob[i] = 0x6b + i;
	tfm = crypto_alloc_skcipher(algorithm, 0, 0);
	if (IS_ERR(tfm))
		return tfm;
	ret = crypto_skcipher_setkey(tfm, blob, blob_len);
	if (ret) {
		crypto_free_skcipher(tfm);
		return ERR_PTR(ret);
	}
	return tfm;
}

static int crypt_all(const char *algorithm, unsigned int blob_len, unsigned int len,
		     unsigned int seconds)
{
	unsigned long end = jiffies + seconds * HZ;
	struct scatterlist src, dst;
	struct crypto_skcipher *tfm;
	struct pieces *a, *b;
	u8 *plain, *iv = result + len;
	unsigned int i;
	int ret = -ENOMEM;

	if (!len || len > CRYPT_MAX)
		return -EINVAL;
	tfm = keyed(algorithm, blob_len);
	if (IS_ERR(tfm))
		return PTR_ERR(tfm);
	a = kmalloc(sizeof(*a), GFP_KERNEL);
	b = kmalloc(sizeof(*b), GFP_KERNEL);
	plain = kmalloc(len, GFP_KERNEL);
	if (a && b && plain) {
		for (i = 0; i < len; i++)
			plain[i] = i ^ i >> 8;
		sg_init_one(&src, plain, len);
		sg_init_one(&dst, result, len);
		ret = crypt(tfm, true, false, &src, &dst, len, iv);
		do
			ret = ret ?: crypt_pieces(tfm, a, b, plain, len, iv);
		while (!ret && time_before(jiffies, end));
	}
	kfree(plain);
	kfree(b);
	kfree(a);
	crypto_free_skcipher(tfm);
	result_len = ret ? 0 : len + IV_SIZE;
	return ret;
}

static int try_blobs(const char *algorithm)
{
	unsigned int len;

	for (len = 0; len <= TRIED_MAX; len++) {
		struct crypto_skcipher *tfm = keyed(algorithm, len);

		result[len] = IS_ERR(tfm) ? -PTR_ERR(tfm) : 0;
		if (!IS_ERR(tfm))
			crypto_free_skcipher(tfm);
	}
	result_len = TRIED_MAX + 1;
	return 0;
}

static int try_lengths(const char *algorithm, unsigned int blob_len)
{
	struct crypto_skcipher *tfm = keyed(algorithm, blob_len);
	u8 *data = result + TRIED_MAX + 1;
	u8 iv[IV_SIZE], first_iv[IV_SIZE];
	struct scatterlist sg;
	unsigned int len;
	int ret = 0;

	if (IS_ERR(tfm))
		return PTR_ERR(tfm);
	set_iv(first_iv);
	for (len = 0; len <= TRIED_MAX && !ret; len++) {
		int there, back;

		memset(data, CANARY, TRIED_MAX);
		sg_init_one(&sg, data, TRIED_MAX);
		there = crypt(tfm, true, false, &sg, &sg, len, iv);
		if (there && memcmp(iv, first_iv, IV_SIZE))
			ret = -EBADMSG;
		back = crypt(tfm, false, false, &sg, &sg, len, iv);
		if (there != back || memchr_inv(data, CANARY, TRIED_MAX))
			ret = -EBADMSG;
		result[len] = -there;
	}
	crypto_free_skcipher(tfm);
	result_len = ret ? 0 : TRIED_MAX + 1;
	return ret;
}

static int do_nothing(struct skcipher_request *req)
{
	return -EOPNOTSUPP;
}

static int take_no_key(struct crypto_skcipher *tfm, const u8 *key, unsigned int len)
{
	return -EOPNOTSUPP;
}

static struct skcipher_alg occupant = {
	.setkey = take_no_key,
	.encrypt = do_nothing,
	.decrypt = do_nothing,
	.base.cra_name = "tresor-test",
	.base.cra_blocksize = 1,
	.base.cra_module = THIS_MODULE,
};
static bool occupied;

static int occupy(const char *driver)
{
	int ret;

	if (occupied)
		return -EBUSY;
	strscpy(occupant.base.cra_driver_name, driver);
	ret = crypto_register_skcipher(&occupant);
	occupied = !ret;
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

static void count(void *unused)
{
	static unsigned long counter;
	unsigned int i;

	for (i = 0; i < 200000; i++) {
		counter++;
		/* Each time in memory */
		barrier();
	}
}

/* Nothing comes of any of these: each is what a debug kernel complains of before harm is done. */
static int bug(const char *kind)
{
	static DEFINE_SPINLOCK(a);
	static DEFINE_SPINLOCK(b);
	volatile char *object;

	if (!strcmp(kind, "overrun")) {
		object = kmalloc(40, GFP_KERNEL);
		if (!object)
			return -ENOMEM;
		OPTIMIZER_HIDE_VAR(object);
		(void)object[40];
		kfree((const void *)object);
	} else if (!strcmp(kind, "atomic")) {
		preempt_disable();
		might_sleep();
		preempt_enable();
	} else if (!strcmp(kind, "deadlock")) {
		spin_lock(&a);
		spin_lock(&b);
		spin_unlock(&b);
		spin_unlock(&a);
		spin_lock(&b);
		spin_lock(&a);
		spin_unlock(&a);
		spin_unlock(&b);
	} else if (!strcmp(kind, "race")) {
		on_each_cpu(count, NULL, 1);
	} else {
		return -EINVAL;
	}
	return 0;
}

static ssize_t tresor_test_read(struct file *file, char __user *to, size_t len, loff_t *offset)
{
	return simple_read_from_buffer(to, len, offset, result, result_len);
}

static ssize_t tresor_test_write(struct file *file, const char __user *from, size_t len,
				 loff_t *offset)
{
	char command[64] = {}, name[CRYPTO_MAX_ALG_NAME];
	unsigned int cpu, blob, bytes, seconds;
	int ret;

	/* A secret goes nowhere else. */
	if (len == SECRET_START + SECRET_SIZE) {
		ret = plant(from);
		if (ret != -EINVAL)
			return ret ?: len;
	}
	if (len >= sizeof(command))
		return -EINVAL;
	if (copy_from_user(command, from, len))
		return -EFAULT;
	ret = 0;
	if (sscanf(command, "mark %u", &cpu) == 1)
		ret = smp_call_function_single(cpu, mark, NULL, 1);
	else if (sscanf(command, "clobber %u", &cpu) == 1)
		ret = smp_call_function_single(cpu, clobber, NULL, 1);
	else if (strstarts(command, "warn"))
		ret = WARN(1, "tresor_test: asked for\n") ? 0 : -EIO;
	else if (sscanf(command, "stall %u", &seconds) == 1)
		stall(seconds);
	else if (strstarts(command, "probe"))
		ret = probe();
	else if (strstarts(command, "oops"))
		oops();
	else if (sscanf(command, "crypt %63s %u %u", name, &blob, &bytes) == 3)
		ret = crypt_all(name, blob, bytes, 0);
	else if (sscanf(command, "endure %63s %u %u %u", name, &blob, &bytes, &seconds) == 4)
		ret = crypt_all(name, blob, bytes, seconds);
	else if (sscanf(command, "blobs %63s", name) == 1)
		ret = try_blobs(name);
	else if (sscanf(command, "lengths %63s %u", name, &blob) == 2)
		ret = try_lengths(name, blob);
	else if (sscanf(command, "bug %63s", name) == 1)
		ret = bug(name);
	else if (sscanf(command, "occupy %63s", name) == 1)
		ret = occupy(name);
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
	result = kmalloc(CRYPT_MAX + IV_SIZE, GFP_KERNEL);
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
	if (occupied)
		crypto_unregister_skcipher(&occupant);
	kfree(result);
}

module_init(tresor_test_init);
module_exit(tresor_test_exit);
MODULE_DESCRIPTION("Test aid for tresor: marks and clobbers debug registers, asks for every way of encryption");
MODULE_LICENSE("GPL");
