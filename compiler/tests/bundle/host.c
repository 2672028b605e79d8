/* A host of one bundle, built for any model: -DHEADER="\"x.h\"" -DNAME=x -DUP=X.
 *
 * host WEIGHTS PREFIX INPUT... DIM...: runs the model alone and on two threads, writes output i to PREFIX.i and prints
 * the outputs' dims. Every promise of the header that a test can break is checked; the exit code is the line. */
#define _DEFAULT_SOURCE
#include HEADER
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PASTE2(a, b) a##b
#define PASTE(a, b) PASTE2(a, b)
#define FN(suffix) PASTE(NAME, suffix)
#define CONST(suffix) PASTE(UP, suffix)
#define CHECK(ok) do { if (!(ok)) { fprintf(stderr, "host.c:%d: %s\n", __LINE__, #ok); exit(1); } } while (0)

typedef void (*task_fn)(void *arg, int64_t begin, int64_t end);

/* The host's threads: two per call, each with its half. */
typedef struct { task_fn task; void *arg; int64_t begin, end; } half;
typedef struct { long calls; int64_t items; } pool;

static void *run_half(void *p) {
    half *h = (half *)p;
    h->task(h->arg, h->begin, h->end);
    return NULL;
}

static void parallel_for(void *p, int64_t n, task_fn task, void *arg) {
    pool *counts = (pool *)p;
    half upper = {task, arg, n / 2, n}, lower = {task, arg, 0, n / 2};
    pthread_t thread;
    counts->calls += 1;
    counts->items += n;
    CHECK(pthread_create(&thread, NULL, run_half, &upper) == 0);
    run_half(&lower);
    CHECK(pthread_join(thread, NULL) == 0);
}

/* Page-aligned memory full of rubbish: nothing may rely on zeros. */
static unsigned char *memory(uint64_t bytes) {
    void *p = mmap(NULL, bytes + 64, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED);
    memset(p, 0xa5, bytes + 64);
    return (unsigned char *)p;
}

static const void *map_file(const char *path, uint64_t *bytes) {
    struct stat st;
    const void *p;
    int fd = open(path, O_RDONLY);
    CHECK(fd >= 0);
    CHECK(fstat(fd, &st) == 0);
    *bytes = (uint64_t)st.st_size;
    if (*bytes == 0) return memory(1);
    p = mmap(NULL, *bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    CHECK(p != MAP_FAILED);
    close(fd);
    return p;
}

static const uint64_t output_bytes[] = {OUTPUT_BYTES};

int main(int argc, char **argv) {
    enum { INPUTS = CONST(_INPUTS), OUTPUTS = CONST(_OUTPUTS), DIMS = CONST(_DIMS) };
    FN(_ctx) alone, threaded;
    FN(_size) size;
    pool counts = {0, 0};
    const void *inputs[INPUTS];
    void *outputs[OUTPUTS], *again[OUTPUTS];
    int64_t dims[DIMS + 1], given[DIMS + 1];
    uint64_t weights_bytes, bytes;
    unsigned char *arena = memory(CONST(_ARENA_BYTES)), *second = memory(CONST(_ARENA_BYTES));
    const void *weights;
    int i, input_dims = argc - 3 - INPUTS;

    CHECK(input_dims >= 0 && input_dims <= DIMS);
    weights = map_file(argv[1], &weights_bytes);
    for (i = 0; i < INPUTS; i++) {
        inputs[i] = map_file(argv[3 + i], &bytes);
        if (bytes == 0) inputs[i] = second; /* no element: any address */
    }
    for (i = 0; i < input_dims; i++) given[i] = strtoll(argv[3 + INPUTS + i], NULL, 10);
    for (i = 0; i < OUTPUTS; i++) {
        outputs[i] = memory(output_bytes[i]);
        again[i] = memory(output_bytes[i]);
    }
    CHECK(FN(_abi_version)() == 1);
    memset(&size, 0, sizeof size);
    FN(_sizes)(&size);
    CHECK(size.arena_bytes == CONST(_ARENA_BYTES) && size.weights_bytes == CONST(_WEIGHTS_BYTES));
    CHECK(size.inputs == INPUTS && size.outputs == OUTPUTS && weights_bytes == size.weights_bytes);

    /* What init and run refuse. */
    memset(&alone, 0, sizeof alone);
    memcpy(dims, given, sizeof given);
    CHECK(FN(_run)(&alone, inputs, outputs, dims) == CONST(_NOT_INITIALISED));
    CHECK(FN(_init)(&alone, weights, arena + 1) == CONST(_BAD_POINTER));
    CHECK(FN(_init)(&alone, NULL, arena) == CONST(_BAD_POINTER));
    CHECK(FN(_init)(&alone, second, arena) == CONST(_BAD_WEIGHTS));
    CHECK(FN(_run)(&alone, inputs, outputs, dims) == CONST(_NOT_INITIALISED));
    CHECK(FN(_init)(&alone, weights, arena) == CONST(_OK));
    if (input_dims > 0) {
        memcpy(dims, given, sizeof given);
        dims[input_dims - 1] = INT64_MAX;
        CHECK(FN(_run)(&alone, inputs, outputs, dims) == CONST(_BAD_DIM));
        dims[input_dims - 1] = -1;
        CHECK(FN(_run)(&alone, inputs, outputs, dims) == CONST(_BAD_DIM));
    }
    CHECK(strcmp(FN(_error_text)(CONST(_OK)), "ok") == 0);
    CHECK(strlen(FN(_error_text)(CONST(_BAD_DIM))) > 10);
    CHECK(strcmp(FN(_error_text)(12345), FN(_error_text)(-1)) == 0);

    /* Alone; on two threads in a second context; alone again: same bytes. */
    memcpy(dims, given, sizeof given);
    CHECK(FN(_run)(&alone, inputs, outputs, dims) == CONST(_OK));
    CHECK(memcmp(dims, given, (size_t)input_dims * sizeof dims[0]) == 0);
    memset(&threaded, 0, sizeof threaded);
    threaded.parallel_for = parallel_for;
    threaded.pool = &counts;
    CHECK(FN(_init)(&threaded, weights, second) == CONST(_OK));
    CHECK(FN(_run)(&threaded, inputs, again, dims) == CONST(_OK));
    for (i = 0; i < OUTPUTS; i++) CHECK(memcmp(outputs[i], again[i], output_bytes[i] + 64) == 0);
    CHECK(FN(_run)(&alone, inputs, again, dims) == CONST(_OK));
    for (i = 0; i < OUTPUTS; i++) CHECK(memcmp(outputs[i], again[i], output_bytes[i] + 64) == 0);
    if (FIXED) {
        CHECK(FN(_run)(&alone, inputs, again, NULL) == CONST(_OK));
    } else {
        CHECK(FN(_run)(&alone, inputs, again, NULL) == CONST(_BAD_DIM));
    }
    for (i = 0; i < OUTPUTS; i++) CHECK(memcmp(outputs[i], again[i], output_bytes[i] + 64) == 0);

    /* Nothing was written behind what the header says. */
    for (i = 0; i < 64; i++) CHECK(arena[CONST(_ARENA_BYTES) + (uint64_t)i] == 0xa5);
    for (i = 0; i < OUTPUTS; i++) {
        char path[4096];
        FILE *f;
        int j;
        for (j = 0; j < 64; j++) CHECK(((unsigned char *)outputs[i])[output_bytes[i] + (uint64_t)j] == 0xa5);
        snprintf(path, sizeof path, "%s.%d", argv[2], i);
        f = fopen(path, "wb");
        CHECK(f != NULL);
        CHECK(fwrite(outputs[i], 1, output_bytes[i], f) == output_bytes[i]);
        CHECK(fclose(f) == 0);
    }
    for (i = input_dims; i < DIMS; i++) printf("%lld ", (long long)dims[i]);
    printf("\n%ld %lld\n", counts.calls, (long long)counts.items);
    return 0;
}
