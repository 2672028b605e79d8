/* Talks to a language model, line by line from standard input.
 *
 *     cc chat.c -I runtime/llm/include libsinter_llm_c.a -lpthread -ldl -lm -o chat
 *     ./chat out/native            with a chat template: answers messages
 *     ./chat out/native TEXT       goes on with a text
 *
 * With -DLINKED='"toy.h"' -DNAME=toy and the bundle's archive, the model's code is linked rather than loaded. */
#include "sinter_llm.h"

#include <stdio.h>
#include <string.h>

#ifdef LINKED
#include LINKED
#define FUNCTIONS_OF(name) SINTER_LLM_FUNCTIONS(name)
#endif

static int32_t show(void *user, const char *text, uint64_t size) {
    (void)user;
    fwrite(text, 1, (size_t)size, stdout);
    fflush(stdout);
    return 0;
}

int main(int argc, char **argv) {
    char line[4096], error[512];
    sinter_llm *llm = NULL;
    sinter_llm_options options;
    int32_t result;
    if (argc < 2) {
        fprintf(stderr, "usage: %s BUNDLE [TEXT]\n", argv[0]);
        return 2;
    }
#ifdef LINKED
    {
        const sinter_llm_functions functions = FUNCTIONS_OF(NAME);
        result = sinter_llm_open_linked(argv[1], &functions, 1, 0, &llm, error, sizeof error);
    }
#else
    result = sinter_llm_open(argv[1], 1, 0, &llm, error, sizeof error);
#endif
    if (result < 0) {
        fprintf(stderr, "%s\n", error);
        return 1;
    }
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.max_tokens = 64;
    if (argc > 2) {
        result = sinter_llm_feed(llm, argv[2]);
        if (result == 0) result = sinter_llm_generate(llm, &options, show, NULL);
        putchar('\n');
    } else {
        while (result >= 0 && fgets(line, sizeof line, stdin)) {
            line[strcspn(line, "\r\n")] = 0;
            result = sinter_llm_chat(llm, "user", line, 0, &options, show, NULL);
            putchar('\n');
        }
    }
    if (result < 0) fprintf(stderr, "%s\n", sinter_llm_error(llm));
    fprintf(stderr, "%llu of %llu tokens in the cache\n", (unsigned long long)sinter_llm_position(llm),
            (unsigned long long)sinter_llm_capacity(llm));
    sinter_llm_close(llm);
    return result < 0;
}
