/* LD_PRELOAD: the first FAIL_TIMES calls of one kind on a path that contains FAIL_PATH fail with FAIL_ERRNO, as a disk or a server does.
   FAIL_CALL is open or read. Without FAIL_PATH nothing is changed. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static int failed;

static int fails(const char *call, const char *path) {
    const char *wanted = getenv("FAIL_PATH"), *kind = getenv("FAIL_CALL");
    if (!wanted || !kind || !path || strcmp(kind, call) || !strstr(path, wanted)) return 0;
    if (failed >= atoi(getenv("FAIL_TIMES"))) return 0;
    failed++;
    errno = atoi(getenv("FAIL_ERRNO"));
    return 1;
}

#define OPEN(name)                                                         \
    int name(const char *path, int flags, ...) {                           \
        va_list rest;                                                      \
        va_start(rest, flags);                                             \
        int mode = va_arg(rest, int);                                      \
        va_end(rest);                                                      \
        if (!(flags & (O_WRONLY | O_RDWR)) && fails("open", path)) return -1; \
        int (*next)(const char *, int, ...) = dlsym(RTLD_NEXT, #name);     \
        return next(path, flags, mode);                                    \
    }
OPEN(open)
OPEN(open64)

ssize_t read(int descriptor, void *buffer, size_t size) {
    static ssize_t (*next)(int, void *, size_t);
    if (!next) next = dlsym(RTLD_NEXT, "read");
    if (getenv("FAIL_PATH")) {
        char link[64], path[4096];
        snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
        ssize_t length = readlink(link, path, sizeof path - 1);
        if (length > 0) {
            path[length] = 0;
            if (fails("read", path)) return -1;
        }
    }
    return next(descriptor, buffer, size);
}
