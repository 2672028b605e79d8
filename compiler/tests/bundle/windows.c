/* A host of one bundle on Windows, built like host.c: host WEIGHTS PREFIX INPUT... DIM... runs the model alone and
 * through parallel_for, writes output i to PREFIX.i and prints the outputs' dims. On x86-64 every call either way goes
 * through `guarded`, which fills the registers that a callee must keep and looks at them afterwards. */
#include HEADER
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PASTE2(a, b) a##b
#define PASTE(a, b) PASTE2(a, b)
#define FN(suffix) PASTE(NAME, suffix)
#define CONST(suffix) PASTE(UP, suffix)
#define CHECK(ok) do { if (!(ok)) { fprintf(stderr, "windows.c:%d: %s\n", __LINE__, #ok); exit(1); } } while (0)

static uint64_t changed;
#ifdef __x86_64__
uint64_t guarded(void *function, const uint64_t *arguments, uint64_t *changed);
#define KEPT(do) do(rbx, 177) do(rbp, 178) do(rsi, 179) do(rdi, 180) do(r12, 181) do(r13, 182) do(r14, 183) do(r15, 184)
#define WIDE(do) do(6) do(7) do(8) do(9) do(10) do(11) do(12) do(13) do(14) do(15)
#define PUSH(r, n) "push " #r "\n"
#define FILL(r, n) "mov " #r ", " #n "\n"
#define LOOK(r, n) "cmp " #r ", " #n "\njne 1f\n"
#define SAVE(i) "movaps [rsp + 16 * " #i " - 32], xmm" #i "\n"
#define BACK(i) "movaps xmm" #i ", [rsp + 16 * " #i " - 32]\n"
#define WIDE_FILL(i) "mov r11d, 200 + " #i "\nmovq xmm" #i ", r11\npunpcklqdq xmm" #i ", xmm" #i "\n"
#define WIDE_LOOK(i) "mov r11d, 200 + " #i "\nmovq xmm0, r11\npunpcklqdq xmm0, xmm0\npcmpeqb xmm0, xmm" #i \
    "\npmovmskb ecx, xmm0\ncmp ecx, 65535\njne 1f\n"
__asm__(".intel_syntax noprefix\n.text\n.globl guarded\nguarded:\n"
        KEPT(PUSH) "sub rsp, 232\nmov [rsp + 32], r8\n" WIDE(SAVE)
        "mov rax, rcx\nmov r10, rdx\n" KEPT(FILL) WIDE(WIDE_FILL)
        "mov rcx, [r10]\nmov rdx, [r10 + 8]\nmov r8, [r10 + 16]\nmov r9, [r10 + 24]\ncall rax\nmov [rsp + 40], rax\n"
        "xor r10d, r10d\n" KEPT(LOOK) WIDE(WIDE_LOOK) "jmp 2f\n1: mov r10d, 1\n2: mov r11, [rsp + 32]\nadd [r11], r10\n"
        WIDE(BACK) "mov rax, [rsp + 40]\nadd rsp, 232\n"
        "pop r15\npop r14\npop r13\npop r12\npop rdi\npop rsi\npop rbp\npop rbx\nret\n.att_syntax\n");
#else
typedef uint64_t (*any)(uint64_t, uint64_t, uint64_t, uint64_t);
static uint64_t guarded(void *function, const uint64_t *a, uint64_t *unused) {
    (void)unused;
    return ((any)(uintptr_t)function)(a[0], a[1], a[2], a[3]);
}
#endif

static uint64_t call(void *function, const void *a, const void *b, const void *c, const void *d) {
    uint64_t arguments[4] = {(uint64_t)(uintptr_t)a, (uint64_t)(uintptr_t)b, (uint64_t)(uintptr_t)c, (uint64_t)(uintptr_t)d};
    return guarded(function, arguments, &changed);
}

typedef struct { long calls; int64_t items; } pool;

static void parallel_for(void *p, int64_t n, void (*task)(void *arg, int64_t begin, int64_t end), void *arg) {
    pool *counts = (pool *)p;
    counts->calls += 1;
    counts->items += n;
    call((void *)(uintptr_t)task, arg, (void *)(uintptr_t)(n / 2), (void *)(uintptr_t)n, NULL);
    call((void *)(uintptr_t)task, arg, NULL, (void *)(uintptr_t)(n / 2), NULL);
}

/* Aligned memory full of rubbish. */
static unsigned char *memory(uint64_t bytes) {
    unsigned char *p = malloc((size_t)bytes + 128);
    CHECK(p);
    memset(p, 0xa5, (size_t)bytes + 128);
    return p + (-(uintptr_t)p & 63);
}

static unsigned char *file(const char *path, uint64_t *bytes) {
    FILE *f = fopen(path, "rb");
    unsigned char *p;
    CHECK(f);
    fseek(f, 0, SEEK_END);
    *bytes = (uint64_t)ftell(f);
    rewind(f);
    p = memory(*bytes);
    CHECK(fread(p, 1, (size_t)*bytes, f) == *bytes);
    fclose(f);
    return p;
}

static const uint64_t output_bytes[] = {OUTPUT_BYTES};

int main(int argc, char **argv) {
    enum { INPUTS = CONST(_INPUTS), OUTPUTS = CONST(_OUTPUTS), DIMS = CONST(_DIMS) };
    FN(_ctx) ctx;
    FN(_size) size;
    pool counts = {0, 0};
    const void *inputs[INPUTS];
    void *outputs[OUTPUTS], *again[OUTPUTS];
    int64_t dims[DIMS + 1], given[DIMS + 1];
    uint64_t bytes;
    unsigned char *weights, *arena = memory(CONST(_ARENA_BYTES));
    int i, input_dims = argc - 3 - INPUTS;
    CHECK(input_dims >= 0 && input_dims <= DIMS);
    memset(&ctx, 0, sizeof ctx);
    memset(&size, 0, sizeof size);
    call((void *)(uintptr_t)FN(_sizes), &size, NULL, NULL, NULL);
    CHECK(size.arena_bytes == CONST(_ARENA_BYTES) && size.inputs == INPUTS && size.outputs == OUTPUTS);
    CHECK((int)call((void *)(uintptr_t)FN(_abi_version), NULL, NULL, NULL, NULL) == 1);
    CHECK(strlen((const char *)(uintptr_t)call((void *)(uintptr_t)FN(_error_text), (void *)3, NULL, NULL, NULL)) > 5);
    weights = file(argv[1], &bytes);
    CHECK(bytes == CONST(_WEIGHTS_BYTES));
    CHECK((int)call((void *)(uintptr_t)FN(_init), &ctx, weights + 1, arena, NULL) == CONST(_BAD_POINTER));
    CHECK((int)call((void *)(uintptr_t)FN(_init), &ctx, weights, arena, NULL) == CONST(_OK));
    for (i = 0; i < INPUTS; i++) inputs[i] = file(argv[3 + i], &bytes);
    for (i = 0; i < OUTPUTS; i++) {
        outputs[i] = memory(output_bytes[i]);
        again[i] = memory(output_bytes[i]);
    }
    memset(given, 0, sizeof given);
    for (i = 0; i < input_dims; i++) given[i] = (int64_t)atoll(argv[3 + INPUTS + i]);
    memcpy(dims, given, sizeof dims);
    CHECK((int)call((void *)(uintptr_t)FN(_run), &ctx, inputs, outputs, dims) == CONST(_OK));
    ctx.parallel_for = parallel_for;
    ctx.pool = &counts;
    memcpy(dims, given, sizeof dims);
    CHECK((int)call((void *)(uintptr_t)FN(_run), &ctx, inputs, again, dims) == CONST(_OK));
    CHECK(changed == 0);
    for (i = 0; i < OUTPUTS; i++) {
        char path[4096];
        FILE *f;
        CHECK(memcmp(outputs[i], again[i], (size_t)output_bytes[i]) == 0);
        snprintf(path, sizeof path, "%s.%d", argv[2], i);
        f = fopen(path, "wb");
        CHECK(f && fwrite(outputs[i], 1, (size_t)output_bytes[i], f) == output_bytes[i]);
        fclose(f);
    }
    for (i = input_dims; i < DIMS; i++) printf("%" PRId64 " ", dims[i]);
    printf("\n%ld %" PRId64 "\n", counts.calls, counts.items);
    return 0;
}
