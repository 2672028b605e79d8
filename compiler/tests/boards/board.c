/* A program on a board without an operating system: starts the chip, runs one model on inputs that lie in flash,
 * writes output i to output.i through the debugger, prints the outputs' dims and how deep the stack went.
 *
 * -DHEADER="\"x.h\"" -DNAME=x -DUP=X -DGIVEN=input,dims -DOUTPUT_BYTES=bytes,of,each; inputs.S gives `inputs`. */
#include HEADER
#include <stddef.h>
#include <string.h>

#define PASTE2(a, b) a##b
#define PASTE(a, b) PASTE2(a, b)
#define FN(suffix) PASTE(NAME, suffix)
#define CONST(suffix) PASTE(UP, suffix)

extern unsigned char data_start[], data_end[], data_load[], bss_start[], bss_end[], stack_top[];
extern const unsigned char FN(_weights)[];
extern const void *const inputs[];

static _Alignas(64) unsigned char CONST(_ARENA_MEMORY) arena[CONST(_ARENA_BYTES) + 64];

/* Semihosting: the debugger, here the emulator, does what is asked for. */
static long ask(long what, const void *with) {
    register long r0 __asm__("r0") = what;
    register const void *r1 __asm__("r1") = with;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}
static _Noreturn void leave(int ok) {
    ask(0x18, (const void *)(ok ? 0x20026u : 0x20023u));
    for (;;) { }
}
static void print(const char *text) { ask(0x04, text); }
static void number(long long v) {
    char text[24], *at = text + sizeof text;
    unsigned long long u = v < 0 ? 0 - (unsigned long long)v : (unsigned long long)v;
    *--at = 0;
    *--at = ' ';
    do { *--at = (char)('0' + u % 10); u /= 10; } while (u);
    if (v < 0) *--at = '-';
    print(at);
}
static void check(int ok, const char *what) {
    if (!ok) { print(what); print(" failed\n"); leave(0); }
}
static void save(int i, const void *bytes, size_t n) {
    char name[] = "output.0";
    struct { const char *name; long mode; size_t bytes; } to = {name, 5, sizeof name - 1};
    struct { long file; const void *bytes; size_t n; } what;
    name[sizeof name - 2] = (char)('0' + i);
    what.file = ask(0x01, &to);
    what.bytes = bytes;
    what.n = n;
    check(what.file > 0 && ask(0x05, &what) == 0, "writing");
    ask(0x02, &what.file);
}

static const size_t output_bytes[] = {OUTPUT_BYTES};
static _Alignas(8) unsigned char results[RESULTS_BYTES];

static void run(void) {
    FN(_ctx) ctx;
    void *outputs[CONST(_OUTPUTS)];
    static const int64_t given[] = {GIVEN};
    int64_t dims[CONST(_DIMS) + 1];
    size_t at = 0;
    int i;
    memset(&ctx, 0, sizeof ctx);
    memcpy(dims, given, sizeof given);
    for (i = 0; i < CONST(_OUTPUTS); i++) {
        outputs[i] = results + at;
        at += (output_bytes[i] + 7) / 8 * 8;
    }
    memset(arena, 0xa5, sizeof arena);
    check(FN(_init)(&ctx, FN(_weights), arena) == CONST(_OK), "init");
    i = FN(_run)(&ctx, inputs, outputs, dims);
    if (i) print(FN(_error_text)(i));
    check(i == CONST(_OK), "run");
    for (i = 0; i < 64; i++) check(arena[CONST(_ARENA_BYTES) + i] == 0xa5, "the arena's end");
    for (i = 0; i < CONST(_OUTPUTS); i++) save(i, outputs[i], output_bytes[i]);
    for (i = (int)(sizeof given / sizeof given[0]); i < CONST(_DIMS); i++) number(dims[i]);
    print("\n");
}

/* Everything between the variables and here is stack: filled, to see later how much was used. */
#define UNUSED 0x5a5a5a5au
_Noreturn void reset(void) {
    uint32_t *word = (uint32_t *)bss_end;
#if defined(__ARM_FP) || defined(__ARM_FEATURE_MVE)
    *(volatile uint32_t *)0xe000ed88 |= 0xfu << 20; /* coprocessors 10 and 11: floats */
    __asm__ volatile("dsb\n\tisb");
#endif
    memcpy(data_start, data_load, (size_t)(data_end - data_start));
    memset(bss_start, 0, (size_t)(bss_end - bss_start));
    while ((uintptr_t)word < (uintptr_t)__builtin_frame_address(0) - 64) *word++ = UNUSED;
    run();
    for (word = (uint32_t *)bss_end; *word == UNUSED; word++) { }
    number((long long)((uintptr_t)stack_top - (uintptr_t)word));
    print("\n");
    leave(1);
}
static void fault(void) { print("fault\n"); leave(0); }

__attribute__((section(".vectors"), used)) static const void *const vectors[16] = {
    stack_top, (void *)reset, (void *)fault, (void *)fault, (void *)fault, (void *)fault, (void *)fault,
};
