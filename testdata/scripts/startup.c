/* What a bundle needs to start: -DHEADER="\"x.h\"" -DNAME=x -DUP=X -DINPUT_BYTES=1,2 -DOUTPUT_BYTES=3.
 *
 * startup WEIGHTS DIM...: maps the weights, initialises, runs once on zeros and prints the microseconds of mapping and init
 * together, the microseconds of init alone, the result of the run, and the peak of resident memory in bytes. */
#define _DEFAULT_SOURCE
#include HEADER
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PASTE2(a, b) a##b
#define PASTE(a, b) PASTE2(a, b)
#define FN(suffix) PASTE(NAME, suffix)
#define CONST(suffix) PASTE(UP, suffix)

static const uint64_t input_bytes[] = {INPUT_BYTES}, output_bytes[] = {OUTPUT_BYTES};

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void *memory(uint64_t bytes) {
    void *p = mmap(NULL, bytes + 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

/* Of this program alone: what getrusage tells begins with the memory of whoever started it. */
static long peak_bytes(void) {
    char line[256];
    long kilobytes = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, "VmHWM:", 6) == 0) kilobytes = strtol(line + 6, NULL, 10);
    if (f != NULL) fclose(f);
    return kilobytes * 1024;
}

int main(int argc, char **argv) {
    static int64_t dims[CONST(_DIMS) + 1];
    static FN(_ctx) ctx;
    const void *inputs[CONST(_INPUTS)];
    void *outputs[CONST(_OUTPUTS)];
    double begin, mapped, ready;
    const void *weights;
    int i, fd, code;

    if (argc < 2 || argc - 2 > CONST(_DIMS)) return 2;
    for (i = 2; i < argc; i++) dims[i - 2] = strtoll(argv[i], NULL, 10);
    for (i = 0; i < CONST(_INPUTS); i++) inputs[i] = memory(input_bytes[i]);
    for (i = 0; i < CONST(_OUTPUTS); i++) outputs[i] = memory(output_bytes[i]);
    begin = now();
    fd = open(argv[1], O_RDONLY);
    weights = mmap(NULL, CONST(_WEIGHTS_BYTES), PROT_READ, MAP_PRIVATE, fd, 0);
    if (fd < 0 || weights == MAP_FAILED) return 3;
    mapped = now();
    code = FN(_init)(&ctx, weights, memory(CONST(_ARENA_BYTES)));
    ready = now();
    if (code != 0) return 4;
    code = FN(_run)(&ctx, inputs, outputs, dims);
    printf("%.1f %.1f %d %ld\n", ready - begin, ready - mapped, code, peak_bytes());
    return 0;
}
